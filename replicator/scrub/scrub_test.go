package scrub

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"vmsync/internal/blockindex"
	"vmsync/internal/event"
	"vmsync/internal/store"
	. "vmsync/internal/storetest"
	"vmsync/replicator"
)

func TestMain(m *testing.M) { Main(m) }

const mib = 1 << 20

// outcome is what a verification said.
type outcome struct {
	*Sink
	err      error
	repoints int
}

// verify verifies every state, or one.
func verify(t *testing.T, r *Replica, state string) *outcome {
	t.Helper()
	o := &outcome{Sink: &Sink{}}
	req := Request{Store: r.Store, Domain: r.Domain, State: state, All: state == "", program: Program(t),
		Repoint: func(context.Context) error { o.repoints++; return nil }}
	o.err = Verify(t.Context(), req, o.Sink)
	if left, _ := os.ReadDir(r.Path("pins")); len(left) > 1 {
		t.Errorf("%d pins are left", len(left)-1)
	}
	return o
}

// read is how many bytes of disks were read.
func (o *outcome) read(t *testing.T) int64 {
	t.Helper()
	all := Of[event.Verified](o.Sink)
	if len(all) != 1 {
		t.Fatalf("%d summaries; %v", len(all), o.err)
	}
	return all[0].Read
}

// replica makes three states of two disks; the second disk does not change in the
// second one, and the first one grows and shrinks.
func replica(t *testing.T) *Replica {
	t.Helper()
	r := New(t)
	r.Add(t, Changed("vda", 16*mib+512, Wrote(0, 8*mib, 1), Wrote(16*mib, 512, 7)), Changed("vdb", 4*mib, Wrote(mib, mib, 9)))
	r.Add(t, Changed("vda", 24*mib, Wrote(mib, mib, 2), Wrote(3*mib, 2*Block, 0), Wrote(20*mib, 4096, 3)), Changed("vdb", 4*mib))
	r.Add(t, Changed("vda", 12*mib+1024, Wrote(mib, Block, 4), Wrote(6*mib+512, 512, 5)), Changed("vdb", 4*mib, Wrote(0, Block, 1)))
	r.Unlock(t)
	return r
}

func TestEveryStateIsVerifiedAndEveryByteReadOnce(t *testing.T) {
	r := replica(t)
	o := verify(t, r, "")
	if o.err != nil {
		t.Fatal(o.err)
	}
	m := r.Manifest(t)
	for i := range m.States {
		if s := &m.States[i]; s.Verified == nil || m.Damage(s) != "" {
			t.Errorf("state %s: verified %v, damage %q", s.ID, s.Verified, m.Damage(s))
		}
	}
	// The second one has the block in which the first one's disk ends for its own. The
	// last one's own end is zeros.
	want := int64(8*mib+512+mib) + (mib + Block + Block) + (Block + Block) + Block
	if got := o.read(t); got != want {
		t.Errorf("%d bytes were read, want %d", got, want)
	}
	if n := len(Of[event.StateVerified](o.Sink)); n != 3 || o.repoints != 0 {
		t.Errorf("%d states told, %d times repointed", n, o.repoints)
	}
	last := map[string]event.Progress{}
	for _, p := range Of[event.Progress](o.Sink) {
		if p.Done < last[p.Disk].Done || p.Done > p.Total {
			t.Errorf("%+v after %+v", p, last[p.Disk])
		}
		last[p.Disk] = p
	}
	for _, p := range last {
		if p.Done != p.Total || p.Total == 0 {
			t.Errorf("in the end %+v", p)
		}
	}
}

func TestOneStateIsVerifiedAlone(t *testing.T) {
	r := replica(t)
	first := r.Manifest(t).States[0]
	o := verify(t, r, first.ID)
	if want := int64(8*mib + 512 + mib); o.err != nil || o.read(t) != want {
		t.Errorf("%d bytes were read, want %d; %v", o.read(t), want, o.err)
	}
	m := r.Manifest(t)
	if m.States[0].Verified == nil || m.States[1].Verified != nil || m.States[2].Verified != nil {
		t.Errorf("%+v", m.States)
	}
}

// dataOf is where in an image's file the data of a guest offset are.
func dataOf(t *testing.T, path string, pattern byte) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := strings.Index(string(b), strings.Repeat(string([]byte{pattern}), 4096))
	if at < 0 {
		t.Fatalf("%s holds no data of %d", path, pattern)
	}
	return int64(at)
}

// l2Of is where an image's first L2 table is: the entry of the L1 table says it.
func l2Of(t *testing.T, path string) int64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	be := func(at int64) (n int64) {
		for _, c := range b[at : at+8] {
			n = n<<8 | int64(c)
		}
		return n
	}
	return be(be(40)) & 0x00fffffffffffe00
}

// keep gives a state one more file that is no image.
func keep(t *testing.T, r *Replica, state int, name string, content []byte) {
	t.Helper()
	r.Change(t, func(m *store.Manifest) {
		s := &m.States[state]
		if strings.HasPrefix(name, "nvram/") {
			s.NVRAM = name
		} else {
			s.TPM = name
		}
		if err := r.Folder.Keep(s, name, content); err != nil {
			t.Fatal(err)
		}
	})
}

func TestDamageIsFoundNamedAndMarked(t *testing.T) {
	const second = 1
	for name, c := range map[string]struct {
		damage func(t *testing.T, r *Replica, image string)
		says   string
		bad    []bool // states, oldest first
	}{
		"a flipped byte of data": {func(t *testing.T, r *Replica, image string) {
			Flip(t, r.Path(image), dataOf(t, r.Path(image), 2)+70000)
		}, "1 block of 64 KiB not as received, the first at offset", []bool{false, true, true}},
		"a flipped byte in the L2 table": {func(t *testing.T, r *Replica, image string) {
			Flip(t, r.Path(image), l2Of(t, r.Path(image))+8*mib/Block+5)
		}, "", []bool{false, true, true}},
		"a truncated image": {func(t *testing.T, r *Replica, image string) {
			if err := os.Truncate(r.Path(image), dataOf(t, r.Path(image), 2)); err != nil {
				t.Fatal(err)
			}
		}, "", []bool{false, true, true}},
		"an image cut within its header": {func(t *testing.T, r *Replica, image string) {
			if err := os.Truncate(r.Path(image), 50); err != nil {
				t.Fatal(err)
			}
		}, "it is no qcow2 image", []bool{false, true, true}},
		"a missing image": {func(t *testing.T, r *Replica, image string) {
			if err := os.Remove(r.Path(image)); err != nil {
				t.Fatal(err)
			}
		}, "the file is missing", []bool{false, true, true}},
		"another backing file": {func(t *testing.T, r *Replica, image string) {
			Run(t, "qemu-img", "create", "-q", "-f", "qcow2", r.Path("disks/other.qcow2"), "16M")
			Run(t, "qemu-img", "rebase", "-u", "-b", "other.qcow2", "-F", "qcow2", r.Path(image))
		}, `it lies over "other.qcow2", not over "vda.1.qcow2"`, []bool{false, true, true}},
		"another size": {func(t *testing.T, r *Replica, image string) {
			Run(t, "qemu-img", "resize", "-q", r.Path(image), "25M")
		}, "its disk has 26214400 bytes, not 25165824", []bool{false, true, true}},
		"a missing index": {func(t *testing.T, r *Replica, image string) {
			if err := os.Remove(r.Path(store.IndexName(image))); err != nil {
				t.Fatal(err)
			}
		}, "its block index is missing", []bool{false, true, true}},
		"a flipped entry of the index": {func(t *testing.T, r *Replica, image string) {
			Flip(t, r.Path(store.IndexName(image)), 4096+16*(mib/Block)+3)
		}, "1 block of 64 KiB not as received, the first at offset 1048576", []bool{false, true, true}},
		"an entry without data": {func(t *testing.T, r *Replica, image string) {
			Flip(t, r.Path(store.IndexName(image)), 4096+16*100+3)
		}, "1 block of 64 KiB not as received, the first at offset 6553600", []bool{false, true, true}},
		"data without an entry": {func(t *testing.T, r *Replica, image string) {
			Run(t, "qemu-io", "-f", "qcow2", "-c", "write -q -P 8 10M 64k", r.Path(image))
		}, "1 block of 64 KiB not as received, the first at offset 10485760", []bool{false, true, true}},
		"zeros without an entry": {func(t *testing.T, r *Replica, image string) {
			Run(t, "qemu-io", "-f", "qcow2", "-c", "write -q -z 128k 64k", r.Path(image))
		}, "1 block of 64 KiB not as received, the first at offset 131072", []bool{false, true, true}},
		"an index cut short": {func(t *testing.T, r *Replica, image string) {
			if err := os.Truncate(r.Path(store.IndexName(image)), 5000); err != nil {
				t.Fatal(err)
			}
		}, "its block index is damaged", []bool{false, true, true}},
		"image and index of another time": {func(t *testing.T, r *Replica, image string) {
			Run(t, "qemu-io", "-f", "qcow2", "-c", "write -q -P 8 1M 64k", r.Path(image))
			x, err := blockindex.OpenWritable(r.Path(store.IndexName(image)))
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(x.Set(mib/Block, blockindex.Sum([]byte(strings.Repeat("\x08", Block)))), x.Sync(), x.Close()); err != nil {
				t.Fatal(err)
			}
		}, "it reads as ", []bool{false, true, true}},
		"missing domain XML": {func(t *testing.T, r *Replica, _ string) {
			if err := os.Remove(r.Path(r.Manifest(t).States[second].DomainXML)); err != nil {
				t.Fatal(err)
			}
		}, "xml/2.xml is missing (the domain XML)", []bool{false, true, false}},
		"domain XML that is none": {func(t *testing.T, r *Replica, _ string) {
			if err := os.WriteFile(r.Path(r.Manifest(t).States[second].DomainXML), []byte("<domain>"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "xml/2.xml is not as received (the domain XML)", []bool{false, true, false}},
		"domain XML that is none, of a state without digests": {func(t *testing.T, r *Replica, _ string) {
			if err := os.WriteFile(r.Path(r.Manifest(t).States[second].DomainXML), []byte("<domain>"), 0o600); err != nil {
				t.Fatal(err)
			}
			r.Change(t, func(m *store.Manifest) { m.States[second].SHA256 = nil })
		}, "xml/2.xml cannot be read (the domain XML)", []bool{false, true, false}},
		"a flipped byte of domain XML": {func(t *testing.T, r *Replica, _ string) {
			name := r.Path(r.Manifest(t).States[second].DomainXML)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			Flip(t, name, int64(strings.Index(string(b), "65536"))) // as good an XML, of less memory
		}, "xml/2.xml is not as received (the domain XML)", []bool{false, true, false}},
		"a flipped byte of UEFI variables": {func(t *testing.T, r *Replica, _ string) {
			keep(t, r, second, store.NVRAMName(2), []byte("variables"))
			Flip(t, r.Path(store.NVRAMName(2)), 3)
		}, "nvram/2.fd is not as received (the UEFI variables)", []bool{false, true, false}},
		"missing UEFI variables": {func(t *testing.T, r *Replica, _ string) {
			keep(t, r, second, store.NVRAMName(2), []byte("variables"))
			if err := os.Remove(r.Path(store.NVRAMName(2))); err != nil {
				t.Fatal(err)
			}
		}, "nvram/2.fd is missing (the UEFI variables)", []bool{false, true, false}},
		"a TPM's state that is none": {func(t *testing.T, r *Replica, _ string) {
			keep(t, r, second, store.TPMName(2), []byte("no tar"))
		}, "tpm/2.tar cannot be read (the TPM's state)", []bool{false, true, false}},
	} {
		t.Run(name, func(t *testing.T) {
			r := replica(t)
			image := store.ImageName("vda", 2)
			backup := t.TempDir() + "/b"
			Run(t, "cp", "-a", r.Path("."), backup)
			c.damage(t, r, image)
			o := verify(t, r, "")
			if replicator.KindOf(o.err) != replicator.KindDamaged {
				t.Fatalf("got %v", o.err)
			}
			m := r.Manifest(t)
			told := Of[event.StateVerified](o.Sink)
			for i, bad := range c.bad {
				s := &m.States[i]
				damage := m.Damage(s)
				if bad != (damage != "") || bad == (s.Verified != nil) || told[i].Damaged != damage || told[i].Unknown != "" {
					t.Errorf("state %d: damage %q, verified %v, told %+v", i+1, damage, s.Verified, told[i])
				}
				if bad && !strings.Contains(damage, c.says) {
					t.Errorf("state %d: %q does not say %q", i+1, damage, c.says)
				}
			}
			t.Log(told[second].Damaged + "; " + told[second].Hint)
			if o.repoints != 1 || !strings.Contains(told[second].Hint, "vmsync states delete vm1@"+m.States[second].ID) {
				t.Errorf("repointed %d times, hint %q", o.repoints, told[second].Hint)
			}
			if again := verify(t, r, ""); replicator.KindOf(again.err) != replicator.KindDamaged || again.repoints != 0 {
				t.Errorf("a second time: %v, repointed %d times", again.err, again.repoints)
			}

			// Everything back in its place, but for the manifest.
			for _, dir := range []string{"disks", "index", "xml"} {
				Run(t, "cp", "-a", "--remove-destination", backup+"/"+dir, r.Path("."))
			}
			r.Change(t, func(m *store.Manifest) {
				s := &m.States[second]
				delete(s.SHA256, s.NVRAM)
				delete(s.SHA256, s.TPM)
				s.NVRAM, s.TPM = "", ""
			})
			o = verify(t, r, "")
			m = r.Manifest(t)
			for i := range m.States {
				if s := &m.States[i]; o.err != nil || m.Damage(s) != "" || s.Verified == nil {
					t.Errorf("put back: state %d: damage %q, verified %v; %v", i+1, m.Damage(s), s.Verified, o.err)
				}
			}
			if o.repoints != 1 {
				t.Errorf("put back: repointed %d times", o.repoints)
			}
		})
	}
}

// An image that is damaged makes all over it so, but is marked alone.
func TestDamageOfTheBaseIsThatOfEveryState(t *testing.T) {
	r := replica(t)
	base := store.ImageName("vda", 1)
	Flip(t, r.Path(base), dataOf(t, r.Path(base), 1)+5*mib)
	o := verify(t, r, "")
	m := r.Manifest(t)
	for i := range m.States {
		if !strings.Contains(m.Damage(&m.States[i]), base) {
			t.Errorf("state %d: %q", i+1, m.Damage(&m.States[i]))
		}
	}
	for _, img := range m.Images {
		if (img.Damaged != "") != (img.Name == base) {
			t.Errorf("%s: %q", img.Name, img.Damaged)
		}
	}
	if told := Of[event.StateVerified](o.Sink); told[2].Hint != "sync again: the next sync sends a full copy" {
		t.Errorf("%+v", told[2])
	}
}

// What was merged half way is finished first.
func TestAMergeThatSomebodyDiedOverIsFinished(t *testing.T) {
	r := replica(t)
	r.Change(t, func(m *store.Manifest) {
		m.States = m.States[1:]
		m.Step = &store.Step{Op: store.StepMerge, Image: store.ImageName("vda", 2), Onto: store.ImageName("vda", 1)}
	})
	Run(t, "qemu-img", "commit", "-q", "-d", r.Path(store.ImageName("vda", 2)))
	o := verify(t, r, "")
	m := r.Manifest(t)
	if o.err != nil || m.Step != nil || len(m.Chain(store.ImageName("vda", 3))) != 2 {
		t.Errorf("%v, step %+v", o.err, m.Step)
	}
	for i := range m.States {
		if m.States[i].Verified == nil {
			t.Errorf("%+v", m.States[i])
		}
	}
}

// A merge that goes on for long, or cannot go on, is no damage.
func TestAMergeUnderWayIsNoDamage(t *testing.T) {
	for _, indexed := range []bool{false, true} {
		r := replica(t)
		upper, lower := store.ImageName("vda", 2), store.ImageName("vda", 1)
		r.Change(t, func(m *store.Manifest) {
			m.States = m.States[1:]
			m.Step = &store.Step{Op: store.StepMerge, Image: upper, Onto: lower}
		})
		Run(t, "qemu-img", "commit", "-q", "-d", r.Path(upper))
		if indexed {
			if err := blockindex.Merge(t.Context(), r.Path(store.IndexName(lower)), r.Path(store.IndexName(upper))); err != nil {
				t.Fatal(err)
			}
		}
		busy, err := store.Lock(r.Store, r.Domain) // a run is at it, and will not end soon
		if err != nil {
			t.Fatal(err)
		}
		s := &scrub{req: Request{Store: r.Store, Domain: r.Domain, All: true}, out: &Sink{}, program: Program(t), dir: t.TempDir(),
			images: map[string]*finding{}, contents: map[string]blockindex.Digest{}}
		if err := errors.Join(s.pin(t.Context()), s.read(t.Context()), busy.Unlock()); err != nil {
			t.Fatal(err)
		}
		for name, f := range s.images {
			if f.damage != "" || f.unknown != "" {
				t.Errorf("indexed %v: %s: damage %q, unknown %q", indexed, name, f.damage, f.unknown)
			}
		}
	}
}

func TestWhatThereIsNotIsSaid(t *testing.T) {
	r := replica(t)
	for state, kind := range map[string]string{"1999": replicator.KindNoState} {
		if o := verify(t, r, state); replicator.KindOf(o.err) != kind {
			t.Errorf("%s: %v", state, o.err)
		}
	}
	r.Domain = "vm2"
	if o := verify(t, r, ""); replicator.KindOf(o.err) != replicator.KindNoReplica {
		t.Errorf("%v", o.err)
	}
}

// Reading back an image does not show that the source held something else.
func TestWhatDiffersFromTheSourceStaysMarked(t *testing.T) {
	r := replica(t)
	mark := fromSource + "65536 bytes, the first at offset 0"
	r.Change(t, func(m *store.Manifest) { m.Image(store.ImageName("vda", 3)).Damaged = mark })
	o := verify(t, r, store.Latest)
	m := r.Manifest(t)
	if replicator.KindOf(o.err) != replicator.KindDamaged || m.Image(store.ImageName("vda", 3)).Damaged != mark || m.Head().Verified != nil {
		t.Errorf("%v; %q", o.err, m.Image(store.ImageName("vda", 3)).Damaged)
	}
}
