package target

import (
	"context"
	"path/filepath"
	"slices"
	"time"

	"vmsync/internal/retention"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// retain takes off the list the states that the replica's policy does not keep. It
// returns, in words, those that somebody uses and that therefore stay for now.
func (t *Target) retain(ctx context.Context) ([]string, error) {
	policy, err := policyOf(t.manifest)
	if err != nil {
		return nil, t.fail(replicator.KindStore, "apply the keep policy", "", "", err)
	}
	held, err := t.unlist(ctx, surplus(t.storeDir(), t.manifest, policy))
	if err != nil || len(held) == 0 {
		return nil, err
	}
	return []string{held.Err().Error()}, nil
}

// policyOf reads the policy of a manifest.
func policyOf(m *store.Manifest) (retention.Policy, error) {
	if m.Keep == "" {
		return retention.Policy{}, nil
	}
	return retention.Parse(m.Keep)
}

// storeDir is the store that the replica is in.
func (t *Target) storeDir() string { return filepath.Dir(t.folder.Dir()) }

// surplus lists the generations that may go by a policy. The newest state of a set that is
// complete stays, whatever the others of the group came to since: a machine that fails for
// long must not cost the rest the last moment that fits together.
func surplus(storeDir string, m *store.Manifest, policy retention.Policy) []int64 {
	all := unkept(m, policy)
	if !slices.ContainsFunc(all, func(g int64) bool { return m.State(g).Group != nil }) {
		return all
	}
	whole := store.LastWhole(storeDir, m)
	return slices.DeleteFunc(all, func(g int64) bool { return whole != nil && g == whole.Generation })
}

// unkept lists the generations that a policy does not keep. The newest state that is
// not known to be damaged stays in any case, and so does the head.
func unkept(m *store.Manifest, policy retention.Policy) []int64 {
	times := make([]time.Time, len(m.States))
	for i, s := range m.States {
		times[i] = s.Time
	}
	sound := m.Sound()
	var all []int64
	for i, keep := range policy.Keep(times, time.UTC) {
		if s := &m.States[i]; !keep && s != m.Head() && (sound == nil || s.Generation != sound.Generation) {
			all = append(all, s.Generation)
		}
	}
	return all
}

// unlist takes states off the list unless somebody uses them, which it returns.
func (t *Target) unlist(ctx context.Context, generations []int64) (store.Held, error) {
	if len(generations) == 0 {
		return nil, nil
	}
	m := *t.manifest
	held, err := t.folder.Unlist(ctx, &m, generations...)
	if err != nil {
		return nil, t.storeError("take states off the list", "", err)
	}
	t.manifest = &m
	return held, nil
}
