package lvm

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"vmsync/fusefs/device"
	"vmsync/fusefs/filesystem"
)

// maxHashed leaves out large volumes where each is read more than once.
const maxHashed = 16 << 20

// hash reads all of a device, in large pieces.
func hash(d device.Device) (string, error) {
	h := sha256.New()
	_, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{io.NewSectionReader(d, 0, d.Size())}, make([]byte, 300<<10+700))
	return fmt.Sprintf("%x", h.Sum(nil)), err
}

// find returns the volumes on disks by name.
func find(t testing.TB, all []Physical) map[string]Volume {
	t.Helper()
	volumes, errs := Find(all)
	for name, err := range errs {
		t.Errorf("%s: %v", name, err)
	}
	byName := map[string]Volume{}
	for _, v := range volumes {
		if v.Group != "vg-a" || byName[v.Name].Name != "" || (v.Err == nil) == (v.Device == nil) {
			t.Errorf("%+v", v)
		}
		byName[v.Name] = v
	}
	return byName
}

func TestVolumesAreAsTheKernelReadsThem(t *testing.T) {
	disks, sums := fixture(t)
	found := find(t, physicals(t, disks))
	refused := map[string]bool{"raid5": true, "cached": true}
	for name, want := range sums {
		v, ok := found[name]
		if !ok {
			t.Errorf("%s is not found", name)
			continue
		}
		delete(found, name)
		if refused[name] {
			if !errors.Is(v.Err, filesystem.ErrUnsupported) {
				t.Errorf("%s: %v", name, v.Err)
			}
			continue
		}
		if v.Err != nil {
			t.Errorf("%s: %v", name, v.Err)
			continue
		}
		got, err := hash(v.Device)
		if err != nil || got != want.hash || v.Device.Size() != want.size {
			t.Errorf("%s: %d bytes, %s, %v; the kernel read %d, %s", name, v.Device.Size(), got, err, want.size, want.hash)
		}
		checkData(t, name, v.Device)
	}
	if v, ok := found["error"]; !ok || v.Err == nil || len(found) != 1 {
		t.Errorf("more volumes than the guest saw: %v", found)
	}
}

// checkData holds what Data says against what is read, and small reads against large ones.
func checkData(t *testing.T, name string, d device.Device) {
	t.Helper()
	all := make([]byte, d.Size())
	if n, err := d.ReadAt(all, 0); n < len(all) {
		t.Fatalf("%s: %d bytes, %v", name, n, err)
	}
	for off := int64(0); off < d.Size(); {
		start, end, err := d.Data(off)
		if err != nil || start < off || end < start || end > d.Size() || (start == end && end != d.Size()) {
			t.Fatalf("%s: data at or after %d: %d to %d, %v", name, off, start, end, err)
		}
		for _, b := range all[off:start] {
			if b != 0 {
				t.Fatalf("%s: data between %d and %d, which Data does not tell of", name, off, start)
			}
		}
		off = end
	}
	random := rand.New(rand.NewSource(1))
	for range 300 {
		off := random.Int63n(d.Size())
		p := make([]byte, min(random.Int63n(100_000), d.Size()-off))
		if n, err := d.ReadAt(p, off); n < len(p) || string(p) != string(all[off:off+int64(n)]) {
			t.Fatalf("%s: %d of %d bytes at %d, %v, or other bytes", name, n, len(p), off, err)
		}
	}
	if n, err := d.ReadAt(make([]byte, 2), d.Size()-1); n != 1 || err != io.EOF {
		t.Errorf("%s: %d bytes at the end, %v", name, n, err)
	}
}

func TestThinVolumeHasHoles(t *testing.T) {
	disks, _ := fixture(t)
	d := find(t, physicals(t, disks))["thin"].Device
	start, end, err := d.Data(4 << 20)
	if err != nil || start != d.Size()-64<<10 || end != d.Size() {
		t.Fatalf("%d to %d, %v", start, end, err)
	}
}

func TestManyReadersAtOnce(t *testing.T) {
	disks, sums := fixture(t)
	d := find(t, physicals(t, disks))
	var wg sync.WaitGroup
	for _, name := range []string{"thinsnap", "inside", "snap", "raid10", "snap", "inside"} {
		wg.Go(func() {
			if got, err := hash(d[name].Device); err != nil || got != sums[name].hash {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		})
	}
	wg.Wait()
}

func TestMissingPhysicalVolume(t *testing.T) {
	disks, sums := fixture(t)
	all := physicals(t, disks)
	for missing := range all {
		var rest []Physical
		rest = append(append(rest, all[:missing]...), all[missing+1:]...)
		good, bad := 0, 0
		for name, v := range find(t, rest) {
			switch {
			case v.Err == nil:
				good++
				if v.Device.Size() > maxHashed {
					break
				}
				if got, err := hash(v.Device); err != nil || got != sums[name].hash {
					t.Errorf("without disk %d, %s: %s, %v", missing, name, got, err)
				}
			case errors.Is(v.Err, ErrMissing):
				bad++
			}
		}
		if good == 0 || bad == 0 {
			t.Errorf("without disk %d, %d volumes can be read, %d cannot", missing, good, bad)
		}
	}
}

func TestDuplicatePhysicalVolume(t *testing.T) {
	disks, _ := fixture(t)
	all := physicals(t, disks)
	for _, p := range physicals(t, disks) {
		all = append(all, Physical{Name: "clone of " + p.Name, Device: p.Device})
	}
	if v := find(t, all)["pv2only"]; !errors.Is(v.Err, filesystem.ErrCorrupt) {
		t.Fatal(v.Err)
	}
}

// metadataAt is where the newest metadata of a disk with one area is, 0 where it has none.
func metadataAt(d device.Device) (header, text int64) {
	p, err := readLabel(d)
	if err != nil || len(p.areas) != 1 {
		return 0, 0
	}
	raw := make([]byte, 64)
	if _, err := d.ReadAt(raw, int64(p.areas[0].off)); err != nil {
		return 0, 0
	}
	header = int64(p.areas[0].off)
	return header, header + int64(binary.LittleEndian.Uint64(raw[40:]))
}

func TestDamagedMetadata(t *testing.T) {
	disks, sums := fixture(t)
	for name, damage := range map[string]func(d *sparse, header, text int64){
		"text":   func(d *sparse, _, text int64) { d.flip(text + 100) },
		"header": func(d *sparse, header, _ int64) { d.flip(header + 50) },
	} {
		// The copies on another disk remain.
		broken := slices.Clone(disks)
		which := slices.IndexFunc(disks, func(d *sparse) bool { header, _ := metadataAt(d); return header > 0 })
		broken[which] = disks[which].copy()
		header, text := metadataAt(broken[which])
		damage(broken[which], header, text)
		volumes, errs := Find(physicals(t, broken))
		if !errors.Is(errs[fmt.Sprintf("disk%d", which)], filesystem.ErrCorrupt) || len(errs) != 1 {
			t.Errorf("%s: %v", name, errs)
		}
		for _, v := range volumes {
			if v.Err == nil && v.Device.Size() < maxHashed {
				if got, err := hash(v.Device); err != nil || got != sums[v.Name].hash {
					t.Errorf("%s: %s: %s, %v", name, v.Name, got, err)
				}
			}
		}
		if len(volumes) != len(sums)+1 { // with the one that gives errors
			t.Errorf("%s: %d volumes", name, len(volumes))
		}
	}
	broken := disks[slices.IndexFunc(disks, func(d *sparse) bool { header, _ := metadataAt(d); return header > 0 })].copy()
	broken.flip(512 + 100)
	if _, errs := Find([]Physical{{Name: "disk", Device: broken}}); !errors.Is(errs["disk"], filesystem.ErrCorrupt) {
		t.Errorf("label: %v", errs)
	}
}
