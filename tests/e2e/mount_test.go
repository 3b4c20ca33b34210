package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	gosync "sync"
	"testing"

	"vmsync/fusefs/filesystem/fstest"
)

const mountPoint = "/mnt/vmsync"

// mounted mounts hostb's store in hostb, until the test ends or unmount is called.
func mounted(t *testing.T, args ...string) (unmount func()) {
	t.Helper()
	if _, err := hostb.Run(t.Context(), "mkdir", "-p", mountPoint); err != nil {
		t.Fatal(err)
	}
	if out, err := hostb.Run(t.Context(), append([]string{"vmsync", "mount", mountPoint}, args...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	unmount = gosync.OnceFunc(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if out, err := hostb.Run(ctx, "vmsync", "umount", mountPoint); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Cleanup(unmount)
	return unmount
}

// TestMountedTreeIsWhatTheGuestHas holds the files that the tree shows against those in
// restored images, by other means: three states of a machine with a partition table, a
// filesystem on a whole disk and a volume group of two disks. In the last state the filesystems
// are in use, so that their journals have to be replayed.
func TestMountedTreeIsWhatTheGuestHas(t *testing.T) {
	g := makeGuestDisks(t)
	m := machine(t, g.disks()...)
	var states []string
	for i := range 3 {
		for _, v := range g.volumes {
			g.change(t, v, i)
			if i < 2 {
				v.close(t)
			}
		}
		g.put(t, m)
		states = append(states, sync(t, m.Name(), "--keep", "5").State)
	}
	for _, v := range g.volumes {
		v.close(t)
	}
	mounted(t, m.Name())
	for i, state := range states {
		to := fmt.Sprintf("/var/tmp/restored-%d", i)
		o := start(t, hostb, "restore", m.Name()+"@"+state, "--to", to, "--format", "raw", "--json").wait()
		if o.code != 0 {
			t.Fatalf("exit code %d: %+v", o.code, o.find("error"))
		}
		at := filepath.Join(mountPoint, m.Name(), "states", state)
		for _, v := range g.volumes {
			gather(t, v, hostb.Path(to+"/volume"), func(disk string) string { return hostb.Path(to + "/" + disk + ".img") })
			sameTree(t, v, to+"/volume", filepath.Join(at, "files", v.name))
		}
		for disk := range g.sizes {
			sameBytes(t, to+"/"+disk+".img", filepath.Join(at, "disks", disk+".raw"))
		}
		if _, err := hostb.Run(t.Context(), "rm", "-rf", to); err != nil {
			t.Fatal(err)
		}
	}
	if target, err := os.Readlink(hostb.Path(filepath.Join(mountPoint, m.Name(), "latest"))); err != nil || target != "states/"+states[2] {
		t.Errorf("latest is %q, %v", target, err)
	}
}

// change changes a volume's files, differently in each state.
func (g *guestDisks) change(t *testing.T, v *guestVolume, state int) {
	t.Helper()
	switch v.kind {
	case "swap":
		return
	case "vfat":
		file := filepath.Join(t.TempDir(), "Long file name.txt")
		if err := os.WriteFile(file, bytes.Repeat([]byte{byte(state + 1)}, 100000), 0o600); err != nil {
			t.Fatal(err)
		}
		fstest.Run(t, "mmd", "-i", v.image, fmt.Sprintf("::/state-%d", state))
		fstest.Run(t, "mcopy", "-o", "-m", "-i", v.image, file, fmt.Sprintf("::/state-%d/", state))
		fstest.Run(t, "mcopy", "-o", "-m", "-i", v.image, file, "::/latest.txt")
		return
	}
	dir := v.open(t)
	if state == 0 {
		features := fstest.Features{Entries: 500}
		if v.kind != "ntfs" {
			features.Unix, features.Xattrs = true, true
		}
		fstest.Populate(t, dir, uint64(len(v.name)), features)
	}
	script := `set -e; cd "$1"; mkdir state-$2; for i in $(seq 50); do echo "$2 $i" >state-$2/file-$i; done
		rm -f sizes/4097 many/file-00000$((2 + $2)); mv sizes/65535 sizes/moved-$2; ln -f sizes/moved-$2 sizes/65535
		head -c 300000 /dev/urandom >latest; echo more >>sizes/1025; truncate -s 1000 sizes/8192; sync -f .`
	fstest.Run(t, "bash", "-c", script, "change", dir, fmt.Sprint(state))
}

// sameTree compares, in hostb, a mounted tree with a restored image, read by the kernel,
// ntfs-3g or mtools.
func sameTree(t *testing.T, v *guestVolume, restored, tree string) {
	t.Helper()
	const truth = "/mnt/truth"
	how := "-aHAX"
	var open string
	switch v.kind {
	case "swap":
		readme, err := hostb.ReadFile(tree + "/README")
		if err != nil || !strings.Contains(string(readme), "swap") {
			t.Errorf("%s: %v\n%s", tree, err, readme)
		}
		return
	case "vfat":
		open = `mcopy -s -n -m -i "$1" '::/*' "$2"`
		how = "-r" // neither shows owners, and mtools writes its own times
	case "ntfs":
		open = `ntfs-3g -o ro "$1" "$2"`
		how = "-aH"
	case "xfs":
		open = `mount -o loop,nouuid "$1" "$2"`
	default:
		open = `mount -o loop "$1" "$2"` // the copy's journal is the kernel's to replay
	}
	script := `mkdir -p "$2"; ` + open + ` || exit 1; trap 'umount "$2" 2>/dev/null; rm -rf --one-file-system "$2"' EXIT
rsync -nic --delete ` + how + ` "$2/" "$3/"; diff -r --no-dereference --exclude=nodes "$2" "$3"`
	out, err := hostb.Run(t.Context(), "bash", "-c", script, "compare", restored, truth, tree)
	if err != nil || out != "" {
		t.Errorf("%s: %v\n%.3000s", tree, err, out)
	}
}

func sameBytes(t *testing.T, a, b string) {
	t.Helper()
	if out, err := hostb.Run(t.Context(), "cmp", a, b); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
