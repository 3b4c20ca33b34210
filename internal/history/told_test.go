package history

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestWhatWasToldOutlivesRunsAndRestarts(t *testing.T) {
	path := file(t)
	h, _ := open(t, path, roomy)
	told := Told{Broken: noon, Failed: noon.Add(time.Second), Kinds: []string{"unreachable"}, Tried: noon.Add(time.Nanosecond)}
	if err := h.Tell(map[string]Told{"east/vm1": told, "east/vm2": {Broken: noon}}); err != nil {
		t.Fatal(err)
	}
	play(t, h, run(1, Failed))
	if err := h.Pause("east/vm1", nil); err != nil {
		t.Fatal(err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	h, _ = open(t, path, roomy)
	if m, err := h.Machine("east/vm1"); err != nil || m.Failures != 1 || !cmp.Equal(m.Told, told) {
		t.Errorf("%+v, %v", m, err)
	}
	if err := h.Tell(map[string]Told{"east/vm1": {}}); err != nil {
		t.Fatal(err)
	}
	all, err := h.Machines()
	if err != nil || len(all) != 2 || all[0].Failures != 1 || !all[0].Told.IsZero() || all[1].Told.IsZero() {
		t.Errorf("%+v, %v", all, err)
	}
}
