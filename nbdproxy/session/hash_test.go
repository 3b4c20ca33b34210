package session_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// hash makes the indexes of exports and returns what was said about them.
func (l *lab) hash(disks ...spec.HashDisk) []spec.DiskResult {
	l.t.Helper()
	p := start(l.t, session.Hash, spec.Hash{Version: spec.Version, Disks: disks})
	done := p.done()
	last := map[string]spec.Progress{}
	for _, ev := range p.events {
		if ev.Event == spec.EventProgress {
			last[ev.Progress.Disk] = *ev.Progress
		}
	}
	for i, d := range done.Disks {
		want := spec.Progress{Disk: d.Name, Size: disks[i].Size, Scanned: disks[i].Size, Found: d.DataBytes, Total: d.DataBytes, Done: d.DataBytes}
		if diff := cmp.Diff(want, last[d.Name]); diff != "" {
			l.t.Errorf("the last progress: -want +got\n%s", diff)
		}
	}
	return done.Disks
}

// full is the hash of a block full of one byte.
func full(b byte) blockindex.Hash { return blockindex.Sum(bytes.Repeat([]byte{b}, block)) }

// present are the entries of blocks that are not zeros.
func present(content []byte) map[int64]blockindex.Hash {
	m := map[int64]blockindex.Hash{}
	for i, h := range blocks(content) {
		if h != blockindex.Zero {
			m[int64(i)] = h
		}
	}
	return m
}

func TestHashIsThatOfTheBytes(t *testing.T) {
	l := newLab(t)
	const sizeA, sizeB = 96*mib + 1536, 24 * mib
	a := l.image("a", sizeA, append(filled(48), "write -q -z 7M 1M", "write -q -P 0 9M 1M", "write -q -P 5 70000k 4k", fmt.Sprintf("write -q -P 9 %d 512", 96*mib+1024))...)
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", l.path("b"), fmt.Sprint(sizeB))
	b := l.path("b")
	for i := range 40 { // blocks that are partly holes
		l.io(b, fmt.Sprintf("write -q -P %d %dk 4k", i+1, i*132), fmt.Sprintf("write -q -P %d %dk 8k", i+1, 12000+i*64+60))
	}
	over := l.overlay("over", a, sizeA)
	l.io(over, "write -q -P 201 3M 1M", "write -q -z 20M 1M", "write -q -P 202 60M 4k")
	got := l.hash(
		spec.HashDisk{Name: "vda", Socket: l.source(over, "").socket, Export: "disk", Size: sizeA, Out: l.path("a.idx")},
		spec.HashDisk{Name: "vdb", Socket: l.source(b, "").socket, Export: "disk", Size: sizeB, Out: l.path("b.idx")})
	for i, c := range []struct{ image, index string }{{over, "a.idx"}, {b, "b.idx"}} {
		raw := l.raw(c.image)
		if diff := cmp.Diff(present(raw), l.said(l.path(c.index))); diff != "" {
			t.Errorf("%s: -want +got\n%s", c.index, diff)
		}
		if got[i].Content != content(raw) {
			t.Errorf("%s: content %s, want %s", c.index, got[i].Content, content(raw))
		}
	}
	// Of 48 MiB one is zeros and one is so in the overlay; three ranges were written apart.
	// Holes are not read.
	if want := int64(46*mib + 2*block + 1536); got[0].DataBytes != want {
		t.Errorf("%d bytes were read, want %d", got[0].DataBytes, want)
	}
}

func TestHashOfTheTopImageAlone(t *testing.T) {
	l := newLab(t)
	const size = 64*mib + 512
	base := l.image("base", size, "write -q -P 1 0 32M")
	l.run("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", "-o", "cluster_size=4k", l.path("top"), fmt.Sprint(size))
	top := l.path("top")
	l.io(top, "write -q -P 2 64k 64k", "write -q -P 3 128k 4k", "write -q -z 256k 64k", "write -q -z 320k 4k",
		"write -q -P 0 384k 64k", "write -q -z 40M 64k", "write -q -P 4 50M 4k", fmt.Sprintf("write -q -P 5 %d 512", 64*mib))
	got := l.hash(spec.HashDisk{Name: "vda", Socket: l.nbd(top, "-r", "-A").socket, Export: "disk", Size: size, Top: true, Out: l.path("idx")})
	all := blocks(l.raw(top))
	want := map[int64]blockindex.Hash{
		1: full(2), 2: all[2], 4: blockindex.Zero, 5: all[5], 6: blockindex.Zero,
		40 * mib / block: blockindex.Zero, 50 * mib / block: all[50*mib/block], 1024: all[1024],
	}
	if diff := cmp.Diff(want, l.said(l.path("idx"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if got[0].Content != "" {
		t.Error("a part of a disk has a digest")
	}
	// Through what the base has, they are the disk.
	chain, err := blockindex.OpenChain(l.index("base.idx", l.raw(base)), l.path("idx"))
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Close()
	d, err := chain.Digest(t.Context())
	if want := content(l.raw(top)); err != nil || d.String() != want {
		t.Errorf("the chain's digest is %s, want %s; error %v", d, want, err)
	}
}

// The block that an image below ends in has another hash there than here.
func TestHashOfTheTopImageOverOneOfAnotherSize(t *testing.T) {
	for name, c := range map[string]struct{ below, size int64 }{
		"grown": {8*mib + 512, 16 * mib}, "grown within a block": {8*mib + 512, 8*mib + 1024},
		"shrunk": {16 * mib, 8*mib + 512}, "the same size": {8*mib + 512, 8*mib + 512}, "whole blocks": {8 * mib, 16 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			base := l.image("base", c.below, fmt.Sprintf("write -q -P 1 0 %d", c.below))
			top := l.overlay("top", base, c.size)
			l.io(top, "write -q -P 2 1M 64k")
			l.hash(spec.HashDisk{Name: "vda", Socket: l.nbd(top, "-r", "-A").socket, Export: "disk", Size: c.size, Top: true, Below: c.below, Out: l.path("idx")})
			if n := len(l.said(l.path("idx"))); n > 2 {
				t.Errorf("%d blocks have entries", n)
			}
			chain, err := blockindex.OpenChain(l.index("base.idx", l.raw(base)), l.path("idx"))
			if err != nil {
				t.Fatal(err)
			}
			defer chain.Close()
			d, err := chain.Digest(t.Context())
			if want := content(l.raw(top)); err != nil || d.String() != want {
				t.Errorf("the chain's digest is %s, want %s; error %v", d, want, err)
			}
		})
	}
}

func TestHashLeavesOutWhatIsDirty(t *testing.T) {
	l := newLab(t)
	const size = 4*mib + 512
	src := l.image("src", size, "write -q -P 1 0 2M")
	l.run("qemu-img", "bitmap", "--add", "-g", "4k", src, "b0")
	l.io(src, "write -q -P 2 64k 64k", "write -q -P 3 200k 4k", "write -q -z 1M 128k", "write -q -P 4 3M 4k")
	l.hash(spec.HashDisk{Name: "vda", Socket: l.source(src, "b0").socket, Export: "disk", Size: size, Bitmap: "b0", Out: l.path("idx")})
	want := map[int64]blockindex.Hash{}
	for i, h := range blocks(l.raw(src)) {
		want[int64(i)] = h
	}
	for _, dirty := range []int64{1, 3, 16, 17, 48} {
		delete(want, dirty)
	}
	if diff := cmp.Diff(want, l.said(l.path("idx"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

func TestHashOfAHugeSparseDiskIsQuickAndSmall(t *testing.T) {
	const size = 1 << 40
	l := newLab(t)
	src := l.image("src", size, "write -q -P 1 300G 64k", fmt.Sprintf("write -q -P 2 %d 64k", int64(size)-block))
	over := l.overlay("over", src, size)
	l.io(over, "write -q -P 3 0 64k")
	plain, top := l.source(src, ""), l.nbd(over, "-r", "-A")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	got := l.hash(spec.HashDisk{Name: "vda", Socket: plain.socket, Export: "disk", Size: size, Out: l.path("a.idx")},
		spec.HashDisk{Name: "vdb", Socket: top.socket, Export: "disk", Size: size, Top: true, Out: l.path("b.idx")})
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64*mib {
		t.Errorf("it took %d bytes of memory", n)
	}
	if got[0].DataBytes != 2*block || got[1].DataBytes != block {
		t.Errorf("got %+v", got)
	}
	want := map[int64]blockindex.Hash{300 * gib / block: full(1), size/block - 1: full(2)}
	if diff := cmp.Diff(want, l.said(l.path("a.idx"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if diff := cmp.Diff(map[int64]blockindex.Hash{0: full(3)}, l.said(l.path("b.idx"))); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for _, name := range []string{"a.idx", "b.idx"} {
		var st syscall.Stat_t
		if err := syscall.Stat(l.path(name), &st); err != nil || st.Blocks*512 > mib {
			t.Errorf("%s takes %d bytes, error %v", name, st.Blocks*512, err)
		}
	}
}

// slowly offers a server on another socket, and calls f once n bytes came from it.
func (l *lab) slowly(s *server, n int64, f func()) (socket string) {
	l.t.Helper()
	socket = l.path("slow.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		l.t.Fatal(err)
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	l.t.Cleanup(func() { _ = listener.Close(); wg.Wait() })
	count := func(b int) {
		mu.Lock()
		defer mu.Unlock()
		if before := n; before > 0 {
			if n -= int64(b); n <= 0 {
				f()
			}
		}
	}
	wg.Go(func() {
		for {
			from, err := listener.Accept()
			if err != nil {
				return
			}
			to, err := net.Dial("unix", s.socket)
			if err != nil {
				_ = from.Close()
				continue
			}
			wg.Go(func() { _, _ = io.Copy(to, from); _ = to.Close() })
			wg.Go(func() {
				defer from.Close()
				buf := make([]byte, 256<<10)
				for {
					k, err := to.Read(buf)
					count(k)
					if _, werr := from.Write(buf[:k]); err != nil || werr != nil {
						return
					}
				}
			})
		}
	})
	return socket
}

// halfHashed starts to hash two disks; halfway through the second one f is called.
func (l *lab) halfHashed(f func(p *process, second *server)) (p *process, outs []string) {
	l.t.Helper()
	const size = 64 * mib
	a := l.source(l.image("a", 8*mib, filled(8)...), "")
	b := l.source(l.image("b", size, filled(64)...), "")
	started := make(chan struct{})
	outs = []string{l.path("a.idx"), l.path("b.idx")}
	slow := l.slowly(b, size/2, func() { <-started; f(p, b) })
	p = start(l.t, session.Hash, spec.Hash{Version: spec.Version, Disks: []spec.HashDisk{
		{Name: "vda", Socket: a.socket, Export: "disk", Size: 8 * mib, Out: outs[0]},
		{Name: "vdb", Socket: slow, Export: "disk", Size: size, Out: outs[1]},
	}})
	close(started)
	return p, outs
}

// gone makes sure that no half an index stays.
func gone(t *testing.T, paths []string) {
	t.Helper()
	for _, p := range paths {
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s is there: %v", filepath.Base(p), err)
		}
	}
}

func TestServerKilledWhileHashingNamesTheDisk(t *testing.T) {
	l := newLab(t)
	p, outs := l.halfHashed(func(_ *process, s *server) { s.kill() })
	p.failed(spec.KindExport, "vdb")
	gone(t, outs)
}

func TestHashingStopsWithStdin(t *testing.T) {
	l := newLab(t)
	p, outs := l.halfHashed(func(p *process, _ *server) { _ = p.stdin.Close(); time.Sleep(200 * time.Millisecond) })
	p.failed(spec.KindStopped, "")
	gone(t, outs)
}

func TestHashRefusesWhatItCannotDo(t *testing.T) {
	l := newLab(t)
	const size = 4 * mib
	src := l.source(l.image("src", size), "")
	there := l.path("there")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := spec.HashDisk{Name: "vda", Socket: src.socket, Export: "disk", Size: size, Out: l.path("idx")}
	for name, c := range map[string]struct {
		change     func(*spec.HashDisk)
		kind, disk string
	}{
		"no name":                 {func(d *spec.HashDisk) { d.Name = "" }, spec.KindSpec, ""},
		"no size":                 {func(d *spec.HashDisk) { d.Size = 0 }, spec.KindSpec, ""},
		"less than nothing below": {func(d *spec.HashDisk) { d.Top, d.Below = true, -1 }, spec.KindSpec, ""},
		"nothing below of all":    {func(d *spec.HashDisk) { d.Below = 1 }, spec.KindSpec, ""},
		"a relative path":         {func(d *spec.HashDisk) { d.Out = "idx" }, spec.KindSpec, ""},
		"a file that exists":      {func(d *spec.HashDisk) { d.Out = there }, spec.KindSpec, ""},
		"no such folder":          {func(d *spec.HashDisk) { d.Out = l.path("no/idx") }, spec.KindOther, "vda"},
		"another size":            {func(d *spec.HashDisk) { d.Size++ }, spec.KindExport, "vda"},
		"no such export":          {func(d *spec.HashDisk) { d.Export = "x" }, spec.KindExport, "vda"},
		"no server":               {func(d *spec.HashDisk) { d.Socket = l.path("x") }, spec.KindExport, "vda"},
		"no such bitmap":          {func(d *spec.HashDisk) { d.Bitmap = "b" }, spec.KindExport, "vda"},
		"no depths":               {func(d *spec.HashDisk) { d.Top = true }, spec.KindExport, "vda"},
	} {
		d := good
		c.change(&d)
		t.Log(name)
		start(t, session.Hash, spec.Hash{Version: spec.Version, Disks: []spec.HashDisk{d}}).failed(c.kind, c.disk)
		gone(t, []string{good.Out})
	}
	start(t, session.Hash, spec.Hash{Version: spec.Version}).failed(spec.KindSpec, "")
	start(t, session.Hash, spec.Hash{Version: spec.Version - 1, Disks: []spec.HashDisk{good}}).failed(spec.KindSpec, "")
	if b, err := os.ReadFile(there); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there holds %q, error %v", b, err)
	}
}

func TestHashOfAFullFileSystemNamesTheDisk(t *testing.T) {
	l := newLab(t)
	const size = 8 * mib
	socket := l.source(l.image("src", size, filled(8)...), "").socket
	small := l.smallFolder()
	fill := filepath.Join(small, "fill")
	_ = os.WriteFile(fill, make([]byte, 64<<10-4096), 0o600)
	start(t, session.Hash, spec.Hash{Version: spec.Version, Disks: []spec.HashDisk{
		{Name: "vda", Socket: socket, Export: "disk", Size: size, Out: filepath.Join(small, "idx")},
	}}).failed(spec.KindNoSpace, "vda")
	gone(t, []string{filepath.Join(small, "idx")})
}

// smallFolder is a file system of 64 KiB.
func (l *lab) smallFolder() string {
	l.t.Helper()
	p := l.path("small")
	if err := os.Mkdir(p, 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", p, "tmpfs", 0, "size=64k"); err != nil {
		l.t.Skipf("this test needs to mount a tmpfs: %v", err)
	}
	l.t.Cleanup(func() { _ = syscall.Unmount(p, syscall.MNT_DETACH) })
	return p
}
