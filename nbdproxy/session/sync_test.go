package session_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vmsync/nbdproxy/spec"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// transfer is one disk's way from an image to another.
type transfer struct {
	name   string
	from   string
	to     string
	bitmap string
	known  string // path of an index
	size   int64

	index   string   // to be made of to; empty for none
	parents []string // indexes of what to is built on
	content string   // of parents
	resume  bool
}

// documents describe transfers between servers that run.
func (l *lab) documents(parent, compress string, transfers []transfer, sources, targets []*server) (spec.Serve, spec.Apply) {
	s := spec.Serve{
		Version: spec.Version, Domain: "vm1", Checkpoint: "cp2", Parent: parent,
		Listen: l.path("stream.sock"), Compress: compress,
	}
	a := spec.Apply{
		Version: spec.Version, Domain: "vm1", Checkpoint: "cp2", Parent: parent, Listen: l.path("apply.sock"),
	}
	for i, x := range transfers {
		s.Disks = append(s.Disks, spec.ServeDisk{Name: x.name, Socket: sources[i].socket, Export: "disk", Bitmap: x.bitmap, Known: x.known, Size: x.size})
		a.Disks = append(a.Disks, spec.ApplyDisk{Name: x.name, Socket: targets[i].socket, Export: "disk", Incremental: x.bitmap+x.known != "", Size: x.size,
			Index: x.index, Parents: x.parents, ParentContent: x.content, Resume: x.resume})
	}
	return s, a
}

// sync runs a whole transfer and returns what both ends agree on, and the receiver's
// digests. Afterwards nothing has the images open.
func (l *lab) sync(parent, compress string, transfers ...transfer) []spec.DiskResult {
	l.t.Helper()
	_, received := l.ends(parent, compress, transfers...)
	return received
}

// ends is sync for a test that wants to know of either end.
func (l *lab) ends(parent, compress string, transfers ...transfer) (sender, receiver []spec.DiskResult) {
	l.t.Helper()
	var sources, targets []*server
	for _, x := range transfers {
		sources = append(sources, l.source(x.from, x.bitmap))
		targets = append(targets, l.target(x.to))
	}
	s, a := l.documents(parent, compress, transfers, sources, targets)
	slices.Reverse(a.Disks) // the order of the documents' disks means nothing
	serve, apply, wire := l.connect(s, a)
	sent, received := serve.done(), apply.done()
	if diff := cmp.Diff(sent.Disks, received.Disks, cmpopts.IgnoreFields(spec.DiskResult{}, "Content")); diff != "" {
		l.t.Errorf("the ends do not agree (-sent +received):\n%s", diff)
	}
	if n := wire(); n >= 0 && sent.Traffic.Wire != n {
		l.t.Errorf("%d bytes went over the wire; sent %d", n, sent.Traffic.Wire)
	}
	if diff := cmp.Diff(sent.Traffic, received.Traffic); diff != "" {
		l.t.Errorf("the ends counted different streams (-sent +received):\n%s", diff)
	}
	checkProgress(l.t, serve.events, true)
	checkProgress(l.t, apply.events, false)
	for _, s := range slices.Concat(sources, targets) {
		s.stop()
	}
	return sent.Disks, received.Disks
}

// writes makes qemu-io commands that scatter n writes of 4 KiB, one per two MiB.
func writes(n int, pattern int) []string {
	var cmds []string
	for i := range n {
		cmds = append(cmds, fmt.Sprintf("write -q -P %d %d 4k", pattern+i%7, i*2*mib+i*64<<10))
	}
	return cmds
}

func TestIncrementalOnFullEqualsSource(t *testing.T) {
	for compress, way := range map[string]way{
		"auto": {}, "none": {lanes: 4}, "s2": {lanes: 4, direct: true}, "zstd": {direct: true}, "zstd:1": {lanes: 16},
	} {
		t.Run(compress, func(t *testing.T) {
			l := newLab(t)
			l.way = way
			const big, small = gib + 512, 40*mib + 3*512
			vda := l.image("vda", big, append(writes(60, 1), "write -q -P 9 300M 70M", fmt.Sprintf("write -q -P 8 %d 512", gib))...)
			vdb := l.image("vdb", small, "write -q -P 5 0 30M", "write -q -z 4M 1M", fmt.Sprintf("write -q -P 6 %d 1024", small-1024))
			l.image("rda", big)
			l.image("rdb", small)
			full := l.sync("", compress,
				transfer{name: "vda", from: vda, to: l.path("rda"), size: big},
				transfer{name: "vdb", from: vdb, to: l.path("rdb"), size: small})
			l.same(vda, l.path("rda"))
			l.same(vdb, l.path("rdb"))
			for i, size := range []int64{big, small} {
				if n := full[i].DataBytes + full[i].ZeroBytes; n != size {
					t.Errorf("a full disk of %d bytes was sent as %d", size, n)
				}
			}

			l.run("qemu-img", "bitmap", "--add", vda, "b0")
			l.run("qemu-img", "bitmap", "--add", vdb, "b0")
			l.io(vda, append(writes(30, 20), "write -q -z 310M 5M", "discard -q 330M 5M",
				"write -q -P 0 340M 1M", fmt.Sprintf("write -q -P 77 %d 512", gib))...)
			l.io(vdb, "discard -q 10M 64k", "write -q -P 7 11M 64k", fmt.Sprintf("write -q -z %d 512", small-512))
			l.overlay("oda", l.path("rda"), big)
			l.overlay("odb", l.path("rdb"), small)
			inc := l.sync("cp1", compress,
				transfer{name: "vda", from: vda, to: l.path("oda"), bitmap: "b0", size: big},
				transfer{name: "vdb", from: vdb, to: l.path("odb"), bitmap: "b0", size: small})
			l.same(vda, l.path("oda"))
			l.same(vdb, l.path("odb"))
			l.sameRaw(vda, l.path("oda"))
			l.sameRaw(vdb, l.path("odb"))
			if n := inc[0].DataBytes; n > 31*64<<10 {
				t.Errorf("an incremental of 31 changed clusters carried %d bytes of data", n)
			}
			if n := inc[0].ZeroBytes; n < 11*mib {
				t.Errorf("11 MiB were zeroed; %d bytes came as zeros", n)
			}
		})
	}
}

func TestZeroedClustersReadAsZerosOverOldData(t *testing.T) {
	l := newLab(t)
	const size = 64 * mib
	src := l.image("src", size, "write -q -P 1 0 64M")
	base := l.image("base", size, "write -q -P 1 0 64M")
	l.run("qemu-img", "bitmap", "--add", src, "b0")
	l.io(src, "write -q -z 1M 1M", "write -q -z -u 3M 1M", "discard -q 5M 1M", "write -q -P 0 7M 1M", "write -q -z 9M 4k")
	overlay := l.overlay("overlay", base, size)
	got := l.sync("cp1", "auto", transfer{name: "vda", from: src, to: overlay, bitmap: "b0", size: size})
	l.same(src, overlay)
	if got[0].ZeroBytes != 4*mib || got[0].DataBytes != 64<<10 {
		t.Errorf("4 MiB of zeroed clusters and one changed cluster came as %d and %d bytes", got[0].ZeroBytes, got[0].DataBytes)
	}
	// Zeros take no space: only the cluster of which a part was zeroed has data.
	out := l.run("qemu-img", "map", "--output=json", "-f", "qcow2", overlay)
	for _, line := range strings.Split(out, "\n") {
		if strings.Contains(line, `"depth": 0`) && strings.Contains(line, `"data": true`) && !strings.Contains(line, `"length": 65536`) {
			t.Errorf("the overlay holds more data than the one cluster: %s", line)
		}
	}
}

func TestNothingChangedSendsNothing(t *testing.T) {
	l := newLab(t)
	src := l.image("src", 64*mib, "write -q -P 1 0 64M")
	l.run("qemu-img", "bitmap", "--add", src, "b0")
	overlay := l.overlay("overlay", src, 64*mib)
	got := l.sync("cp1", "auto", transfer{name: "vda", from: src, to: overlay, bitmap: "b0", size: 64 * mib})
	if got[0].DataBytes != 0 || got[0].ZeroBytes != 0 {
		t.Errorf("got %+v", got[0])
	}
}

func TestFullDiskBesideIncrementalOne(t *testing.T) {
	l := newLab(t)
	old := l.image("old", 32*mib, "write -q -P 1 0 32M")
	l.run("qemu-img", "bitmap", "--add", old, "b0")
	base := l.image("base", 32*mib, "write -q -P 1 0 32M")
	l.io(old, "write -q -P 2 1M 3M")
	plugged := l.image("plugged", 16*mib, "write -q -P 3 1M 1M")
	overlay, fresh := l.overlay("overlay", base, 32*mib), l.image("fresh", 16*mib)
	l.sync("cp1", "auto",
		transfer{name: "vda", from: old, to: overlay, bitmap: "b0", size: 32 * mib},
		transfer{name: "vdb", from: plugged, to: fresh, size: 16 * mib})
	l.same(old, overlay)
	l.same(plugged, fresh)
}
