package config

import "maps"

// merge lays settings over others. Keys that only make sense together go together: a new
// schedule takes a promise away that was made for the old one.
func merge(under, over *settings) *settings {
	m := *under
	m.layer, m.here, m.at = over.layer, over.here, map[string]placed{}
	maps.Copy(m.at, under.at)
	maps.Copy(m.at, over.at)

	if over.every != nil || over.cron != nil || over.rpo != nil {
		m.every, m.cron, m.rpo, m.maxAge = over.every, over.cron, over.rpo, nil
	}
	lay(&m.maxAge, over.maxAge)
	lay(&m.minChanged, over.minChanged)
	lay(&m.minChangedMaxAge, over.minChangedMaxAge)
	if over.minChanged != nil && *over.minChanged == 0 {
		m.minChangedMaxAge = over.minChangedMaxAge
	}

	lay(&m.keep, over.keep)
	lay(&m.store, over.store)
	lay(&m.targetDomain, over.targetDomain)
	lay(&m.compress, over.compress)
	lay(&m.transport, over.transport)
	lay(&m.rate, over.rate)
	if over.disks != nil || over.excludeDisks != nil {
		m.disks, m.excludeDisks = over.disks, over.excludeDisks
	}

	lay(&m.quiesce, over.quiesce)
	if over.quiesce != nil && *over.quiesce == QuiesceNo {
		m.freezeMountpoints = nil
	}
	layList(&m.freezeMountpoints, over.freezeMountpoints)
	layList(&m.before, over.before)
	layList(&m.afterCheckpoint, over.afterCheckpoint)
	layList(&m.after, over.after)
	layList(&m.notify, over.notify)
	lay(&m.group, over.group)
	return &m
}

func lay[T any](under **T, over *T) {
	if over != nil {
		*under = over
	}
}

func layList[T any](under *[]T, over []T) {
	if over != nil {
		*under = over
	}
}
