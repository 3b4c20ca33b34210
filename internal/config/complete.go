package config

import (
	"maps"
	"slices"
	"time"

	"vmsync/internal/transport"
	"vmsync/internal/units"
)

// base are the settings that hold where no layer says otherwise.
func base(store string, notifications map[string]Notification) *settings {
	compress, name := "auto", "{domain}"
	way, quiesce, group := transport.Auto, QuiescePreferred, none
	return &settings{
		store: &store, targetDomain: &name, compress: &compress, transport: &way, quiesce: &quiesce, group: &group, rate: &Rate{},
		notify: slices.Sorted(maps.Keys(notifications)),
	}
}

// complete makes a policy of merged settings, for a machine by the name in the layer. What
// contradicts each other is told of at the key, or at the layer.
func (v *settings) complete(f *findings) Policy {
	p := Policy{
		Store:        *v.store,
		TargetDomain: *v.targetDomain,
		Disks:        v.disks,
		ExcludeDisks: v.excludeDisks,
		Compress:     *v.compress,
		Transport:    *v.transport,
		Rate:         *v.rate,

		Quiesce:           *v.quiesce,
		FreezeMountpoints: v.freezeMountpoints,
		Before:            v.before,
		AfterCheckpoint:   v.afterCheckpoint,
		After:             v.after,

		Notify: v.notify,
	}
	if v.keep != nil {
		p.Keep = *v.keep
	}
	if *v.group != none {
		p.Group = *v.group
	}
	v.minimum(&p, f)
	v.schedule(&p, f)
	return p
}

// minimum fills in how much must have changed.
func (v *settings) minimum(p *Policy, f *findings) {
	if v.minChanged == nil || *v.minChanged == 0 {
		if v.minChangedMaxAge != nil {
			f.add(v.place("min_changed_max_age", "min_changed"), "min_changed_max_age is for min_changed, which is not given: give it too, or remove this")
		}
		return
	}
	p.MinChanged = *v.minChanged
	switch {
	case v.rpo != nil:
		f.add(v.place("min_changed", "rpo"), "min_changed lets runs wait, and rpo does not: use every or cron instead of rpo, or min_changed: 0")
	case v.minChangedMaxAge == nil:
		f.add(v.place("min_changed"), "min_changed needs min_changed_max_age: say how long runs may wait for so many changes")
	case v.every != nil && *v.minChangedMaxAge <= *v.every:
		f.add(v.place("min_changed_max_age", "every"), "min_changed_max_age %s is not more than every %s, and no run would ever wait: give more",
			units.FormatDuration(*v.minChangedMaxAge), units.FormatDuration(*v.every))
	default:
		p.MinChangedMaxAge = *v.minChangedMaxAge
	}
}

// schedule fills in when runs are due and what is promised.
func (v *settings) schedule(p *Policy, f *findings) {
	var longest time.Duration // that the schedule itself lets a replica get old
	switch {
	case v.every != nil:
		p.Schedule.Every = *v.every
		longest = *v.every + p.MinChangedMaxAge
		p.Schedule.MaxAge = 2**v.every + p.MinChangedMaxAge
	case v.cron != nil:
		p.Schedule.Cron = *v.cron
		longest = p.MinChangedMaxAge
	case v.rpo != nil:
		p.Schedule.RPO, p.Schedule.MaxAge = *v.rpo, *v.rpo
		if v.maxAge != nil {
			f.add(v.place("max_age"), "max_age: rpo says already how old the replica may be: remove max_age")
		}
		return
	default:
		f.add(v.here, "it has no schedule: give every, cron or rpo, here or in defaults")
		return
	}
	if v.maxAge == nil {
		return
	}
	p.Schedule.MaxAge = *v.maxAge
	if *v.maxAge <= longest {
		f.add(v.place("max_age", "min_changed_max_age"), "max_age %s would be broken before the next run: give more than %s",
			units.FormatDuration(*v.maxAge), units.FormatDuration(longest))
	}
}

// place is where what several keys say together is told of: at the one in the uppermost
// layer, which is what made it wrong.
func (v *settings) place(keys ...string) position {
	best := placed{position: v.here, rank: -1}
	for _, key := range keys {
		if at, ok := v.at[key]; ok && at.rank > best.rank {
			best = at
		}
	}
	return best.position
}
