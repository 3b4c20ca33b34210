// Package storetest makes replicas' folders for tests, as syncs leave them, with qemu's
// tools alone. What every state must read as it keeps in memory.
package storetest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"vmsync/internal/blockindex"
	"vmsync/internal/event"
	"vmsync/internal/store"
)

// Block is the size of a block of an index and of a cluster of an image, in bytes.
const Block = blockindex.BlockSize

// Replica is a replica's folder.
type Replica struct {
	Store, Domain string
	Folder        *store.Folder // locked until [Replica.Unlock]
	// Content is what each state's disks read as, by the state's id and the disk's name.
	Content map[string]map[string][]byte
}

// Write is a range of a disk that a machine has written.
type Write struct {
	At, Length int64
	Byte       byte // 0 writes zeros, as a discard does
}

// Disk is what a state brings for one disk.
type Disk struct {
	Name   string
	Size   int64
	Writes []Write
}

// Changed is a [Disk].
func Changed(name string, size int64, writes ...Write) Disk { return Disk{name, size, writes} }

// Wrote is a [Write].
func Wrote(at, length int64, b byte) Write { return Write{at, length, b} }

// New makes a replica without states.
func New(t testing.TB) *Replica {
	t.Helper()
	for _, tool := range []string{"qemu-img", "qemu-io", "qemu-nbd"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("this test needs %s", tool)
		}
	}
	r := &Replica{Store: t.TempDir(), Domain: "vm1", Content: map[string]map[string][]byte{}}
	var err error
	if r.Folder, err = store.Lock(r.Store, r.Domain); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Folder.Create(r.Domain); err != nil {
		t.Fatal(err)
	}
	return r
}

// Unlock lets others have the folder.
func (r *Replica) Unlock(t testing.TB) {
	t.Helper()
	if err := r.Folder.Unlock(); err != nil {
		t.Fatal(err)
	}
}

// Manifest is the manifest as it is now.
func (r *Replica) Manifest(t testing.TB) *store.Manifest {
	t.Helper()
	m, err := r.Folder.Load()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Change changes the manifest.
func (r *Replica) Change(t testing.TB, change func(*store.Manifest)) {
	t.Helper()
	m := r.Manifest(t)
	change(m)
	if err := r.Folder.Save(m); err != nil {
		t.Fatal(err)
	}
}

// Path is where a file of the folder is.
func (r *Replica) Path(name string) string { return r.Folder.Path(name) }

// Add adds a state: overlays over the head's images, or images of their own.
func (r *Replica) Add(t testing.TB, disks ...Disk) *store.State {
	t.Helper()
	m := r.Manifest(t)
	m.LastGeneration++
	g := m.LastGeneration
	at := time.Date(2026, 11, 21, 7, 0, int(g), 0, time.UTC)
	s := store.State{ID: m.StateID(at, g), Generation: g, Checkpoint: fmt.Sprintf("vmsync-%s-%d", m.Pair, g), Time: at, Kind: "full", Consistency: "crash", DomainXML: store.XMLName(g)}
	xml := "<domain type='qemu'><name>vm1</name><uuid>5ea4f2a6-1b3e-4d43-9d2d-0a8f6b8f2a11</uuid><memory>65536</memory><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>"
	content := map[string][]byte{}
	for _, d := range disks {
		xml += fmt.Sprintf("<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/somewhere/%s.qcow2'/><target dev='%s' bus='virtio'/></disk>", d.Name, d.Name)
		disk, img, bytes := r.add(t, m, g, d)
		s.Disks = append(s.Disks, disk)
		if img != nil {
			m.Images = append(m.Images, *img)
		}
		content[d.Name] = bytes
	}
	xml += "<interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices></domain>"
	if err := r.Folder.Keep(&s, s.DomainXML, []byte(xml)); err != nil {
		t.Fatal(err)
	}
	m.States = append(m.States, s)
	if err := r.Folder.Save(m); err != nil {
		t.Fatal(err)
	}
	r.Content[s.ID] = content
	return m.Head()
}

// add makes one disk of a state.
func (r *Replica) add(t testing.TB, m *store.Manifest, g int64, d Disk) (store.Disk, *store.Image, []byte) {
	t.Helper()
	var old *store.Disk
	var below []byte
	if head := m.Head(); head != nil {
		if old = head.Disk(d.Name); old != nil {
			below = r.Content[head.ID][d.Name]
		}
	}
	if old != nil && len(d.Writes) == 0 && old.Size == d.Size {
		return *old, nil, below
	}
	img := &store.Image{Name: store.ImageName(d.Name, g), Disk: d.Name, Size: d.Size}
	path := r.Path(img.Name)
	if old != nil {
		img.Backing = old.Image
		Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "-b", filepath.Base(old.Image), "-F", "qcow2", path, fmt.Sprint(d.Size))
	} else {
		Run(t, "qemu-img", "create", "-q", "-f", "qcow2", path, fmt.Sprint(d.Size))
	}
	now := make([]byte, d.Size)
	copy(now, below)
	touched := map[int64]bool{}
	if end := min(int64(len(below)), d.Size); old != nil && old.Size != d.Size && end%Block != 0 {
		touched[end/Block] = true
	}
	cmd := []string{"qemu-io", "-f", "qcow2", "-d", "unmap"}
	for _, w := range d.Writes {
		if w.Byte == 0 {
			cmd = append(cmd, "-c", fmt.Sprintf("write -q -z %d %d", w.At, w.Length))
		} else {
			cmd = append(cmd, "-c", fmt.Sprintf("write -q -P %d %d %d", w.Byte, w.At, w.Length))
		}
		copy(now[w.At:], bytes.Repeat([]byte{w.Byte}, int(w.Length)))
		for b := w.At / Block; b*Block < w.At+w.Length; b++ {
			touched[b] = true
		}
	}
	if len(d.Writes) > 0 {
		Run(t, append(cmd, path)...)
	}
	x, err := blockindex.Create(r.Path(store.IndexName(img.Name)), d.Size)
	if err != nil {
		t.Fatal(err)
	}
	var digest blockindex.Digest
	for b := int64(0); b*Block < d.Size; b++ {
		h := blockindex.Sum(now[b*Block : min((b+1)*Block, d.Size)])
		digest.Add(b, h)
		if touched[b] && (old != nil || h != blockindex.Zero) {
			if err := x.Set(b, h); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := x.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := x.Close(); err != nil {
		t.Fatal(err)
	}
	return store.Disk{Name: d.Name, Size: d.Size, Image: img.Name, Content: digest.String()}, img, now
}

// Run runs a program that has to succeed.
func Run(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

// Raw is what an image or a raw file reads as.
func Raw(t testing.TB, path, format string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "raw")
	Run(t, "qemu-img", "convert", "-U", "-f", format, "-O", "raw", path, out)
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Flip changes one byte of a file.
func Flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x40
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

var programDir = filepath.Join(os.TempDir(), fmt.Sprintf("vmsync-storetest-%d", os.Getpid()))

var program = sync.OnceValues(func() (string, error) {
	path := filepath.Join(programDir, "vmsync-nbd")
	if out, err := exec.Command("go", "build", "-o", path, "vmsync/cmd/vmsync-nbd").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build vmsync-nbd: %w\n%s", err, out)
	}
	return path, nil
})

// Program builds vmsync-nbd, once for all tests of a package. [Main] removes it.
func Program(t testing.TB) string {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// Main runs a package's tests and removes what [Program] made.
func Main(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(programDir)
	os.Exit(code)
}

// Sink collects the events of a run.
type Sink struct {
	mu  sync.Mutex
	all []event.Event
}

// Emit implements event.Sink.
func (s *Sink) Emit(e event.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, e)
}

// Of are the events of one type, in their order.
func Of[E event.Event](s *Sink) []E {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []E
	for _, e := range s.all {
		if e, ok := e.(E); ok {
			found = append(found, e)
		}
	}
	return found
}
