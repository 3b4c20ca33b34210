package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

const disk0 = 3*65536 + 512 // size of the full disk

// sample returns a small stream with every kind of frame: the offset of each frame
// comes with it, that of the end last.
func sample(t testing.TB) ([]byte, []int64) {
	t.Helper()
	noise := make([]byte, 128)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(noise)
	text := bytes.Repeat([]byte("all work and no play "), 25)[:512]
	var b bytes.Buffer
	e, err := stream.NewEncoder(stream.Header{
		Domain: "vm1", Checkpoint: "cp2", Parent: "cp1", State: json.RawMessage(`{"version":1}`),
		Disks: []stream.Disk{{Name: "vda", Size: disk0}, {Name: "vd\x1bb", Size: 1 << 40, Incremental: true}},
	}, spec.Compression{Mode: spec.ModeZstd}, &b)
	var at []int64
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, e.Wire())
	}
	must(err)
	must(e.Data(0, []stream.Extent{{Offset: 65536, Length: 400}, {Offset: 65536 + 400, Length: 112}}, text))
	must(e.Data(1, []stream.Extent{{Offset: 1 << 39, Length: 100}, {Offset: 1<<39 + 4096, Length: 28}}, noise))
	must(e.Zero(0, []stream.Extent{{Offset: 0, Length: 65536}, {Offset: 65536 + 512, Length: 2*65536 - 512}}))
	must(e.Data(0, []stream.Extent{{Offset: 3 * 65536, Length: 512}}, text))
	for disk := range 2 {
		if _, err := e.EndDisk(disk); err != nil {
			t.Fatal(err)
		}
		at = append(at, at[len(at)-1]+64) // written with the end mark
	}
	must(e.End())
	return b.Bytes(), at
}

func dump(t *testing.T, in []byte, o Options) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := Dump(iotest.HalfReader(bytes.NewReader(in)), &out, o)
	return out.String(), err
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	return lines[len(lines)-1]
}

func TestDumpShowsEveryFrameWithItsPlace(t *testing.T) {
	b, at := sample(t)
	got, err := dump(t, b, Options{Extents: true})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"domain      vm1\n", "checkpoint  cp2\n", "parent      cp1\n", "state       13 bytes",
		"disk        vda, 197120 bytes, full\n", `disk        "vd\x1bb", 1099511627776 bytes, incremental` + "\n",
		fmt.Sprintf("       1 %15d  data     zstd  vda            2      512       ", at[0]),
		fmt.Sprintf("       2 %15d  data     none  \"vd\\x1bb\"       2      128      128    549755813888    549755818011\n", at[1]),
		"  549755817984    549755818011\n",
		fmt.Sprintf("       3 %15d  zero     -     vda            2        0        0               0          196607\n", at[2]),
		fmt.Sprintf("       6 %15d  disk-end -     \"vd\\x1bb\"\n", at[5]),
		fmt.Sprintf("       7 %15d  end\n", at[6]),
		"disk vda: 2 data frames (2 zstd), 1 zero frame; 1024 bytes of data stored as ",
		`disk "vd\x1bb": 1 data frame (1 none), 0 zero frames; 128 bytes of data stored as 128 (100.0%), 0 of zeros; digest `,
		fmt.Sprintf("\nsound: vm1 at cp2, on cp1; 2 disks, 7 frames, %d bytes\n", len(b)),
	}
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("missing %q", w)
		}
	}
	if t.Failed() || strings.Contains(got, "\x1b") {
		t.Errorf("got:\n%s", got)
	}
}

func TestDumpInJSONSaysTheSame(t *testing.T) {
	b, at := sample(t)
	got, err := dump(t, b, Options{JSON: true, Extents: true})
	if err != nil {
		t.Fatal(err)
	}
	var types []string
	var places []int64
	extents, covered := 0, int64(0)
	for line := range strings.Lines(got) {
		var o struct {
			Type, Kind, Digest string
			Offset             int64
			Sound              bool
			Bytes              int64
			Extents            int
			List               []struct{ Offset, Length int64 } `json:"extent_list"`
			Header             *stream.Header
		}
		if err := json.Unmarshal([]byte(line), &o); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		types = append(types, o.Type)
		switch o.Type {
		case "header":
			if o.Bytes != at[0] || string(o.Header.State) != `{"version":1}` {
				t.Errorf("%s", line)
			}
		case "frame":
			places = append(places, o.Offset)
			extents += o.Extents
			for _, e := range o.List {
				covered += e.Length
			}
		case "disk":
			if len(o.Digest) != 16 {
				t.Errorf("%s", line)
			}
		case "result":
			if !o.Sound || o.Bytes != int64(len(b)) {
				t.Errorf("%s", line)
			}
		}
	}
	if want := "header frame frame frame frame frame frame frame disk disk result"; strings.Join(types, " ") != want {
		t.Errorf("objects %v", types)
	}
	if !slices.Equal(places, at[:7]) || extents != 7 || covered != disk0+128 {
		t.Errorf("frames at %v, want %v; %d extents of %d bytes", places, at, extents, covered)
	}
}

func TestVerifySaysOneLine(t *testing.T) {
	b, _ := sample(t)
	for _, o := range []Options{{}, {JSON: true}} {
		for _, in := range [][]byte{b, b[:len(b)-1], append(slices.Clone(b), 0), nil} {
			var out bytes.Buffer
			err := Verify(bytes.NewReader(in), &out, o)
			if strings.Count(out.String(), "\n") != 1 || !strings.HasSuffix(out.String(), "\n") {
				t.Errorf("said %q", out.String())
			}
			said := strings.HasPrefix(out.String(), "sound: ") || strings.Contains(out.String(), `"sound":true`)
			if sound := len(in) == len(b); said != sound || (err == nil) != sound {
				t.Errorf("%d bytes of %d: said %q, error %v", len(in), len(b), out.String(), err)
			}
		}
	}
}

// frameAt is the number of the frame that byte n is in, 0 for the header.
func frameAt(at []int64, n int64) int64 {
	i, found := slices.BinarySearch(at, n)
	if found {
		i++
	}
	return int64(i)
}

func TestStreamCutAtEveryByteIsToldWithThePlace(t *testing.T) {
	b, at := sample(t)
	for n := range b {
		out, err := dump(t, b[:n], Options{})
		e, ok := errors.AsType[*Error](err)
		if !ok || !errors.Is(err, stream.ErrTruncated) || e.Frame != frameAt(at, int64(n)) || e.End != int64(n) {
			t.Fatalf("%d bytes: %+v", n, err)
		}
		if l := lastLine(out); !strings.HasPrefix(l, fmt.Sprintf("not sound: byte %d, ", n)) {
			t.Fatalf("%d bytes: said %q", n, l)
		}
	}
}

func TestFlippedByteIsToldWithThePlace(t *testing.T) {
	b, at := sample(t)
	for i := range b {
		bad := slices.Clone(b)
		bad[i] ^= 0xff
		out, err := dump(t, bad, Options{})
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Frame != frameAt(at, int64(i)) || e.Frame > 0 && e.Offset != at[e.Frame-1] {
			t.Fatalf("byte %d: %+v", i, err)
		}
		if l := lastLine(out); !strings.HasPrefix(l, "not sound: ") {
			t.Fatalf("byte %d: said %q", i, l)
		}
	}
}

func TestFirstOfSeveralBadFramesIsTold(t *testing.T) {
	const frames = 200
	payload := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(payload)
	var b bytes.Buffer
	e, err := stream.NewEncoder(stream.Header{Domain: "d", Checkpoint: "c",
		Disks: []stream.Disk{{Name: "vda", Size: frames << 16}}}, spec.Compression{Mode: spec.ModeNone}, &b)
	if err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for i := range int64(frames) {
		if err := e.Data(0, []stream.Extent{{Offset: i << 16, Length: 1 << 16}}, payload); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, e.Wire())
	}
	in := b.Bytes()
	for _, i := range []int{60, 61, 62, 63, 64, 90} { // the last byte of a frame is payload
		in[ends[i]-1] ^= 1
	}
	for range 20 {
		_, err := Scan(bytes.NewReader(in), nil)
		if bad, ok := errors.AsType[*Error](err); !ok || bad.Frame != 61 || bad.Offset != ends[59] {
			t.Fatalf("%+v", err)
		}
	}
}

func TestInputThatCannotBeReadIsNotCalledUnsound(t *testing.T) {
	b, _ := sample(t)
	broken := errors.New("input/output error")
	var out bytes.Buffer
	err := Verify(iotest.DataErrReader(&failing{b[:len(b)-5], broken}), &out, Options{})
	if !errors.Is(err, broken) || !strings.HasPrefix(out.String(), "not readable: frame 7, which begins at byte ") {
		t.Errorf("said %q, error %v", out.String(), err)
	}
}

// failing gives bytes, then an error.
type failing struct {
	b   []byte
	err error
}

func (f *failing) Read(p []byte) (int, error) {
	if len(f.b) == 0 {
		return 0, f.err
	}
	n := copy(p, f.b)
	f.b = f.b[n:]
	return n, nil
}

func TestOutputThatCannotBeWrittenIsAnError(t *testing.T) {
	b, _ := sample(t)
	full := errors.New("no space")
	for _, o := range []Options{{}, {JSON: true}} {
		for name, f := range map[string]func() error{
			"dump":   func() error { return Dump(bytes.NewReader(b), refusing{full}, o) },
			"verify": func() error { return Verify(bytes.NewReader(b), refusing{full}, o) },
		} {
			if err := f(); !errors.Is(err, full) {
				t.Errorf("%s: error %v", name, err)
			}
		}
	}
}

type refusing struct{ err error }

func (r refusing) Write([]byte) (int, error) { return 0, r.err }
