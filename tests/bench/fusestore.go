package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"vmsync/internal/store"
)

// A store that is large, with states that nobody looks into.
const (
	storeDomains = 50
	storeStates  = 100
	manyStore    = "/var/lib/bench-many"
)

// fuseStoreCase mounts a large store and lists all its states.
func fuseStoreCase(b *bench, rounds int) (rows []row, err error) {
	dir := b.hostb.Path(manyStore)
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := makeStore(dir); err != nil {
		return nil, err
	}
	mount := func() (c cost, err error) {
		began := time.Now()
		err = b.ours(func(string) error { c.wall = time.Since(began); return nil }, "--store", manyStore)
		return c, err
	}
	got, err := b.compare(rounds, contender{"vmsync mount", mount})
	if err != nil {
		return nil, err
	}
	var memory int64
	err = b.ours(func(string) error {
		out, err := b.hostb.Run(b.ctx, "sh", "-c", "ls -l "+fuseMount+"/*/states | grep -c '^d'")
		if err == nil && strings.TrimSpace(out) != fmt.Sprint(storeDomains*storeStates) {
			err = fmt.Errorf("the mounted store shows %s states", strings.TrimSpace(out))
		}
		if err != nil {
			return err
		}
		memory, err = b.peak("vmsync mount")
		return err
	}, "--store", manyStore)
	if err != nil {
		return nil, err
	}
	what := fmt.Sprintf("mount a store of %d domains with %d states each", storeDomains, storeStates)
	return []row{
		row{what: what, ours: fmt.Sprintf("%v", got[0].wall.Round(time.Millisecond))}.atMost("%.0f ms", float64(got[0].wall.Milliseconds()), 300),
		row{what: what + ", and list all states: memory", ours: fmt.Sprintf("%d MiB", memory/mib)}.atMost("%.0f MiB", float64(memory)/mib, 64),
	}, nil
}

// peak is the most memory that the process of hostb with this in its command line has
// taken, in bytes.
func (b *bench) peak(process string) (int64, error) {
	pids, err := b.hostb.Pids(b.ctx, process)
	if err != nil || len(pids) == 0 {
		return 0, fmt.Errorf("no process %q: %w", process, err)
	}
	status, err := os.ReadFile(b.hostb.Path(fmt.Sprintf("/proc/%d/status", pids[0])))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscan(rest, &kib)
	return kib << 10, err
}

// makeStore makes replicas whose states have no images: a manifest of each is all that a
// mount may look at.
func makeStore(dir string) error {
	for d := range storeDomains {
		domain := fmt.Sprintf("domain-%02d", d)
		folder, err := store.Lock(dir, domain)
		if err != nil {
			return err
		}
		err = fillManifest(folder, domain)
		if err := errors.Join(err, folder.Unlock()); err != nil {
			return err
		}
	}
	return nil
}

func fillManifest(folder *store.Folder, domain string) error {
	m, err := folder.Create(domain)
	if err != nil {
		return err
	}
	for g := int64(1); g <= storeStates; g++ {
		at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(g) * time.Hour)
		m.LastGeneration = g
		img := store.Image{Name: store.ImageName("vda", g), Disk: "vda", Size: 100 * gib}
		s := store.State{ID: m.StateID(at, g), Generation: g, Checkpoint: fmt.Sprintf("vmsync-%s-%d", m.Pair, g), Time: at,
			Kind: "incremental", Consistency: "filesystem", DomainXML: store.XMLName(g)}
		if g > 1 {
			img.Backing = store.ImageName("vda", g-1)
		} else {
			s.Kind = "full"
		}
		s.Disks = []store.Disk{{Name: "vda", Size: img.Size, Image: img.Name}}
		m.Images, m.States = append(m.Images, img), append(m.States, s)
		if err := folder.WriteFile(s.DomainXML, []byte("<domain/>")); err != nil {
			return err
		}
	}
	return folder.Save(m)
}
