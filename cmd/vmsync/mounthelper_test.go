package main

import (
	"strings"
	"testing"
)

func TestMountHelper(t *testing.T) {
	for in, want := range map[string]string{
		"vmsync mount /mnt": "mount /mnt",
		"/sbin/mount.vmsync /srv/store /mnt -o rw,domain=vm1":          "mount -o rw,domain=vm1 --store=/srv/store --source=/srv/store -- /mnt",
		"/sbin/mount.fuse.vmsync vmsync /mnt -sn -t fuse.vmsync":       "mount --sloppy --source=vmsync -- /mnt",
		"vmsync-mount none /mnt -o uid=1 -o ro":                        "mount -o uid=1 -o ro --source=none -- /mnt",
		"/usr/local/bin/vmsync -source-domain vm1 -source-uri x -o -s": "-source-domain vm1 -source-uri x -o -s",
	} {
		got, err := expandHelper(strings.Fields(in))
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q became %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"mount.vmsync", "mount.vmsync /srv", "mount.vmsync /srv /mnt /more", "mount.vmsync /srv /mnt -o", "mount.vmsync /srv /mnt -N 1", "mount.vmsync /srv /mnt -f"} {
		if got, err := expandHelper(strings.Fields(in)); err == nil {
			t.Errorf("%q became %q", in, got)
		}
	}
}
