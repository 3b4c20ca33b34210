package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"vmsync/internal/api"
	"vmsync/internal/schedule"
)

// healths are those that a replica may have.
var healths = []api.Health{schedule.Healthy, schedule.AtRisk, schedule.Broken, api.Paused}

var machineLabels = []string{"domain", "source"}

// Figures of a machine.
var (
	ageDesc     = desc("vmsync_replica_age_seconds", "How long ago the replica held what the source had: since the sync began that made its newest state, or a later one that found nothing changed. Not there while there is no replica.", machineLabels...)
	freshDesc   = desc("vmsync_replica_fresh_timestamp_seconds", "When the replica held what the source had, from which its age counts.", machineLabels...)
	rpoDesc     = desc("vmsync_rpo_seconds", "How old the replica may get.", machineLabels...)
	healthDesc  = desc("vmsync_replica_health", "1 for what the replica's health is, 0 for what it is not: ok, at-risk (it will be too old before the next sync has ended, as it looks), broken (it is too old, or there is none) or paused.", append(machineLabels, "health")...)
	lastDesc    = desc("vmsync_last_sync_timestamp_seconds", "When the last sync ended, whatever came of it.", machineLabels...)
	goodDesc    = desc("vmsync_last_success_timestamp_seconds", "When the last sync began that did not fail. It may have found too little changed for a new state.", machineLabels...)
	tookDesc    = desc("vmsync_last_sync_duration_seconds", "How long the last sync took, whatever came of it.", machineLabels...)
	failsDesc   = desc("vmsync_consecutive_failures", "Syncs that failed since the last one that did not.", machineLabels...)
	runningDesc = desc("vmsync_running", "1 while a sync is under way, 0 otherwise.", machineLabels...)
	waitingDesc = desc("vmsync_waiting_seconds", "How long a sync that is due has been waiting for its turn; 0 if none is.", machineLabels...)
	statesDesc  = desc("vmsync_states", "States that the store holds. Only where it is on the service's host.", machineLabels...)
	bytesDesc   = desc("vmsync_store_bytes", "Bytes that the images of the replica's states take on disk. Only where it is on the service's host.", machineLabels...)
)

// Figures of sources, stores, and the service.
var (
	upDesc    = desc("vmsync_source_up", "1 if the source answers, 0 if it does not.", "source")
	seenDesc  = desc("vmsync_source_listed_timestamp_seconds", "When the source's machines were last listed.", "source")
	sizeDesc  = desc("vmsync_store_filesystem_size_bytes", "Size of the file system that a store is on. Only where it is on the service's host.", "store")
	availDesc = desc("vmsync_store_filesystem_avail_bytes", "Bytes that are free for the service in the file system that a store is on. Only where it is on the service's host.", "store")
	buildDesc = desc("vmsync_build_info", "1, with the version of the program that serves.", "version")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// standing collects how everything stood at one moment.
type standing struct {
	status *api.Status
	now    time.Time // of the moment
}

// Describe implements [prometheus.Collector].
func (standing) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{ageDesc, freshDesc, rpoDesc, healthDesc, lastDesc, goodDesc, tookDesc, failsDesc, runningDesc, waitingDesc,
		statesDesc, bytesDesc, upDesc, seenDesc, sizeDesc, availDesc, buildDesc} {
		out <- d
	}
}

// Collect implements [prometheus.Collector].
func (s standing) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	moment := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixMilli())/1000, labels...)
		}
	}
	gauge(buildDesc, 1, s.status.Version)
	for _, src := range s.status.Sources {
		if src.Error != "" || !src.Listed.IsZero() { // somebody has tried
			gauge(upDesc, number(src.Error == ""), src.Name)
		}
		moment(seenDesc, src.Listed, src.Name)
	}
	for i := range s.status.Machines {
		s.machine(&s.status.Machines[i], gauge, moment)
	}
	for _, st := range s.status.Stores {
		gauge(sizeDesc, float64(st.Size), st.Path)
		gauge(availDesc, float64(st.Avail), st.Path)
	}
}

func (s standing) machine(m *api.Machine, gauge func(*prometheus.Desc, float64, ...string), moment func(*prometheus.Desc, time.Time, ...string)) {
	who := []string{m.Name, m.Source}
	if m.Age != nil {
		gauge(ageDesc, max(*m.Age, 0), who...)
	}
	moment(freshDesc, m.Fresh, who...)
	gauge(rpoDesc, m.RPO, who...)
	for _, h := range healths {
		gauge(healthDesc, number(m.Health == h), m.Name, m.Source, string(h))
	}
	if m.Last != nil {
		moment(lastDesc, m.Last.Ended, who...)
		gauge(tookDesc, m.Last.Duration(s.now).Seconds(), who...)
	}
	moment(goodDesc, m.Tried, who...)
	gauge(failsDesc, float64(m.Failures), who...)
	gauge(runningDesc, number(m.Running != nil), who...)
	gauge(waitingDesc, m.Waiting, who...)
	if m.States != nil {
		gauge(statesDesc, float64(*m.States), who...)
	}
	if m.Size != nil {
		gauge(bytesDesc, float64(*m.Size), who...)
	}
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
