package config

import (
	"strings"
	"time"

	"vmsync/internal/transport"
)

// settings are what one layer gives. What it does not give is nil.
type settings struct {
	layer Layer
	at    map[string]placed // of keys, those of lower layers included once merged
	here  position          // of the layer itself

	every, rpo, maxAge *time.Duration
	cron               **Cron

	minChanged       *int64
	minChangedMaxAge *time.Duration

	keep, store, targetDomain, compress *string
	disks, excludeDisks                 []string
	transport                           *transport.Transport
	rate                                *Rate

	quiesce           *Quiesce
	freezeMountpoints []string
	before, after     []Hook
	afterCheckpoint   []Hook

	notify []string
	group  *string
}

// placed is where a key is, and how far up its layer.
type placed struct {
	position
	rank int
}

// Ranks of layers.
const (
	rankDefaults = iota
	rankPattern
	rankExact
)

// Limits of schedules. Agents are pinged every 5s; nothing shorter makes sense to plan.
const (
	minEvery = 5 * time.Second
	minRPO   = time.Second
	maxAge   = 366 * day
)

// readSettings reads one layer.
func readSettings(s section, layer string, rank int) *settings {
	v := &settings{
		layer: Layer{layer, s.line},
		at:    map[string]placed{},
		here:  s.position,

		every:  one(s, "every", between(minEvery, maxAge)),
		rpo:    one(s, "rpo", between(minRPO, maxAge)),
		maxAge: one(s, "max_age", between(minRPO, maxAge)),
		cron:   one(s, "cron", ParseCron),

		minChanged:       one(s, "min_changed", size),
		minChangedMaxAge: one(s, "min_changed_max_age", between(minRPO, maxAge)),

		keep:         one(s, "keep", keep),
		store:        one(s, "store", absolute),
		targetDomain: one(s, "target_domain", replicaName),
		compress:     one(s, "compress", compression),
		disks:        many(s, "disks", disk),
		excludeDisks: many(s, "exclude_disks", disk),
		transport:    one(s, "transport", oneOf(transport.Auto, transport.Direct, transport.SSH)),
		rate:         readRate(s, "rate"),

		quiesce:           one(s, "quiesce", oneOf(QuiesceRequired, QuiescePreferred, QuiesceNo)),
		freezeMountpoints: many(s, "freeze_mountpoints", mountpoint),
		before:            readHooks(s, "before", Abort),
		afterCheckpoint:   readHooks(s, "after_checkpoint", Warn),
		after:             readHooks(s, "after", Warn),

		notify: many(s, "notify", name),
		group:  one(s, "group", name),
	}
	for key := range s.values {
		v.at[key] = placed{s.keys[key], rank}
	}
	v.checkAlone(s)
	return v
}

// checkAlone finds keys of one layer that contradict each other. Between layers the upper
// one decides.
func (v *settings) checkAlone(s section) {
	var first string
	for _, key := range []string{"every", "cron", "rpo"} {
		switch _, given := v.at[key]; {
		case given && first != "":
			s.f.add(s.keys[key], "%s and %s exclude each other: keep one of them", first, key)
		case given:
			first = key
		}
	}
	if v.rpo != nil && v.maxAge != nil {
		s.f.add(s.keys["max_age"], "max_age: rpo says already how old the replica may be: remove max_age")
	}
	if v.quiesce != nil && *v.quiesce == QuiesceNo && len(v.freezeMountpoints) > 0 {
		s.f.add(s.keys["freeze_mountpoints"], "freeze_mountpoints: with quiesce: no nothing is frozen: remove one of them")
	}
	if len(v.disks) > 0 && len(v.excludeDisks) > 0 {
		s.f.add(s.keys["exclude_disks"], "exclude_disks: disks says already which ones: remove one of them")
	}
}

// replicaName reads a name for replicas with {domain} and {source} in it.
func replicaName(text string) (string, error) {
	if _, err := machine(expand(text, "x", "x")); err != nil || isPattern(text) || strings.ContainsAny(expand(text, "", ""), "{}") {
		return "", errReplicaName(text)
	}
	return text, nil
}

// expand fills in what a replica's name is made of.
func expand(text, source, domain string) string {
	return strings.NewReplacer("{domain}", domain, "{source}", source).Replace(text)
}

// mountpoint reads one in the guest, whatever system it runs.
func mountpoint(text string) (string, error) {
	if letter := len(text) >= 2 && text[1] == ':' && (text[0]|0x20) >= 'a' && (text[0]|0x20) <= 'z'; letter && !strings.ContainsFunc(text, unprintable) {
		return text, nil
	}
	return absolute(text)
}
