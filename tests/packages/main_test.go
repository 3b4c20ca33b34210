// Package packages tests vmsync as packages install it: units, upgrades, restarts of hosts,
// removal, on real hypervisor hosts that have vmsync from nowhere else; see tests/lab.
// Needs root, and what `make package` needs.
package packages

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vmsync/tests/lab"
)

// The lab that all tests share: hosta runs machines, hostb keeps their replicas. Tests
// bring vmsync along and take it away again.
var hosta, hostb *lab.Host

// Two versions, as git describes them, and what packages make of them.
const (
	oldDescribed, newDescribed = "v1.0.0", "v1.0.0-12-g0ddba11"
	oldVersion, newVersion     = "1.0.0", "1.0.0+12.g0ddba11"
)

// built is the folder with the packages of both versions.
var built string

func TestMain(m *testing.M) {
	flag.StringVar(&built, "packages", "", "folder with packages of both versions that are made already, to try something again sooner")
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "vmsync-packages-")
	if err == nil {
		defer os.RemoveAll(dir)
		if built == "" {
			built, err = build(dir)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		return 1
	}
	l, err := lab.Up(context.Background(), lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostb"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, "packages: cannot bring up the lab:", err)
		return 1
	}
	hosta, hostb = l.Host("hosta"), l.Host("hostb")
	code := m.Run()
	if err := l.Down(); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
		return 1
	}
	return code
}

// build makes the packages of both versions below dir and returns the folder that they are in.
func build(dir string) (string, error) {
	all := filepath.Join(dir, "all")
	if err := os.Mkdir(all, 0o755); err != nil {
		return "", err
	}
	for _, version := range []string{oldDescribed, newDescribed} {
		cmd := exec.Command("make", "package", "VERSION="+version, "BIN="+dir)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("make package: %w\n%s", err, out)
		}
		made, err := filepath.Glob(filepath.Join(dir, "package", "vmsync*"))
		if err != nil || len(made) != 2 {
			return "", fmt.Errorf("make package made %q, %v", made, err)
		}
		for _, p := range made {
			if err := os.Rename(p, filepath.Join(all, filepath.Base(p))); err != nil {
				return "", err
			}
		}
	}
	return all, nil
}

func deb(version string) string { return "vmsync_" + version + "_amd64.deb" }
func rpm(version string) string { return "vmsync-" + version + "-1.x86_64.rpm" }
