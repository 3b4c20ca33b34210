package fusefs

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/fusefs/filesystem/fstest"
	"vmsync/internal/storetest"
)

// partition is one of a disk that a test makes.
type partition struct {
	image string // its content; empty for zeros
	size  int64
}

const mib = 1 << 20

// makeDisk makes a disk with a GPT and returns it as a raw image.
func makeDisk(t *testing.T, partitions ...partition) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	script, at := "label: gpt\n", int64(mib)
	disk, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	for _, p := range partitions {
		script += "start=" + sectors(at) + ", size=" + sectors(p.size) + "\n"
		if p.image != "" {
			fstest.Run(t, "dd", "if="+p.image, "of="+path, "bs=1M", "seek="+strconv.FormatInt(at/mib, 10), "conv=notrunc,sparse", "status=none")
		}
		at += p.size
	}
	if err := disk.Truncate(at + mib); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, []byte(script), 0o600); err != nil {
		t.Fatal(err)
	}
	fstest.Run(t, "sh", "-c", "sfdisk -q --no-reread --no-tell-kernel "+path+" <"+file)
	return path
}

func sectors(bytes int64) string { return strconv.FormatInt(bytes/512, 10) }

// mountDisks mounts a store with one state of these disks, raw images in the order vda,
// vdb, ….
func mountDisks(t *testing.T, o Options, disks ...string) (state string) {
	t.Helper()
	needFuse(t)
	r := storetest.New(t)
	var changed []storetest.Disk
	for i, raw := range disks {
		info, err := os.Stat(raw)
		if err != nil {
			t.Fatal(err)
		}
		changed = append(changed, storetest.Changed("vd"+string(rune('a'+i)), info.Size()))
	}
	s := r.Add(t, changed...)
	for i, raw := range disks {
		fstest.Run(t, "qemu-img", "convert", "-O", "qcow2", raw, r.Path(s.Disks[i].Image))
	}
	root := filepath.Join(t.TempDir(), "mnt")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	log := &lockedBuffer{}
	o.Store, o.Log = r.Store, slog.New(slog.NewTextHandler(log, nil))
	m, err := New(root, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := m.Close(ctx); err != nil {
			t.Errorf("unmount: %v", err)
		}
		if t.Failed() {
			t.Log(log.String())
		}
	})
	return filepath.Join(root, "vm1", "latest")
}

func TestFilesAreAsTheKernelShowsThem(t *testing.T) {
	fstest.NeedRoot(t)
	var parts []partition
	var kernel []string
	for i, fs := range []struct {
		size int64
		mkfs []string
	}{{96 * mib, []string{"mkfs.ext4", "-q", "-F"}}, {300 * mib, []string{"mkfs.xfs", "-q", "-f"}}} {
		image := fstest.Make(t, fs.size, fs.mkfs...)
		dir := fstest.Mount(t, image, "rw")
		fstest.Populate(t, dir, uint64(i), fstest.Features{Unix: true, Xattrs: true, Entries: 500})
		fstest.Unmount(t, dir)
		parts = append(parts, partition{image, fs.size})
		kernel = append(kernel, image)
	}
	parts = append(parts, partition{fstest.Make(t, mib, "mkswap", "-q"), mib}, partition{"", mib})
	state := mountDisks(t, Options{}, makeDisk(t, parts...))
	wantNames(t, filepath.Join(state, "disks"), "vda.raw", "vda")
	if out := fstest.Run(t, "fdisk", "-l", filepath.Join(state, "disks", "vda.raw")); strings.Count(out, "/vda.raw") != 1+len(parts) {
		t.Errorf("fdisk does not list %d partitions:\n%s", len(parts), out)
	}
	wantNames(t, filepath.Join(state, "disks", "vda"), "1.ext4.raw", "2.xfs.raw", "3.swap.raw", "4.unknown.raw")
	wantNames(t, filepath.Join(state, "files"), "vda1", "vda2", "vda3", "vda4")
	for i, name := range []string{"vda1", "vda2"} {
		ours := fstest.ListMount(t, filepath.Join(state, "files", name), fstest.Ignore{})
		theirs := fstest.ListMount(t, fstest.Mount(t, kernel[i], "ro"), fstest.Ignore{})
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%s: the tree (+) shows something else than the kernel (-):\n%s", name, diff[:min(len(diff), 4000)])
		}
		if len(ours) < 50 {
			t.Errorf("%s: %d files", name, len(ours))
		}
	}
	wantNames(t, filepath.Join(state, "files", "vda3"), "README")
	raw, err := os.ReadFile(filepath.Join(state, "disks", "vda", "1.ext4.raw"))
	if err != nil {
		t.Fatal(err)
	}
	image, err := os.ReadFile(kernel[0])
	if err != nil || !bytes.Equal(raw, image) {
		t.Errorf("the partition's image is another: %d bytes, %v", len(raw), err)
	}
	if st := lstat(t, filepath.Join(state, "disks", "vda.raw")); st.Blocks*512 >= st.Size/2 {
		t.Errorf("%d blocks of %d bytes: it should be sparse", st.Blocks, st.Size)
	}
}

func TestKernelMountsARawImage(t *testing.T) {
	fstest.NeedRoot(t)
	image := fstest.Make(t, 16*mib, "mkfs.ext4", "-q", "-F")
	dir := fstest.Mount(t, image, "rw")
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("from the guest"), 0o644); err != nil {
		t.Fatal(err)
	}
	fstest.Unmount(t, dir)
	state := mountDisks(t, Options{}, image)
	wantNames(t, filepath.Join(state, "disks"), "vda.raw")
	through := fstest.Mount(t, filepath.Join(state, "disks", "vda.raw"), "ro,noload")
	if got, err := os.ReadFile(filepath.Join(through, "hello")); err != nil || string(got) != "from the guest" {
		t.Errorf("%q, %v", got, err)
	}
	fstest.Unmount(t, through)
	if got, err := os.ReadFile(filepath.Join(state, "files", "vda", "hello")); err != nil || string(got) != "from the guest" {
		t.Errorf("%q, %v", got, err)
	}
	if out := fstest.Run(t, "file", filepath.Join(state, "disks", "vda.raw")); !strings.Contains(out, "ext4 filesystem data") {
		t.Error(out)
	}
}

func TestReadersAtManyPlacesAtOnce(t *testing.T) {
	raw := filepath.Join(t.TempDir(), "raw")
	body := make([]byte, 32*mib)
	for i := range body {
		body[i] = byte(i>>16) ^ byte(i>>3)
	}
	if err := os.WriteFile(raw, body, 0o600); err != nil {
		t.Fatal(err)
	}
	state := mountDisks(t, Options{Cache: minCache}, raw)
	errs := make(chan error)
	const readers = 8
	for n := range readers {
		go func() {
			errs <- func() error {
				f, err := os.Open(filepath.Join(state, "disks", "vda.raw"))
				if err != nil {
					return err
				}
				defer f.Close()
				p := make([]byte, 70000)
				for i := range 300 {
					off := int64(i*i*7919+n*131071) % (32*mib - int64(len(p)))
					if _, err := f.ReadAt(p, off); err != nil {
						return err
					}
					if !bytes.Equal(p, body[off:off+int64(len(p))]) {
						return io.ErrNoProgress
					}
				}
				return nil
			}()
		}()
	}
	for range readers {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}
