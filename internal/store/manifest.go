package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Version is the version of the manifest that this program reads and writes.
const Version = 2

// maxManifest bounds how much of a manifest file is read, in bytes. A state
// takes about a kilobyte.
const maxManifest = 64 << 20

// ErrVersion means that a manifest was written by a program of another version.
var ErrVersion = errors.New("unknown manifest version")

// Role says what the replica is to its source.
type Role string

// Roles. Only a replica in the first is synced.
const (
	RoleReplica Role = "replica" // follows its source
	RoleActive  Role = "active"  // took over from its source
	RolePaused  Role = "paused"  // follows its source again when an administrator says so
)

// Manifest says what a replica's folder holds.
type Manifest struct {
	Version int `json:"version"`
	// Pair is the random id, 8 hex digits, that ties the replica to the checkpoints
	// on its source.
	Pair string `json:"pair"`
	// TargetDomain is the name of the libvirt domain on the target.
	TargetDomain string `json:"target_domain"`
	// TargetUUID is the UUID of that domain, once it has been defined.
	TargetUUID string `json:"target_uuid,omitempty"`
	Role       Role   `json:"role"`
	Source     Source `json:"source"`
	// LastGeneration is the highest generation ever given out. A generation is
	// reserved here before anything bears its name, so that no name is used twice.
	LastGeneration int64 `json:"last_generation"`
	// Keep is the retention policy, in the words of package retention; empty is "0".
	Keep string `json:"keep,omitempty"`
	// States are the states held, oldest first. The last is the head.
	States []State `json:"states"`
	// Images are the images that states are made of, each after the one it lies over.
	Images []Image `json:"images"`
	// Step is the change of images that is under way; see [Step].
	Step *Step `json:"step,omitempty"`
	// Staged is what a run that did not end has received.
	Staged *Staged `json:"staged,omitempty"`
	// Run are the overlays that the target's domain writes to; see [RunOverlay].
	Run []RunOverlay `json:"run,omitempty"`
	// RunState is the generation of the state that they lie over, once the domain is
	// defined so.
	RunState int64 `json:"run_state,omitempty"`
	// RunNVRAM is the domain's copy of the UEFI variables, if it has any.
	RunNVRAM string `json:"run_nvram,omitempty"`
}

// Source names the machine a replica was made from.
type Source struct {
	Domain string `json:"domain,omitempty"`
	UUID   string `json:"uuid,omitempty"`
	Host   string `json:"host,omitempty"`    // as the user named it
	HostID string `json:"host_id,omitempty"` // libvirt's host UUID
}

// State is one checkpoint of the source, byte-exact, all disks at one instant.
type State struct {
	ID          string    `json:"id"` // time of the checkpoint, see [Manifest.StateID]
	Generation  int64     `json:"generation"`
	Checkpoint  string    `json:"checkpoint"`
	Parent      string    `json:"parent,omitempty"` // checkpoint it was incremental to
	Time        time.Time `json:"time"`
	Kind        string    `json:"kind"`        // "full", "incremental", "resync" or "mixed"
	Consistency string    `json:"consistency"` // "filesystem" or "crash"
	// FrozenSeconds is how long the guest's file systems were frozen.
	FrozenSeconds float64 `json:"frozen_seconds"`
	// DomainXML is the file, relative to the folder, with the source's XML.
	DomainXML string `json:"domain_xml"`
	// NVRAM and TPM are the files with the source's UEFI variables and the state of its
	// emulated TPM (a tar), if it has them.
	NVRAM string `json:"nvram,omitempty"`
	TPM   string `json:"tpm,omitempty"`
	// SHA256 has the digests in hex of those files, by name, as they were received; see
	// [State.ReadKept].
	SHA256 map[string]string `json:"sha256,omitempty"`
	Disks  []Disk            `json:"disks"`
	// LeftOut names disks of the source that are not part of the state.
	LeftOut []string `json:"left_out,omitempty"`
	// Group is set where the state was taken together with other machines'; see [Group].
	Group *Group `json:"group,omitempty"`
	// Verified is when all of the state was last read and found right.
	Verified *time.Time `json:"verified,omitempty"`
	// Damaged says what was found wrong with the state apart from its images: with its
	// domain XML, its UEFI variables or the state of its TPM. It is never booted.
	Damaged string `json:"damaged,omitempty"`
}

// Disk is one disk of a state.
type Disk struct {
	Name  string `json:"name"`  // target device, e.g. "vda"
	Size  int64  `json:"size"`  // virtual size in bytes
	Image string `json:"image"` // the image that reads as this disk; see [Image]
	// Content is the digest of the disk's content; see package blockindex.
	Content string `json:"content"`
	// Stream sums up what brought the disk from the parent's content to this one.
	Stream Stream `json:"stream"`
}

// Stream is what was received for one disk of a state.
type Stream struct {
	Incremental bool   `json:"incremental"`
	Resync      bool   `json:"resync,omitempty"` // only blocks that differed were sent
	DataBytes   int64  `json:"data_bytes"`
	ZeroBytes   int64  `json:"zero_bytes"`
	Digest      string `json:"digest"`
}

// RunOverlay is a throw-away image over the head that the target's domain uses,
// so that starting the domain never changes a state. Its checksum at creation
// tells later whether the domain was run: an image that was started is changed.
type RunOverlay struct {
	Disk   string `json:"disk"`
	Image  string `json:"image"` // relative to the folder
	Base   string `json:"base"`  // the image it lies over
	SHA256 string `json:"sha256"`
}

// Head returns the newest state, or nil.
func (m *Manifest) Head() *State {
	if len(m.States) == 0 {
		return nil
	}
	return &m.States[len(m.States)-1]
}

// State returns the state of a generation, or nil.
func (m *Manifest) State(generation int64) *State {
	for i := range m.States {
		if m.States[i].Generation == generation {
			return &m.States[i]
		}
	}
	return nil
}

// Disk returns the state's disk of that name, or nil.
func (s *State) Disk(name string) *Disk {
	for i := range s.Disks {
		if s.Disks[i].Name == name {
			return &s.Disks[i]
		}
	}
	return nil
}

// Files returns every file that the manifest names, relative to the folder.
func (m *Manifest) Files() map[string]bool {
	files := map[string]bool{}
	for _, s := range m.States {
		for _, f := range s.KeptFiles() {
			files[f] = true
		}
	}
	for _, img := range m.Images {
		files[img.Name], files[IndexName(img.Name)] = true, true
	}
	if m.Step != nil && m.Step.Op == StepMerge {
		// Until the step is done, its lower image may be there or not.
		files[m.Step.Onto], files[IndexName(m.Step.Onto)] = true, true
	}
	if m.Staged != nil {
		for _, d := range m.Staged.Disks {
			files[d.Image], files[IndexName(d.Image)] = true, true
		}
	}
	for _, r := range m.Run {
		files[r.Image] = true
	}
	if m.RunNVRAM != "" {
		files[m.RunNVRAM] = true
	}
	return files
}

// encode gives the manifest's file content.
func (m *Manifest) encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

// decodeManifest reads a manifest. It refuses another version with
// [ErrVersion], and anything that [Manifest.encode] would not have written.
func decodeManifest(r io.Reader) (*Manifest, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxManifest+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxManifest {
		return nil, fmt.Errorf("larger than %d bytes", maxManifest)
	}
	var v struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, err
	}
	if v.Version != Version {
		return nil, fmt.Errorf("%w %d: this program knows version %d", ErrVersion, v.Version, Version)
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	m := &Manifest{}
	if err := dec.Decode(m); err != nil {
		return nil, err
	}
	return m, m.check()
}
