package nbdproxy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReaderAtIsServedReadOnly(t *testing.T) {
	content := pattern(3<<20 + 17)
	file := filepath.Join(t.TempDir(), "state")
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := NewReaderAt(f, int64(len(content)), nil)
	r := transport{serve(t, Config{Exports: []Export{{Name: "state", Backend: b, ReadOnly: true, MultiConn: true}}}), nil}
	out := file + ".out"
	run(t, "nbdcopy", r.uri("state"), out)
	if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, content) {
		t.Errorf("other bytes (%v)", err)
	}
	c := r.transmit(t, true)
	c.request(0, cmdWrite, 1, 0, 1, "x")
	c.expectError(1, nbdEPERM, nil)
	c.disconnect()
}

func TestReaderAtReportsItsExtents(t *testing.T) {
	extents := func(_ context.Context, entries []StatusEntry, offset, length int64, max int) ([]StatusEntry, error) {
		if offset < 4096 {
			entries = append(entries, StatusEntry{4096 - offset, 0})
		}
		if len(entries) < max {
			entries = append(entries, StatusEntry{1 << 40, StateHole | StateZero})
		}
		return entries, nil
	}
	b := NewReaderAt(bytes.NewReader(make([]byte, 1<<20)), 1<<20, extents)
	v := serve(t, Config{Exports: []Export{{Name: "state", Backend: b, ReadOnly: true}}})
	c := v.transmit(t, true, baseAllocation)
	c.request(0, cmdBlockStatus, 1, 512, 8192)
	c.expectChunk(replyFlagDone, replyBlockStatus, 1, uint32(0), uint32(4096-512), uint32(0), uint32(8192-4096+512), uint32(3))
	c.request(cmdFlagReqOne, cmdBlockStatus, 2, 0, 1<<20)
	c.expectChunk(replyFlagDone, replyBlockStatus, 2, uint32(0), uint32(4096), uint32(0))
	c.disconnect()
}

// A file that became shorter than it was fails to be read; it does not read as zeros.
func TestReaderAtShorterThanItsSizeFails(t *testing.T) {
	b := NewReaderAt(bytes.NewReader(pattern(4096)), 8192, nil)
	c := serve(t, Config{Exports: []Export{{Name: "state", Backend: b, ReadOnly: true}}}).transmit(t, true)
	c.request(0, cmdRead, 1, 4000, 512)
	c.expectError(1, nbdEIO, at(4096))
	c.disconnect()
}

func TestReaderAtCannotBeWritten(t *testing.T) {
	b := NewReaderAt(bytes.NewReader(nil), 0, nil)
	if _, err := b.WriteAt([]byte{1}, 0); err != unix.EROFS {
		t.Errorf("WriteAt: %v", err)
	}
}
