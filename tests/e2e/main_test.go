// Package e2e tests vmsync as its users run it: the real programs on real
// hypervisor hosts, see tests/lab. Needs root and the programs built by `make
// test`.
package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"vmsync/tests/lab"
)

// The lab that all tests share. Tests make machines of their own in it and run
// one at a time.
var (
	theLab            *lab.Lab
	hosta, hostb, op_ *lab.Host
)

// Where programs are installed in the hosts.
const binDir = "/usr/local/bin/"

func built(name string) string {
	p, err := filepath.Abs(filepath.Join("../../bin", name))
	if err != nil {
		panic(err)
	}
	return p
}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	l, err := lab.Up(context.Background(), lab.Config{Name: lab.RandomName(), Owner: true, Install: map[string]string{
		built("vmsync"):     binDir + "vmsync",
		built("vmsync-nbd"): binDir + "vmsync-nbd",
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: cannot bring up the lab (`make test` builds what it needs):", err)
		return 1
	}
	theLab, hosta, hostb, op_ = l, l.Host("hosta"), l.Host("hostb"), l.Host("op")
	code := m.Run()
	if err := l.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}
