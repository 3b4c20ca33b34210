package store

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sample() *Manifest {
	return &Manifest{
		Version: Version, Pair: "3f2a9c1b", TargetDomain: "vm1", TargetUUID: "6a4c…", Role: RoleReplica, LastGeneration: 7,
		Source: Source{Domain: "vm1", UUID: "u", Host: "hosta", HostID: "h"},
		States: []State{{
			ID: "2026-11-21T070301Z", Generation: 7, Checkpoint: "vmsync-3f2a9c1b-7", Parent: "vmsync-3f2a9c1b-6",
			Time: time.Date(2026, 11, 21, 7, 3, 1, 5e8, time.UTC), Kind: "incremental", Consistency: "filesystem", FrozenSeconds: 0.25,
			DomainXML: XMLName(7), LeftOut: []string{"sda"},
			NVRAM: NVRAMName(7), TPM: TPMName(7), Group: &Group{ID: "0123456789ab", Name: "shop", Members: []string{"vm1", "vm2"}, OneInstant: true},
			SHA256: map[string]string{XMLName(7): strings.Repeat("1a", 32), NVRAMName(7): strings.Repeat("2b", 32), TPMName(7): strings.Repeat("3c", 32)},
			Disks: []Disk{{Name: "vda", Size: 1 << 30, Image: ImageName("vda", 7), Content: "c",
				Stream: Stream{Incremental: true, DataBytes: 1, ZeroBytes: 2, Digest: "d"}}},
		}},
		Images: []Image{{Name: ImageName("vda", 1), Disk: "vda", Size: 1 << 29}, {Name: ImageName("vda", 7), Disk: "vda", Size: 1 << 30, Backing: ImageName("vda", 1)}},
		Step:   &Step{Op: StepMerge, Image: ImageName("vda", 7), Onto: ImageName("vda", 1)},
		Staged: &Staged{Generation: 5, Disks: []StagedDisk{{Name: "vdb", Size: 1 << 20, Image: ImageName("vdb", 5), Parent: "vmsync-3f2a9c1b-4"}}},
		Run:    []RunOverlay{{Disk: "vda", Image: RunName("vda", 7, 1), Base: ImageName("vda", 7), SHA256: strings.Repeat("ab", 32)}},
	}
}

func TestManifestSurvivesEncoding(t *testing.T) {
	b, err := sample().encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := decodeManifest(strings.NewReader(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sample(), got); diff != "" {
		t.Error(diff)
	}
}

func TestManifestOfAnotherVersionIsRefused(t *testing.T) {
	b, _ := sample().encode()
	for _, v := range []string{`"version": 1`, `"version": 3`, `"version": 0`} {
		text := strings.Replace(string(b), `"version": 2`, v, 1)
		if _, err := decodeManifest(strings.NewReader(text)); !errors.Is(err, ErrVersion) {
			t.Errorf("%s: got %v", v, err)
		}
	}
}

func TestContradictoryManifestIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*Manifest){
		"pair":                   func(m *Manifest) { m.Pair = "../../etc" },
		"no domain XML":          func(m *Manifest) { m.States[0].DomainXML, m.States[0].SHA256 = "", nil },
		"a path that leads away": func(m *Manifest) { m.States[0].NVRAM, m.States[0].SHA256 = "../7.fd", nil },
		"a digest that is none":  func(m *Manifest) { m.States[0].SHA256[XMLName(7)] = "x" },
		"a digest too few":       func(m *Manifest) { delete(m.States[0].SHA256, TPMName(7)) },
		"a digest too many":      func(m *Manifest) { m.States[0].SHA256["xml/8.xml"] = strings.Repeat("1a", 32) },
		"role":                   func(m *Manifest) { m.Role = "boss" },
		"no target domain":       func(m *Manifest) { m.TargetDomain = "" },
		"generation unknown":     func(m *Manifest) { m.LastGeneration = 6 },
		"generation repeated":    func(m *Manifest) { m.States = append(m.States, m.States[0]) },
		"state twice": func(m *Manifest) {
			m.States = append(m.States, m.States[0])
			m.States[1].Generation, m.LastGeneration = 8, 8
		},
		"image unknown":       func(m *Manifest) { m.States[0].Disks[0].Image = "../vm2/disks/vda.1.qcow2" },
		"image of other size": func(m *Manifest) { m.States[0].Disks[0].Size-- },
		"image of other disk": func(m *Manifest) { m.States[0].Disks[0].Name = "vdb" },
		"image outside":       func(m *Manifest) { m.Images[0].Name = "../vm2/disks/vda.1.qcow2" },
		"image absolute":      func(m *Manifest) { m.Images[0].Name = "/etc/passwd" },
		"image misnamed":      func(m *Manifest) { m.Images[0].Disk = "vdb" },
		"image twice":         func(m *Manifest) { m.Images = append(m.Images, m.Images[0]) },
		"image size":          func(m *Manifest) { m.Images[0].Size = -1 },
		"backing after":       func(m *Manifest) { m.Images[0], m.Images[1] = m.Images[1], m.Images[0] },
		"backing itself":      func(m *Manifest) { m.Images[0].Backing = m.Images[0].Name },
		"step op":             func(m *Manifest) { m.Step.Op = "fold" },
		"step upside down":    func(m *Manifest) { m.Step.Image, m.Step.Onto = m.Step.Onto, m.Step.Image },
		"step unknown":        func(m *Manifest) { m.Step.Image = "x" },
		"staged generation":   func(m *Manifest) { m.Staged.Generation = 8 },
		"staged name":         func(m *Manifest) { m.Staged.Disks[0].Image = "disks/vdb.6.qcow2" },
		"staged backing":      func(m *Manifest) { m.Staged.Disks[0].Backing = "disks/vdb.1.qcow2" },
		"nvram outside":       func(m *Manifest) { m.States[0].NVRAM = "/etc/shadow" },
		"no disks":            func(m *Manifest) { m.States[0].Disks = nil },
		"disk twice":          func(m *Manifest) { m.States[0].Disks = append(m.States[0].Disks, m.States[0].Disks[0]) },
		"disk name":           func(m *Manifest) { m.States[0].Disks[0].Name = "../x" },
		"no size":             func(m *Manifest) { m.States[0].Disks[0].Size = 0 },
		"xml outside":         func(m *Manifest) { m.States[0].DomainXML = "xml/../../x" },
		"run overlay outside": func(m *Manifest) { m.Run[0].Image = "../x" },
		"run overlay base":    func(m *Manifest) { m.Run[0].Base = "" },
		"run overlay sum":     func(m *Manifest) { m.Run[0].SHA256 = "1" },
	} {
		m := sample()
		spoil(m)
		if _, err := m.encode(); err == nil {
			t.Errorf("%s: written", name)
		}
	}
}

func TestStatesOfOneSecondHaveDifferentNames(t *testing.T) {
	m := sample()
	at := m.States[0].Time
	if got := m.StateID(at.Add(time.Second), 8); got != "2026-11-21T070302Z" {
		t.Error(got)
	}
	if got := m.StateID(at.Add(time.Millisecond), 8); got != "2026-11-21T070301Z-8" {
		t.Error(got)
	}
}

func TestDamagedManifestIsRefused(t *testing.T) {
	b, _ := sample().encode()
	for cut := range len(b) - 2 { // the last two bytes are "}\n" and "\n" alone is no loss
		if _, err := decodeManifest(strings.NewReader(string(b[:cut]))); err == nil {
			t.Fatalf("accepted when cut to %d of %d bytes", cut, len(b))
		}
	}
	unknown := strings.Replace(string(b), `"pair"`, `"future": 1, "pair"`, 1)
	if _, err := decodeManifest(strings.NewReader(unknown)); err == nil {
		t.Error("accepted with a field this program does not know")
	}
}
