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
	if m.Role != RoleReplica && m.Role != RoleActive && m.Role != RolePaused {
		return fmt.Errorf("unknown role %q", m.Role)
	}
	if err := m.checkImages(); err != nil {
		return err
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
		if err := s.check(m); err != nil {
			return fmt.Errorf("state %s: %w", s.ID, err)
		}
	}
	if last > m.LastGeneration {
		return fmt.Errorf("generation %d was never given out (last is %d)", last, m.LastGeneration)
	}
	if m.RunNVRAM != "" {
		if err := checkFile(m.RunNVRAM); err != nil {
			return err
		}
	}
	for _, r := range m.Run {
		if !diskPattern.MatchString(r.Disk) || !sha256Pattern.MatchString(r.SHA256) {
			return fmt.Errorf("bad run overlay of disk %q", r.Disk)
		}
		if err := checkFile(r.Image); err != nil {
			return err
		}
		if m.Image(r.Base) == nil {
			return fmt.Errorf("run overlay of disk %s lies over %q, which is no image of the replica", r.Disk, r.Base)
		}
	}
	return nil
}

// checkImages checks the tree, and that the step and the staged images belong to it.
func (m *Manifest) checkImages() error {
	seen := map[string]*Image{}
	for i := range m.Images {
		img := &m.Images[i]
		below := seen[img.Backing]
		switch {
		case !diskPattern.MatchString(img.Disk) || img.generation() < 1 || img.Name != ImageName(img.Disk, img.generation()):
			return fmt.Errorf("image %q of disk %q: bad name", img.Name, img.Disk)
		case seen[img.Name] != nil:
			return fmt.Errorf("two images %s", img.Name)
		case img.Size <= 0:
			return fmt.Errorf("image %s: no size", img.Name)
		case img.Backing != "" && (below == nil || below.Disk != img.Disk):
			return fmt.Errorf("image %s lies over %q, which is no earlier image of its disk", img.Name, img.Backing)
		}
		seen[img.Name] = img
	}
	if s := m.Step; s != nil {
		img := seen[s.Image]
		ok := img != nil && seen[s.Onto] != nil && (s.Op == StepMerge && img.Backing == s.Onto || s.Op == StepShorten)
		if !ok {
			return fmt.Errorf("bad step %+v", *s)
		}
	}
	return m.checkStaged(seen)
}

func (m *Manifest) checkStaged(images map[string]*Image) error {
	if m.Staged == nil {
		return nil
	}
	if m.Staged.Generation < 1 || m.Staged.Generation > m.LastGeneration {
		return fmt.Errorf("staged generation %d was never given out", m.Staged.Generation)
	}
	for _, d := range m.Staged.Disks {
		if !diskPattern.MatchString(d.Name) || d.Image != ImageName(d.Name, m.Staged.Generation) || images[d.Image] != nil || d.Size <= 0 {
			return fmt.Errorf("bad staged disk %q", d.Name)
		}
		if d.Backing != "" && images[d.Backing] == nil {
			return fmt.Errorf("staged disk %s lies over %q, which is no image of the replica", d.Name, d.Backing)
		}
	}
	return nil
}

func (s *State) check(m *Manifest) error {
	if s.ID == "" || s.Checkpoint == "" || s.Time.IsZero() {
		return fmt.Errorf("no id, checkpoint or time")
	}
	if err := s.Group.check(m.TargetDomain); err != nil {
		return err
	}
	if s.DomainXML == "" {
		return fmt.Errorf("no domain XML")
	}
	for _, f := range s.KeptFiles() {
		if err := checkFile(f); err != nil {
			return err
		}
	}
	if err := s.checkKept(); err != nil {
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
		img := m.Image(d.Image)
		if img == nil || img.Disk != d.Name || img.Size != d.Size {
			return fmt.Errorf("disk %s: %q is no image of it of %d bytes", d.Name, d.Image, d.Size)
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
