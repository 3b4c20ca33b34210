package session_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// checkIndex compares what indexes, base first, say of an image with its bytes, and
// content with the digest of these.
func (l *lab) checkIndex(image, content string, indexes ...string) {
	l.t.Helper()
	raw := image + ".bytes"
	l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, raw)
	f, err := os.Open(raw)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	c, err := blockindex.OpenChain(indexes...)
	if err != nil {
		l.t.Fatal(err)
	}
	defer c.Close()
	var d blockindex.Digest
	var size int64
	buf := make([]byte, blockindex.BlockSize)
	for block := int64(0); ; block++ {
		n, err := io.ReadFull(f, buf)
		if err == io.EOF {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			l.t.Fatal(err)
		}
		size += int64(n)
		want := blockindex.Sum(buf[:n])
		d.Add(block, want)
		if got, err := c.Lookup(block); err != nil || got != want {
			l.t.Fatalf("block %d of %s is %v, and %v by its index, error %v", block, image, want, got, err)
		}
	}
	if c.Size() != size {
		l.t.Errorf("an index of %d bytes for a disk of %d", c.Size(), size)
	}
	if d.String() != content {
		l.t.Errorf("the content of %s is %v; reported was %q", image, d, content)
	}
}

// entries is how many blocks an index says something of.
func (l *lab) entries(index string) int {
	l.t.Helper()
	f, err := blockindex.Open(index)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for _, err := range f.Present(l.t.Context()) {
		if err != nil {
			l.t.Fatal(err)
		}
		n++
	}
	return n
}

func TestIndexSaysWhatTheImagesHold(t *testing.T) {
	for name, way := range map[string]way{"one connection": {}, "four": {lanes: 4}} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.way = way
			const size, grown = 200*mib + 5*512, 260*mib + 7*512
			src := l.image("src", size, append(writes(20, 1), "write -q -P 9 100M 30M", "write -q -P 0 110M 1M",
				fmt.Sprintf("write -q -P 8 %d 512", size-512))...)
			base := l.image("base", size)
			full := l.sync("", "auto", transfer{name: "vda", from: src, to: base, size: size, index: l.path("base.idx")})
			l.checkIndex(base, full[0].Content, l.path("base.idx"))
			if n := l.entries(l.path("base.idx")); n != 20+29*16+1 {
				t.Errorf("%d blocks are not zeros; the index has %d entries", 20+29*16+1, n)
			}

			// Of a finer grain than blocks are.
			l.run("qemu-img", "bitmap", "--add", "-g", "4096", src, "b0")
			l.io(src, append(writes(10, 40), "write -q -P 3 100004k 12k", "write -q -P 4 101M 640k", "write -q -P 5 103428k 1M",
				"write -q -z 120004k 3M", "write -q -z 20M 64k", "discard -q 10M 64k", "write -q -z 104M 1M",
				fmt.Sprintf("write -q -P 6 %d 512", size-1024))...)
			top := l.overlay("top", base, size)
			chain := []string{l.path("base.idx"), l.path("top.idx")}
			inc := l.sync("cp1", "auto", transfer{name: "vda", from: src, to: top, bitmap: "b0", size: size,
				index: chain[1], parents: chain[:1], content: full[0].Content})
			l.same(src, top)
			l.checkIndex(top, inc[0].Content, chain...)

			// The same once more, without help: nothing of what is there may change it.
			again := l.overlay("again", base, size)
			redo := l.sync("cp1", "auto", transfer{name: "vda", from: src, to: again, bitmap: "b0", size: size,
				index: l.path("again.idx"), parents: chain[:1]})
			l.checkIndex(again, redo[0].Content, chain[0], l.path("again.idx"))

			// The disk grows, and its last block with it, of which nothing is sent.
			l.run("qemu-img", "bitmap", "--remove", src, "b0")
			l.run("qemu-img", "resize", "-q", src, fmt.Sprint(grown))
			l.run("qemu-img", "bitmap", "--add", "-g", "4096", src, "b1")
			l.io(src, "write -q -P 7 1M 4k", fmt.Sprintf("write -q -P 8 %d 512", grown-512))
			large := l.overlay("large", top, grown)
			chain = append(chain, l.path("large.idx"))
			inc = l.sync("cp1", "auto", transfer{name: "vda", from: src, to: large, bitmap: "b1", size: grown,
				index: chain[2], parents: chain[:2], content: inc[0].Content})
			l.same(src, large)
			l.checkIndex(large, inc[0].Content, chain...)

			// And shrinks to less than it was at first.
			const small = 90*mib + 3*512
			l.run("qemu-img", "bitmap", "--remove", src, "b1")
			l.run("qemu-img", "resize", "-q", "--shrink", src, fmt.Sprint(small))
			l.run("qemu-img", "bitmap", "--add", src, "b2")
			least := l.overlay("least", large, small)
			chain = append(chain, l.path("least.idx"))
			inc = l.sync("cp1", "auto", transfer{name: "vda", from: src, to: least, bitmap: "b2", size: small,
				index: chain[3], parents: chain[:3], content: inc[0].Content})
			l.checkIndex(least, inc[0].Content, chain...)
			if inc[0].DataBytes+inc[0].ZeroBytes != 0 || l.entries(chain[3]) != 1 {
				t.Errorf("of a disk that only shrank came %+v, and %d entries", inc[0], l.entries(chain[3]))
			}

			// Merging the images' indexes is as good.
			for _, child := range []string{chain[2], chain[3]} {
				if err := blockindex.Merge(t.Context(), chain[1], child); err != nil {
					t.Fatal(err)
				}
			}
			l.checkIndex(least, inc[0].Content, chain[0], chain[1])
		})
	}
}

func TestResumedIndexKeepsWhatItSays(t *testing.T) {
	l := newLab(t)
	const size = 64*mib + 512
	src := l.image("src", size, "write -q -P 1 0 32M")
	dst := l.image("dst", size)
	tr := transfer{name: "vda", from: src, to: dst, size: size, index: l.path("idx")}
	l.sync("", "none", tr)
	l.run("qemu-img", "bitmap", "--add", "-g", "4096", src, "b0")
	l.io(src, "write -q -P 2 1M 5M", "write -q -P 3 10244k 4k", "write -q -z 20M 4M", fmt.Sprintf("write -q -P 4 %d 512", size-512))
	tr.bitmap, tr.resume = "b0", true
	got := l.sync("cp1", "none", tr)
	l.checkIndex(dst, got[0].Content, tr.index)
	if n := l.entries(tr.index); n != 28*16+1 {
		t.Errorf("%d entries for %d blocks that are not zeros", n, 28*16+1)
	}
}

// failIndex runs a transfer whose index cannot be made.
func (l *lab) failIndex(x transfer, kind string) {
	l.t.Helper()
	source, target := l.source(x.from, ""), l.target(x.to)
	s, a := l.documents("", "none", []transfer{x}, []*server{source}, []*server{target})
	serve, apply := start(l.t, session.Serve, s), start(l.t, session.Apply, a)
	serve.awaitReady()
	apply.awaitReady()
	relay(l.t, s.Listen, a.Listen)
	apply.failed(kind, "vda")
	serve.last()
	source.stop()
	target.stop()
}

func TestFullFileSystemOfAnIndexNamesTheDisk(t *testing.T) {
	l := newLab(t)
	tiny := l.path("tiny")
	if err := os.Mkdir(tiny, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", tiny, "tmpfs", 0, "size=64k"); err != nil {
		t.Skipf("this test needs to mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(tiny, unix.MNT_DETACH) })
	for name, pages := range map[string]int{"while blocks come": 64, "at the end": 20} {
		t.Run(name, func(t *testing.T) {
			var cmds []string
			for i := range pages {
				cmds = append(cmds, fmt.Sprintf("write -q -P 1 %dM 64k", i*16))
			}
			index := tiny + "/idx"
			src, dst := l.image(fmt.Sprint("src", pages), gib, cmds...), l.image(fmt.Sprint("dst", pages), gib)
			l.failIndex(transfer{name: "vda", from: src, to: dst, size: gib, index: index}, spec.KindNoSpace)
			if err := os.Remove(index); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestIndexThatCannotBeMadeNamesTheDisk(t *testing.T) {
	l := newLab(t)
	src, dst := l.image("src", mib), l.image("dst", mib)
	for name, path := range map[string]string{"exists": dst, "no folder": l.path("x/idx")} {
		t.Run(name, func(t *testing.T) {
			l.failIndex(transfer{name: "vda", from: src, to: dst, size: mib, index: path}, spec.KindTarget)
		})
	}
}

func TestDocumentWithAnIndexThatMakesNoSense(t *testing.T) {
	ok := spec.ApplyDisk{Name: "vda", Socket: "/s", Export: "e", Size: 1, Incremental: true, Index: "/i"}
	for name, edit := range map[string]func(*spec.ApplyDisk){
		"relative":                   func(d *spec.ApplyDisk) { d.Index = "i" },
		"relative parent":            func(d *spec.ApplyDisk) { d.Parents = []string{"/a", "b"} },
		"no digest":                  func(d *spec.ApplyDisk) { d.Parents, d.ParentContent = []string{"/a"}, "x" },
		"content of nothing":         func(d *spec.ApplyDisk) { d.ParentContent = blockindex.Digest{}.String() },
		"parents of a full disk":     func(d *spec.ApplyDisk) { d.Parents, d.Incremental = []string{"/a"}, false },
		"full disk resumed":          func(d *spec.ApplyDisk) { d.Resume, d.Incremental = true, false },
		"parents without an index":   func(d *spec.ApplyDisk) { d.Parents, d.Index = []string{"/a"}, "" },
		"resumption of what is none": func(d *spec.ApplyDisk) { d.Resume, d.Index = true, "" },
	} {
		t.Run(name, func(t *testing.T) {
			d := ok
			edit(&d)
			start(t, session.Apply, spec.Apply{Version: spec.Version, Domain: "d", Checkpoint: "c", Parent: "p", Listen: "/l", Disks: []spec.ApplyDisk{d}}).failed(spec.KindSpec, "")
		})
	}
}
