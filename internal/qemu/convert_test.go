package qemu

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"vmsync/internal/proc"
)

func TestPercentsAreReadHoweverTheyArrive(t *testing.T) {
	const said = "    (0.00/100%)\r    (33.33/100%)\r    (100.00/100%)\r\n"
	for _, n := range []int{1, 5, 17, 1000} {
		var got []float64
		p := &percents{tell: func(f float64) { got = append(got, f) }}
		for part := range slices.Chunk([]byte(said), n) {
			if _, err := p.Write(part); err != nil {
				t.Fatal(err)
			}
		}
		if len(got) == 0 || got[len(got)-1] != 1 || !slices.IsSorted(got) {
			t.Errorf("in parts of %d bytes: %v", n, got)
		}
	}
}

func TestImageSaysWhatItIs(t *testing.T) {
	base, overlay := chain(t)
	got, err := Inspect(t.Context(), overlay)
	if want := (Info{Size: 64 << 20, Compat: "1.1", Backing: filepath.Base(base), BackingFormat: "qcow2"}); err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	if got, err = Inspect(t.Context(), base); err != nil || got.Backing != "" || got.BackingFormat != "" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = Inspect(t.Context(), filepath.Join(t.TempDir(), "none"))
	if exit, ok := errors.AsType[*proc.ExitError](err); !ok || exit.Status != 1 {
		t.Errorf("got %v", err)
	}
}
