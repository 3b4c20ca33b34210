package store

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

var (
	pairPattern   = regexp.MustCompile(`^[0-9a-f]{8}$`)
	diskPattern   = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]{0,31}$`)
	sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

// check refuses a manifest that contradicts itself, so that a damaged or
// hand-edited one is never acted on.
func (m *Manifest) check() error {
	if m.Version != Version {
		return fmt.Errorf("%w %d", ErrVersion, m.Version)
	}
	if !pairPattern.MatchString(m.Pair) {
		return fmt.Errorf("bad pair id %q", m.Pair)
	}
	if m.TargetDomain == "" {
		return fmt.Errorf("no target domain")
	}
	if m.Role != RoleReplica {
		return fmt.Errorf("unknown role %q", m.Role)
	}
	last := int64(0)
	ids := map[string]bool{}
	for _, s := range m.States {
		if ids[s.ID] {
			return fmt.Errorf("two states %s", s.ID)
		}
		ids[s.ID] = true
		if s.Generation <= last {
			return fmt.Errorf("state %s: generation %d does not follow %d", s.ID, s.Generation, last)
		}
		last = s.Generation
		if err := s.check(); err != nil {
			return fmt.Errorf("state %s: %w", s.ID, err)
		}
	}
	if last > m.LastGeneration {
		return fmt.Errorf("generation %d was never given out (last is %d)", last, m.LastGeneration)
	}
	for _, r := range m.Run {
		if !diskPattern.MatchString(r.Disk) || !sha256Pattern.MatchString(r.SHA256) {
			return fmt.Errorf("bad run overlay of disk %q", r.Disk)
		}
		for _, name := range []string{r.Image, r.Base} {
			if err := checkFile(name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *State) check() error {
	if s.ID == "" || s.Checkpoint == "" || s.Time.IsZero() {
		return fmt.Errorf("no id, checkpoint or time")
	}
	if err := checkFile(s.DomainXML); err != nil {
		return err
	}
	if len(s.Disks) == 0 {
		return fmt.Errorf("no disks")
	}
	seen := map[string]bool{}
	for _, d := range s.Disks {
		if !diskPattern.MatchString(d.Name) || seen[d.Name] {
			return fmt.Errorf("bad or repeated disk name %q", d.Name)
		}
		seen[d.Name] = true
		if d.Size <= 0 || len(d.Images) == 0 {
			return fmt.Errorf("disk %s: no size or no images", d.Name)
		}
		for _, img := range d.Images {
			if err := checkFile(img); err != nil {
				return fmt.Errorf("disk %s: %w", d.Name, err)
			}
		}
	}
	return nil
}

// checkFile refuses a file name that could lead out of the replica's folder.
func checkFile(name string) error {
	if name == "" || path.IsAbs(name) || path.Clean(name) != name || strings.HasPrefix(name, "..") {
		return fmt.Errorf("bad file name %q", name)
	}
	return nil
}

// CheckDiskName refuses a disk's name that cannot be part of a file's name.
func CheckDiskName(name string) error {
	if !diskPattern.MatchString(name) {
		return fmt.Errorf("disk name %q cannot be part of a file's name", name)
	}
	return nil
}

// CheckDomainName refuses a domain name that cannot be the name of a folder.
func CheckDomainName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n") || len(name) > 200 {
		return fmt.Errorf("domain name %q cannot be used as a folder name", name)
	}
	return nil
}
