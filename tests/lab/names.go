package lab

import (
	"fmt"
	"path/filepath"
	"regexp"
)

// baseDir holds one folder per lab. It lies on the machine's root file system,
// because the overlays' upper layers need one with extended attributes.
const baseDir = "/var/lib/vmsync-lab"

// DefaultHosts are the hosts of a lab whose Config names none.
var DefaultHosts = []string{"hosta", "hostb", "op"}

// nameRE bounds the names of labs and hosts: they become parts of paths,
// interface names (15 bytes) and host names.
var nameRE = regexp.MustCompile(`^[a-z][a-z0-9-]{0,23}$`)

var hostRE = regexp.MustCompile(`^[a-z][a-z0-9]{0,8}$`)

func checkNames(lab string, hosts []string) error {
	if !nameRE.MatchString(lab) {
		return fmt.Errorf("lab name %q: want a letter, then up to 23 of a-z, 0-9 and -", lab)
	}
	if len(hosts) > 100 {
		return fmt.Errorf("lab %s: %d hosts are more than its network has addresses for", lab, len(hosts))
	}
	seen := map[string]bool{}
	for _, h := range hosts {
		if !hostRE.MatchString(h) {
			return fmt.Errorf("lab %s: host name %q: want a letter, then up to 8 of a-z and 0-9", lab, h)
		}
		if seen[h] {
			return fmt.Errorf("lab %s: host %s is named twice", lab, h)
		}
		seen[h] = true
	}
	return nil
}

// address gives host number i its IPv4 address. Labs may use the same ones,
// since each has a network namespace of its own.
func address(i int) string { return fmt.Sprintf("10.77.0.%d", 11+i) }

func labDir(lab string) string               { return filepath.Join(baseDir, lab) }
func recordPath(lab string) string           { return filepath.Join(labDir(lab), "lab.json") }
func bridgeNS(lab string) string             { return filepath.Join(labDir(lab), "net") }
func hostDir(lab, host string) string        { return filepath.Join(labDir(lab), "host-"+host) }
func hostFile(lab, host, name string) string { return filepath.Join(hostDir(lab, host), name) }
