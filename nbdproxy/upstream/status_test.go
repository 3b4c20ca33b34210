package upstream_test

import (
	"slices"
	"testing"

	"vmsync/nbdproxy"
	"vmsync/nbdproxy/nbdtest"
	"vmsync/nbdproxy/upstream"
)

const (
	allocation = "base:allocation"
	bitmap     = "qemu:dirty-bitmap:changes"
)

// status makes entries of pairs of length and flags.
func status(pairs ...int64) []nbdproxy.StatusEntry {
	var s []nbdproxy.StatusEntry
	for i := 0; i < len(pairs); i += 2 {
		s = append(s, nbdproxy.StatusEntry{Length: pairs[i], Flags: uint32(pairs[i+1])})
	}
	return s
}

// changed is an image with data at 1 and 3 MiB of 8, of which the second is dirty in the
// bitmap "changes", as is a range of zeros at 5 MiB.
func changed(t *testing.T) string {
	t.Helper()
	path := nbdtest.Image(t, 8*mib, "write -P 1 1M 1M")
	nbdtest.Run(t, "qemu-img", "bitmap", "--add", "-f", "qcow2", path, "changes")
	nbdtest.QemuIO(t, path, "write -P 2 3M 64k", "write -z 5M 128k")
	return path
}

// whole asks for the block status of the whole export, at most n entries at a time.
func whole(t *testing.T, b *upstream.Backend, context string, n int) []nbdproxy.StatusEntry {
	t.Helper()
	size, _ := b.Size()
	var all []nbdproxy.StatusEntry
	for off := int64(0); off < size; {
		got, err := b.BlockStatus(t.Context(), context, nil, off, size-off, n)
		if err != nil || len(got) == 0 || len(got) > n {
			t.Fatalf("at %d: %d entries, error %v", off, len(got), err)
		}
		for _, e := range got {
			off += e.Length
			if k := len(all); k > 0 && all[k-1].Flags == e.Flags {
				all[k-1].Length += e.Length
				continue
			}
			all = append(all, e)
		}
		if off > size {
			t.Fatalf("%d bytes of %d", off, size)
		}
	}
	return all
}

func TestMapsAreTheServers(t *testing.T) {
	for name, args := range map[string][]string{"several connections": {"-e", "8"}, "one connection": nil} {
		t.Run(name, func(t *testing.T) {
			s := nbdtest.Serve(t, slices.Concat(args, []string{"-r", "-f", "qcow2", "-B", "changes", changed(t)})...)
			b := dial(t, s, "changes")
			if got := b.Contexts(); !slices.Equal(got, []string{allocation, bitmap}) {
				t.Errorf("contexts %q", got)
			}
			for context, want := range map[string][]nbdproxy.StatusEntry{
				allocation: status(mib, 3, mib, 0, mib, 3, 64*kib, 0, 5*mib-64*kib, 3),
				bitmap:     status(3*mib, 0, 64*kib, 1, 2*mib-64*kib, 0, 128*kib, 1, 3*mib-128*kib, 0),
			} {
				for _, n := range []int{1, 2, 1000} {
					got := whole(t, b, context, n)
					if !slices.Equal(got, want) {
						t.Errorf("%s, %d at a time: %v; want %v", context, n, got, want)
					}
				}
			}
		})
	}
}

func TestStatusStaysWithinWhatWasAsked(t *testing.T) {
	b := dial(t, nbdtest.Serve(t, "-e", "8", "-r", "-f", "qcow2", changed(t)), "")
	for _, n := range []int{1, 10} {
		got, err := b.BlockStatus(t.Context(), allocation, status(7, 7), 0, 4096, n)
		if want := status(7, 7, 4096, 3); err != nil || !slices.Equal(got, want) {
			t.Errorf("%v, error %v; want %v", got, err, want)
		}
	}
	if _, err := b.BlockStatus(t.Context(), bitmap, nil, 0, 4096, 1); err == nil {
		t.Error("a context that was not asked for was answered")
	}
}

func TestContextsListOnlyWhatIsThere(t *testing.T) {
	b := dial(t, nbdtest.ServeImage(t, changed(t), "-r", "-B", "changes"), "")
	if got := b.Contexts(); !slices.Equal(got, []string{allocation}) {
		t.Errorf("contexts %q", got)
	}
}

func TestExportTellsTheServersAbilities(t *testing.T) {
	readOnly := dial(t, nbdtest.ServeImage(t, nbdtest.Image(t, 8*mib), "-r"), "").Export("vda", "a disk")
	writable := dial(t, nbdtest.ServeImage(t, nbdtest.Image(t, 8*mib)), "").Export("vda", "a disk")
	if !readOnly.ReadOnly || writable.ReadOnly {
		t.Errorf("read-only: %v and %v", readOnly.ReadOnly, writable.ReadOnly)
	}
	all := nbdproxy.Features{Zero: true, FastZero: true, Trim: true, Cache: true, Flush: true}
	if got := writable.Backend.(nbdproxy.Featured).Features(); got != all {
		t.Errorf("a writable export of qemu's can %+v", got)
	}
	if got := readOnly.Backend.(nbdproxy.Featured).Features(); got.Zero || got.Trim || !got.Flush || !got.Cache {
		t.Errorf("a read-only export of qemu's can %+v", got)
	}
	if s := readOnly.BlockSizes; s.Minimum != 1 || s.Preferred < 4096 || s.Maximum != 32<<20 {
		t.Errorf("block sizes %+v", s)
	}
	for _, x := range []nbdproxy.Export{readOnly, writable} {
		if _, err := nbdproxy.NewServer(nbdproxy.Config{Exports: []nbdproxy.Export{x}}); err != nil {
			t.Error(err)
		}
	}
	if readOnly.Name != "vda" || readOnly.Description != "a disk" || !readOnly.MultiConn {
		t.Errorf("%+v", readOnly)
	}
}
