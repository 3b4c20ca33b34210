package lab_test

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

func sysBlocks(fi os.FileInfo) int64 { return fi.Sys().(*syscall.Stat_t).Blocks }

// retransmits is how many TCP segments a host has sent more than once.
func retransmits(t *testing.T, h *lab.Host) int {
	t.Helper()
	var names []string
	for line := range strings.Lines(run(t, h, "cat", "/proc/net/snmp")) {
		f := strings.Fields(line)
		if f[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = f
			continue
		}
		for i, n := range names {
			if n == "RetransSegs" {
				v, err := strconv.Atoi(f[i])
				if err != nil {
					t.Fatal(err)
				}
				return v
			}
		}
	}
	t.Fatal("no RetransSegs in /proc/net/snmp")
	return 0
}
