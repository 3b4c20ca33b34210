package session_test

import (
	"fmt"
	"os"
	"testing"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

const block = blockindex.BlockSize

// resync brings a copy of an image up to date with nothing but an index of the copy. It
// returns what was sent, after making sure that the two are equal and the digests right.
func (l *lab) resync(src, old string, size int64) spec.DiskResult {
	l.t.Helper()
	overlay := l.overlay("overlay", old, size)
	known := l.index("known", l.raw(old))
	sent, received := l.ends("cp1", "auto", transfer{name: "vda", from: src, to: overlay, known: known, size: size,
		index: l.path("overlay.idx"), parents: []string{known}})
	l.same(src, overlay)
	l.sameRaw(src, overlay)
	if want := content(l.raw(src)); sent[0].Content != want || received[0].Content != want {
		l.t.Errorf("the content's digest is %s, and %s to the receiver; want %s", sent[0].Content, received[0].Content, want)
	}
	return sent[0]
}

// filled are qemu-io commands that give every MiB of a disk another content.
func filled(n int) (cmds []string) {
	for i := range n {
		cmds = append(cmds, fmt.Sprintf("write -q -P %d %dM 1M", 1+i%200, i))
	}
	return cmds
}

func TestResyncSendsOnlyWhatDiffers(t *testing.T) {
	const size = 32*mib + 1536
	base := append(filled(16), fmt.Sprintf("write -q -P 9 %d 1536", 32*mib))
	for name, c := range map[string]struct {
		cmds       []string // what makes the source differ
		data, zero int64
	}{
		"nothing":                   {nil, 0, 0},
		"scattered bytes":           {[]string{"write -q -P 201 4k 4k", "write -q -P 202 2M 512", "write -q -P 203 3100k 100k", "write -q -P 204 15M 1M"}, block * (1 + 1 + 2 + 16), 0},
		"written with the same":     {[]string{"write -q -P 1 0 1M"}, 0, 0},
		"data are zeros":            {[]string{"write -q -z 1M 1M", "discard -q 3M 64k", "write -q -P 0 5M 128k"}, 0, mib + 3*block},
		"part of a block is zeros":  {[]string{"write -q -z 1M 4k", "write -q -P 0 2M 4k"}, 2 * block, 0},
		"zeros are data":            {[]string{"write -q -P 7 20M 128k", "write -q -P 8 25M 4k"}, 3 * block, 0},
		"zeros are written zeros":   {[]string{"write -q -P 0 20M 2M", "write -q -z 23M 1M"}, 0, 0},
		"the odd end":               {[]string{fmt.Sprintf("write -q -P 10 %d 512", 32*mib+512)}, 1536, 0},
		"the odd end is zeros":      {[]string{fmt.Sprintf("write -q -z %d 1536", 32*mib)}, 0, 1536},
		"all of it":                 {[]string{"write -q -P 210 0 32M"}, 32 * mib, 0},
		"nothing is left, but some": {[]string{"write -q -z 0 32M"}, 0, 16 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.way = way{lanes: 2}
			src := l.image("src", size, append(base, c.cmds...)...)
			got := l.resync(src, l.image("old", size, base...), size)
			if got.DataBytes != c.data || got.ZeroBytes != c.zero {
				t.Errorf("%d bytes of data and %d of zeros were sent; want %d and %d", got.DataBytes, got.ZeroBytes, c.data, c.zero)
			}
		})
	}
}

// A block of an image of small clusters may be partly there and partly not.
func TestResyncOfSmallClusters(t *testing.T) {
	const size = 16*mib + 512
	l := newLab(t)
	var base []string
	for i := range 64 { // every other 4 KiB of 4 MiB, and some blocks more
		base = append(base, fmt.Sprintf("write -q -P %d %dk 4k", i+1, i*8), fmt.Sprintf("write -q -P %d %dk 4k", i+1, 4096+i*68))
	}
	small := func(name string, cmds ...string) string {
		p := l.path(name)
		l.run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", p, fmt.Sprint(size))
		l.io(p, cmds...)
		return p
	}
	src := small("src", append(base, "write -q -P 99 16k 4k", "write -q -z 128k 4k", "write -q -z 192k 64k", "write -q -P 98 12M 4k",
		fmt.Sprintf("write -q -P 97 %d 512", 16*mib))...)
	old := small("old", base...)
	got := l.resync(src, old, size)
	if want := int64(3*block + 512); got.DataBytes != want || got.ZeroBytes != block {
		t.Errorf("%d bytes of data and %d of zeros were sent; want %d and %d", got.DataBytes, got.ZeroBytes, want, block)
	}
}

func TestResyncOfADiskOfAnotherSize(t *testing.T) {
	for name, c := range map[string]struct {
		old, size  int64
		data, zero int64
	}{
		// The source has data in all of 8 MiB but its second MiB, and nothing behind 8 MiB.
		"grown by zeros":                         {8 * mib, 64 * mib, 0, 0},
		"grown by data":                          {4 * mib, 8 * mib, 4 * mib, 0},
		"shrunk":                                 {8 * mib, 4 * mib, 0, 0},
		"grown from within a block":              {4*mib + 512, 8 * mib, 4 * mib, 0},
		"grown from within a block, by zeros":    {9*mib + 512, 12 * mib, 0, block},
		"shrunk to within a block":               {8 * mib, 4*mib + 512, 512, 0},
		"grown within a block":                   {8*mib - 1024, 8*mib - 512, block - 512, 0},
		"shrunk within a block":                  {8*mib - 512, 8*mib - 1024, block - 1024, 0},
		"shrunk within a block of zeros":         {9*mib + 1024, 9*mib + 512, 0, 512},
		"grown from a hole to a little of it":    {mib + 512, mib + 1024, 0, 1024},
		"grown to an odd end by a block at most": {8 * mib, 8*mib + 512, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			disk := func(name string, size int64) string {
				cmds := []string{"write -q -P 1 0 1M"}
				if n := min(size, 8*mib) - 2*mib; n > 0 {
					cmds = append(cmds, fmt.Sprintf("write -q -P 2 2M %d", n))
				}
				return l.image(name, size, cmds...)
			}
			src, old := disk("src", c.size), disk("old", c.old)
			got := l.resync(src, old, c.size)
			if got.DataBytes != c.data || got.ZeroBytes != c.zero {
				t.Errorf("%d bytes of data and %d of zeros were sent; want %d and %d", got.DataBytes, got.ZeroBytes, c.data, c.zero)
			}
		})
	}
}

// An incremental run that was cut off goes on with what had arrived.
func TestIncrementalGoesOnWithWhatIsKnown(t *testing.T) {
	for name, c := range map[string]struct {
		granularity string
		data, zero  int64
	}{
		"blocks":          {"64k", 20 * block, mib},
		"parts of blocks": {"4k", 20*block + 4096, mib}, // of which one cannot be compared
	} {
		t.Run(name, func(t *testing.T) {
			const size = 64 * mib
			l := newLab(t)
			src := l.image("src", size, filled(32)...)
			base := l.image("base", size, filled(32)...)
			l.run("qemu-img", "bitmap", "--add", "-g", c.granularity, src, "b0")
			changes := []string{"write -q -P 211 4M 4M", "write -q -z 16M 2M", "write -q -P 212 24M 4k", "write -q -P 213 40M 64k"}
			l.io(src, changes...)
			overlay := l.overlay("overlay", base, size)
			l.io(overlay, "write -q -P 211 4M 2816k", "write -q -z 16M 1M", "write -q -P 212 24M 4k", "write -q -P 213 40M 64k")
			known, index := l.index("known", l.raw(overlay)), l.path("overlay.idx")
			arrived := l.nbd(overlay, "-r", "-A")
			l.hash(spec.HashDisk{Name: "vda", Socket: arrived.socket, Export: "disk", Size: size, Top: true, Out: index})
			arrived.stop()
			got, received := l.ends("cp1", "auto", transfer{name: "vda", from: src, to: overlay, bitmap: "b0", known: known, size: size,
				index: index, parents: []string{l.index("base.idx", l.raw(base))}, resume: true})
			if want := content(l.raw(src)); received[0].Content != want {
				t.Errorf("the receiver's digest is %s, want %s", received[0].Content, want)
			}
			l.same(src, overlay)
			l.sameRaw(src, overlay)
			if got[0].DataBytes != c.data || got[0].ZeroBytes != c.zero {
				t.Errorf("%d bytes of data and %d of zeros were sent; want %d and %d", got[0].DataBytes, got[0].ZeroBytes, c.data, c.zero)
			}
			if got[0].Content != "" {
				t.Error("it was not looked at as a whole, and has a digest")
			}
		})
	}
}

// What the receiver has may not be what its index says. The two ends' digests tell.
func TestWrongIndexIsFoundOut(t *testing.T) {
	const size = 16 * mib
	l := newLab(t)
	src := l.image("src", size, append(filled(16), "write -q -P 77 1M 64k")...)
	old := l.image("old", size, append(filled(16), "write -q -P 78 5M 64k")...)
	// The index says that the copy has at 5 MiB what the source has there.
	claimed := l.image("claimed", size, filled(16)...)
	overlay := l.overlay("overlay", old, size)
	got, received := l.ends("cp1", "auto", transfer{name: "vda", from: src, to: overlay, known: l.index("known", l.raw(claimed)), size: size,
		index: l.path("overlay.idx"), parents: []string{l.index("old.idx", l.raw(old))}})
	if got[0].DataBytes != block {
		t.Fatalf("%d bytes were sent", got[0].DataBytes)
	}
	if want := content(l.raw(src)); got[0].Content != want {
		t.Errorf("the source's content is %s, want %s", got[0].Content, want)
	}
	if received[0].Content != content(l.raw(overlay)) || received[0].Content == got[0].Content {
		t.Errorf("the receiver's content is %s, its digest %s; the source's is %s", content(l.raw(overlay)), received[0].Content, got[0].Content)
	}
}

func TestDamagedIndexIsRefused(t *testing.T) {
	l := newLab(t)
	const size = 4 * mib
	src, dst := l.image("src", size, filled(4)...), l.image("dst", size)
	x := transfer{name: "vda", from: src, to: dst, size: size}
	sources, targets := []*server{l.source(src, "")}, []*server{l.target(dst)}
	good, err := os.ReadFile(l.index("good", l.raw(src)))
	if err != nil {
		t.Fatal(err)
	}
	edited := func(at int, b byte) []byte {
		c := append([]byte(nil), good...)
		c[at] = b
		return c
	}
	for name, file := range map[string][]byte{
		"empty": {}, "short header": good[:100], "no entries": good[:4096], "cut short": good[:len(good)-1],
		"too long": append(edited(0, good[0]), 0), "no magic": edited(0, 'x'), "another version": edited(8, 2),
		"an impossible size": edited(22, 0xff), "another size": edited(16, 1), "zeros": make([]byte, 8192),
	} {
		x.known = l.path("known")
		if err := os.WriteFile(x.known, file, 0o600); err != nil {
			t.Fatal(err)
		}
		s, _ := l.documents("cp1", "auto", []transfer{x}, sources, targets)
		t.Log(name)
		start(t, session.Serve, s).failed(spec.KindSpec, "")
	}
	for name, path := range map[string]string{"missing": l.path("none"), "relative": "known", "folder": l.dir, "device": "/dev/zero"} {
		x.known = path
		s, _ := l.documents("cp1", "auto", []transfer{x}, sources, targets)
		t.Log(name)
		start(t, session.Serve, s).failed(spec.KindSpec, "")
	}
}

func TestIndexCutShortWhileItIsReadNamesTheDisk(t *testing.T) {
	l := newLab(t)
	const size = 64 * mib
	src := l.image("src", size, filled(64)...)
	x := transfer{name: "vda", from: src, to: l.image("dst", size), known: l.index("known", make([]byte, size)), size: size}
	s, a := l.documents("cp1", "auto", []transfer{x}, []*server{l.source(src, "")}, []*server{l.target(x.to)})
	serve, apply := start(t, session.Serve, s), start(t, session.Apply, a)
	serve.awaitReady()
	apply.awaitReady()
	if err := os.Truncate(x.known, 4096); err != nil {
		t.Fatal(err)
	}
	relay(t, s.Listen, a.Listen)
	serve.failed(spec.KindSpec, "vda")
	apply.failed(spec.KindPeer, "")
}

func TestResyncOfAHugeSparseDiskIsQuick(t *testing.T) {
	const size = 1 << 40
	l := newLab(t)
	src := l.image("src", size, "write -q -P 1 0 64k", fmt.Sprintf("write -q -P 2 %d 64k", int64(size)-block))
	old := l.image("old", size, "write -q -P 1 0 64k", "write -q -P 3 500G 64k")
	f, err := blockindex.Create(l.path("known"), size)
	if err != nil {
		t.Fatal(err)
	}
	for at, pattern := range map[int64]byte{0: 1, 500 * gib: 3} {
		b := make([]byte, block)
		for i := range b {
			b[i] = pattern
		}
		if err := f.Set(at/block, blockindex.Sum(b)); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	overlay := l.overlay("overlay", old, size)
	began := time.Now()
	got := l.sync("cp1", "auto", transfer{name: "vda", from: src, to: overlay, known: l.path("known"), size: size})
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	l.same(src, overlay)
	if got[0].DataBytes != block || got[0].ZeroBytes != block {
		t.Errorf("got %+v", got[0])
	}
}
