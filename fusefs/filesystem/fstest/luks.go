package fstest

import (
	"os/exec"
	"strings"
	"testing"
)

// EncryptLUKS1 makes a LUKS1 image at path of what raw holds, by qemu: an implementation of
// its own. Options are qemu's for the format, each with a comma before it.
func EncryptLUKS1(t testing.TB, raw, path, secret, options string) {
	t.Helper()
	argv := []string{"convert", "-O", "luks", "--object", "secret,id=s,data=" + secret, "-o", "key-secret=s,iter-time=10" + options, raw, path}
	for try := 1; ; try++ {
		out, err := exec.Command("qemu-img", argv...).CombinedOutput()
		if err == nil {
			return
		}
		// qemu measures how fast this machine derives keys, and gives up where the kernel's
		// clock of its processor time has not moved meanwhile.
		if try == 20 || !strings.Contains(string(out), "accurate CPU usage") {
			t.Fatalf("qemu-img %s: %v\n%s", strings.Join(argv, " "), err, out)
		}
	}
}
