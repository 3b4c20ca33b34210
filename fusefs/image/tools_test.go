package image

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/fusefs/device"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// runIn runs a program in a folder and returns what it prints.
func runIn(t testing.TB, dir string, argv ...string) []byte {
	t.Helper()
	command := exec.Command(argv[0], argv[1:]...)
	command.Dir = dir
	var stderr bytes.Buffer
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(argv, " "), err, out, stderr.Bytes())
	}
	return out
}

// create makes an image; options are of qemu-img create -o.
func create(t testing.TB, dir, name string, size int64, options string) string {
	t.Helper()
	argv := []string{"qemu-img", "create", "-q", "-f", "qcow2"}
	if options = strings.Trim(options, ","); options != "" {
		argv = append(argv, "-o", options)
	}
	runIn(t, dir, append(argv, name, fmt.Sprint(size))...)
	return filepath.Join(dir, name)
}

// over are options that have an image lie over another.
func over(backing, format string) string {
	return fmt.Sprintf("backing_file=%s,backing_fmt=%s", backing, format)
}

// write has qemu-io do what its commands say.
func write(t testing.TB, path string, commands ...string) {
	t.Helper()
	argv := []string{"qemu-io", "-f", "qcow2", "-d", "unmap", "-t", "unsafe"}
	for _, c := range commands {
		argv = append(argv, "-c", c)
	}
	out := runIn(t, filepath.Dir(path), append(argv, path)...)
	for _, bad := range []string{"rror", "failed", "nvalid", "not found"} {
		if bytes.Contains(out, []byte(bad)) {
			t.Fatalf("qemu-io: %s", out)
		}
	}
}

// scatter returns commands for qemu-io: data, zeros and discards all over a disk, others
// with each seed.
func scatter(seed uint64, size int64, n int) []string {
	rnd := rand.New(rand.NewPCG(seed, 1))
	commands := make([]string, n)
	for k := range commands {
		length := (1 + rnd.Int64N(max(size/512/int64(4*n), 1))) * 512
		off := rnd.Int64N((size-length)/512+1) * 512
		verb := []string{"write -q -P %d", "write -q -P %d", "write -q -P %d", "write -q -z", "write -q -z -u", "discard -q"}[rnd.IntN(6)]
		if strings.Contains(verb, "%") {
			verb = fmt.Sprintf(verb, 1+rnd.IntN(255))
		}
		commands[k] = fmt.Sprintf("%s %d %d", verb, off, length)
	}
	return commands
}

// content is what qemu reads an image as.
func content(t testing.TB, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	runIn(t, filepath.Dir(path), "qemu-img", "convert", "-t", "unsafe", "-f", "qcow2", "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func open(t testing.TB, path string, c *Cache) *Image {
	t.Helper()
	i, err := Open(path, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { i.Close() })
	return i
}

// check compares all that an image reads as, in large pieces and in odd ones, with
// what qemu says.
func check(t *testing.T, path string) {
	t.Helper()
	c := NewCache(4 * mib)
	i := open(t, path, c)
	want := content(t, path)
	checkContent(t, i, want)
	checkData(t, i, want)
}

func checkContent(t *testing.T, d device.Device, want []byte) {
	t.Helper()
	if d.Size() != int64(len(want)) {
		t.Fatalf("size %d, want %d", d.Size(), len(want))
	}
	got := bytes.Repeat([]byte{0xee}, len(want))
	for at := 0; at < len(got); at += mib {
		if n, err := d.ReadAt(got[at:min(at+mib, len(got))], int64(at)); err != nil {
			t.Fatalf("%d bytes at %d: %v", n, at, err)
		}
	}
	same(t, got, want, 0)
	rnd := rand.New(rand.NewPCG(1, 2))
	buf, filler := make([]byte, 300*kib), bytes.Repeat([]byte{0xee}, 300*kib)
	for range 80 {
		p := buf[:1+rnd.IntN(len(buf)>>(2*rnd.IntN(9)))]
		off := rnd.IntN(len(want) + 10)
		copy(p, filler)
		n, err := d.ReadAt(p, int64(off))
		expect := want[min(off, len(want)):min(off+len(p), len(want))]
		if n != len(expect) || (n < len(p)) != errors.Is(err, io.EOF) || n == len(p) && err != nil {
			t.Fatalf("%d bytes at %d of %d: %d, %v", len(p), off, len(want), n, err)
		}
		same(t, p[:n], expect, off)
	}
}

func same(t *testing.T, got, want []byte, off int) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	for n := range got {
		if got[n] != want[n] {
			t.Fatalf("byte %d is %#x, want %#x", off+n, got[n], want[n])
		}
	}
}

// mapped returns the ranges of data as qemu maps them.
func mapped(t testing.TB, path string) []span {
	t.Helper()
	var list []struct {
		Start, Length int64
		Data          bool
	}
	if err := json.Unmarshal(runIn(t, filepath.Dir(path), "qemu-img", "map", "--output=json", "-f", "qcow2", path), &list); err != nil {
		t.Fatal(err)
	}
	var spans []span
	for _, e := range list {
		if !e.Data {
			continue
		}
		if n := len(spans); n > 0 && spans[n-1].end == e.Start {
			spans[n-1].end = e.Start + e.Length
		} else {
			spans = append(spans, span{e.Start, e.Start + e.Length})
		}
	}
	return spans
}

// data are all ranges that a device's Data returns.
func data(t testing.TB, d device.Device) []span {
	t.Helper()
	var spans []span
	for off := int64(0); off < d.Size(); {
		start, end, err := d.Data(off)
		if err != nil {
			t.Fatal(err)
		}
		if start < off || end < start || end > d.Size() || start == end && end != d.Size() {
			t.Fatalf("Data(%d) is %d to %d of %d", off, start, end, d.Size())
		}
		if start < end {
			if n := len(spans); n > 0 && spans[n-1].end == start {
				spans[n-1].end = end
			} else {
				spans = append(spans, span{start, end})
			}
		}
		off = end
	}
	return spans
}

func checkData(t *testing.T, i *Image, want []byte) {
	t.Helper()
	got, expect := data(t, i), mapped(t, i.path)
	if fmt.Sprint(got) != fmt.Sprint(expect) {
		t.Errorf("data at\n%v\nwant\n%v", got, expect)
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		off := rnd.Int64N(i.Size())
		start, _, err := i.Data(off)
		if err != nil {
			t.Fatal(err)
		}
		if len(bytes.Trim(want[off:start], "\x00")) != 0 {
			t.Fatalf("Data(%d) passes over data to %d", off, start)
		}
	}
}
