package target_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"vmsync/internal/store"
	"vmsync/replicator/target"
)

// inSets says of each state of a replica which set of a group of two it belongs to, "" for
// none, and keeps that.
func inSets(t *testing.T, dir string, m store.Manifest, sets ...string) {
	t.Helper()
	f, err := store.Lock(dir, m.TargetDomain)
	if err != nil {
		t.Fatal(err)
	}
	m.States = slices.Clone(m.States)
	for i, set := range sets {
		m.States[i].Group = nil
		if set != "" {
			m.States[i].Group = &store.Group{ID: strings.Repeat(set, 12), Name: "shop", Members: []string{"vm1", "web"}}
		}
	}
	if err := errors.Join(f.Save(&m), f.Unlock()); err != nil {
		t.Fatal(err)
	}
}

func TestLastSetThatIsCompleteStays(t *testing.T) {
	r := makeReplica(t, 6)
	web := *r.m
	web.TargetDomain = "web"
	inSets(t, r.dir, *r.m, "", "a", "b", "c", "d", "")
	inSets(t, r.dir, web, "a", "b", "", "", "", "")
	r.reload(t)
	doomed, err := target.Doomed(r.dir, r.m, "2")
	if err != nil || !slices.Equal(doomed, []int64{1, 2, 4}) {
		t.Errorf("foretold: %v, %v", doomed, err)
	}
	removed, err := r.administer(t).Prune(t.Context(), "2")
	if err != nil || len(removed.Warnings)+len(removed.Held) > 0 || len(removed.States) != 3 {
		t.Fatalf("%+v, %v", removed, err)
	}
	r.reload(t)
	if got := r.generations(); !slices.Equal(got, []int64{3, 5, 6}) {
		t.Errorf("left are %v", got)
	}
	r.reads(t, r.m.States...)
	r.isTidy(t)

	// A newer one that is complete takes its place.
	inSets(t, r.dir, web, "b", "d", "", "", "", "")
	doomed, err = target.Doomed(r.dir, r.m, "2")
	if err != nil || !slices.Equal(doomed, []int64{3}) {
		t.Errorf("with a newer set: %v, %v", doomed, err)
	}
}
