// Package metrics serves figures of the service to Prometheus: how each replica stands, what
// its syncs came to, and what stores hold. docs/METRICS.md lists them all.
//
// Figures that say how things stand are taken from the service when they are asked for, all
// at the same moment; machines that it no longer has disappear with that. Counters and
// histograms are of runs that ended since the service began; the run's id is their exemplar,
// where OpenMetrics is asked for. Labels are names of the configuration, of machines, and
// words of vmsync's own: whatever a source says, there are only so many.
//
// The package must never hold up the service: not its loop, which is asked for one look and
// waited for so long, and not its runs. What it serves says names of machines and nothing of
// what is in them; it changes nothing.
package metrics
