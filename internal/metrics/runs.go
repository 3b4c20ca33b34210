package metrics

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"vmsync/internal/history"
)

// Outcomes that a run of a living service may have.
var outcomes = []history.Outcome{history.Succeeded, history.Unchanged, history.Failed, history.Aborted}

// Kinds of bytes.
const (
	bytesChanged = "changed"
	bytesZero    = "zero"
	bytesSent    = "sent"
)

// maxKinds is how many kinds of errors are told apart. They come from agents, too.
const (
	maxKinds  = 100
	otherKind = "other"
)

// key is a machine's labels.
type key struct{ domain, source string }

// runs counts what runs came to. Its methods may be called from several goroutines.
type runs struct {
	syncs    *prometheus.CounterVec   // by machine, outcome
	errors   *prometheus.CounterVec   // by machine, kind
	bytes    *prometheus.CounterVec   // by machine, kind
	duration *prometheus.HistogramVec // by source, kind
	frozen   *prometheus.HistogramVec // by source
	wait     *prometheus.HistogramVec // by source

	mu       sync.Mutex      // also held while counters come, grow and go
	machines map[key]bool    // that have counters
	kinds    map[string]bool // of errors, that were seen
}

func newRuns() *runs {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	// Beside the buckets there are native histograms, for those who ask for them.
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 160}, labels)
	}
	return &runs{
		syncs:  counter("vmsync_syncs_total", "Syncs that have ended, by outcome: succeeded (a new state), unchanged (too little had changed for one), failed, or aborted (given up because the service ended).", "domain", "source", "outcome"),
		errors: counter("vmsync_sync_errors_total", "Errors of syncs, by kind. A sync that stored its state and could not tidy up counts here as well.", "domain", "source", "kind"),
		bytes:  counter("vmsync_sync_bytes_total", "Bytes of syncs that made a state: changed are those of changed extents, zero those of them that read as zeros, sent those that went over the network.", "domain", "source", "kind"),
		duration: histogram("vmsync_sync_duration_seconds", "How long syncs took that made a state, by kind: full, incremental, resync or mixed.",
			[]float64{1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 12 * 3600}, "source", "kind"),
		frozen: histogram("vmsync_guest_frozen_seconds", "How long guests were frozen by syncs that froze them.",
			[]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}, "source"),
		wait: histogram("vmsync_sync_wait_seconds", "How long syncs that were due waited for their turn, because so many others were under way.",
			[]float64{0.1, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600}, "source"),
		machines: map[key]bool{}, kinds: map[string]bool{},
	}
}

func (r *runs) collectors() []prometheus.Collector {
	return []prometheus.Collector{r.syncs, r.errors, r.bytes, r.duration, r.frozen, r.wait}
}

// ended counts a run that has ended.
func (r *runs) ended(run *history.Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := key{run.Domain, run.Source}
	r.enroll(k)
	id := prometheus.Labels{"run_id": run.ID}
	add := func(c *prometheus.CounterVec, kind string, n float64) {
		c.WithLabelValues(k.domain, k.source, kind).(prometheus.ExemplarAdder).AddWithExemplar(max(n, 0), id)
	}
	observe := func(h prometheus.Observer, seconds float64) {
		h.(prometheus.ExemplarObserver).ObserveWithExemplar(max(seconds, 0), id)
	}
	add(r.syncs, string(run.Outcome), 1)
	if run.Error != nil && run.Outcome != history.Aborted {
		add(r.errors, r.kind(run.Error.Kind), 1)
	}
	observe(r.wait.WithLabelValues(k.source), run.Waited)
	if run.Outcome != history.Succeeded {
		return
	}
	add(r.bytes, bytesChanged, float64(run.Changed))
	add(r.bytes, bytesZero, float64(run.Zero))
	add(r.bytes, bytesSent, float64(run.Sent))
	observe(r.duration.WithLabelValues(k.source, run.Kind), run.Duration(run.Ended).Seconds())
	if run.Frozen > 0 {
		observe(r.frozen.WithLabelValues(k.source), run.Frozen)
	}
}

// begin has a machine's counters be there, at 0: a counter that begins at 1 has not
// increased for Prometheus.
func (r *runs) begin(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.enroll(k)
}

// enroll is begin; the lock is held.
func (r *runs) enroll(k key) {
	if r.machines[k] {
		return
	}
	r.machines[k] = true
	for _, o := range outcomes {
		r.syncs.WithLabelValues(k.domain, k.source, string(o))
	}
	for _, kind := range []string{bytesChanged, bytesZero, bytesSent} {
		r.bytes.WithLabelValues(k.domain, k.source, kind)
	}
}

// known are the machines that have counters.
func (r *runs) known() map[key]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[key]bool, len(r.machines))
	for k := range r.machines {
		all[k] = true
	}
	return all
}

// forget drops the counters of a machine that the service no longer has.
func (r *runs) forget(k key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.machines, k)
	for _, c := range []*prometheus.CounterVec{r.syncs, r.errors, r.bytes} {
		c.DeletePartialMatch(prometheus.Labels{"domain": k.domain, "source": k.source})
	}
}

// kind is an error's kind, or another word where there are too many. The lock is held.
func (r *runs) kind(kind string) string {
	if kind == "" || (!r.kinds[kind] && len(r.kinds) >= maxKinds) {
		return otherKind
	}
	r.kinds[kind] = true
	return kind
}
