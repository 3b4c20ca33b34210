package offer_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"vmsync/nbdproxy/nbdtest"
)

// writer is what nbdsh does to an export: every request that changes something, with every
// flag, and some that no client ought to send.
const writer = `
import errno, nbd
a, b = nbd.NBD(), nbd.NBD()
for h in (a, b):
    h.connect_uri("URI")
    h.set_strict_mode(0)
assert not a.is_read_only() and a.can_multi_conn() and a.can_flush() and a.can_fua() and a.can_trim() and a.can_zero() and a.can_fast_zero() and a.can_cache()
size = a.get_size()
def refused(want, f, *args):
    try:
        f(*args)
    except nbd.Error as e:
        assert e.errnum == want, e
        return
    assert False, "it was not refused"
a.pwrite(b"\x31" * 70000, 1000)
assert b.pread(70000, 1000) == b"\x31" * 70000
b.pwrite(b"\x32" * 4096, 1 << 20, nbd.CMD_FLAG_FUA)
b.zero(65536, 2 << 20)
b.zero(65536, 3 << 20, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
b.zero(65536, 4 << 20, nbd.CMD_FLAG_FAST_ZERO)
b.trim(1 << 20, 6 << 20, nbd.CMD_FLAG_FUA)
b.cache(65536, 0)
a.flush()
refused(errno.ENOSPC, a.pwrite, b"x" * 512, size - 256)
refused(errno.ENOSPC, a.zero, 512, size)
refused(errno.EINVAL, a.trim, 512, size)
refused(errno.EINVAL, a.pwrite, b"x", 0, nbd.CMD_FLAG_NO_HOLE)
bufs = [nbd.Buffer.from_bytearray(bytearray([i]) * 65536) for i in range(64)]
cookies = [(a, b)[i % 2].aio_pwrite(bufs[i], (8 << 20) + i * 65536) for i in range(64)]
for i, c in enumerate(cookies):
    while not (a, b)[i % 2].aio_command_completed(c):
        (a, b)[i % 2].poll(-1)
a.flush()
for i in range(64):
    assert b.pread(65536, (8 << 20) + i * 65536) == bytes([i]) * 65536
for h in (a, b):
    h.shutdown()
`

func TestWritesThroughAnOfferAreInTheImage(t *testing.T) {
	path, want := nbdtest.Noise(t, 16*nbdtest.MiB)
	s := nbdtest.ServeImage(t, path, "--discard=unmap", "--detect-zeroes=off")
	x := from("vda", s)
	x.Writable = true
	o := start(t, x)
	nbdsh(t, strings.ReplaceAll(writer, "URI", o.uri("vda")))
	fill := func(value byte, at, length int64) { copy(want[at:], bytes.Repeat([]byte{value}, int(length))) }
	const mib = nbdtest.MiB
	fill(0x31, 1000, 70000)
	fill(0x32, mib, 4096)
	for at := range int64(3) {
		fill(0, (2+at)*mib, 65536)
	}
	fill(0, 6*mib, mib)
	for i := range int64(64) {
		fill(byte(i), 8*mib+i*65536, 65536)
	}
	// A whole disk, from another one, and back.
	raw := filepath.Join(t.TempDir(), "raw")
	nbdtest.Run(t, "nbdcopy", o.uri("vda"), raw)
	if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the export reads as something else, error %v", err)
	}
	for i := range want {
		want[i] ^= byte(i >> 12)
	}
	fill(0, 10*mib, 3*mib)
	if err := os.WriteFile(raw, want, 0o600); err != nil {
		t.Fatal(err)
	}
	nbdtest.Run(t, "nbdcopy", "--flush", raw, o.uri("vda"))
	// What was flushed is in the image, whatever becomes of everybody.
	o.cancel()
	<-o.ended
	s.Signal(t, syscall.SIGKILL)
	<-s.Ended
	nbdtest.Run(t, "qemu-img", "check", "-q", "-f", "qcow2", path)
	nbdtest.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", raw, path)
}

// nbdsh runs a script by the distribution's Python, which has libnbd's module, whatever
// others are installed.
func nbdsh(t *testing.T, script string) {
	t.Helper()
	cmd := exec.Command("/usr/bin/nbdsh", "-c", script)
	if _, err := os.Stat(cmd.Path); err != nil {
		t.Skipf("this test needs nbdsh (package python3-libnbd): %v", err)
	}
	cmd.Env = append(os.Environ(), "PATH=/usr/bin:/bin")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestAFullDiskIsToldAsSuch has the server's file system run full: the client hears of it
// and the connection goes on.
func TestAFullDiskIsToldAsSuch(t *testing.T) {
	dir := smallFilesystem(t)
	image := filepath.Join(dir, "image")
	nbdtest.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "64M")
	x := from("vda", nbdtest.ServeImage(t, image))
	x.Writable = true
	o := start(t, x)
	out, err := exec.Command("qemu-io", "-f", "raw", "-c", "write -P 1 0 16M", "-c", "read -P 0 32M 64k", o.uri("vda")).CombinedOutput()
	if !strings.Contains(string(out), "No space left on device") || !strings.Contains(string(out), "read 65536/65536") {
		t.Errorf("%v: %s", err, out)
	}
}

// smallFilesystem is a file system of a few MiB.
func smallFilesystem(t *testing.T) string {
	t.Helper()
	dir := nbdtest.Folder(t)
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("cannot mount a tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
