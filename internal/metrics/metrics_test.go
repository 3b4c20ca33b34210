package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
)

// world is a service that tells what a test says.
type world struct {
	status api.Status
	err    error
	hangs  bool
}

func (w *world) standing(ctx context.Context) (*api.Status, error) {
	if w.hangs {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	}
	st := w.status
	return &st, w.err
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// machine is one that is well, and was synced at noon.
func machine(name string) api.Machine {
	age := 61.5
	return api.Machine{Name: name, Source: "hosta", TargetDomain: name, Store: "/store", Health: schedule.Healthy, Doing: api.Idle,
		Fresh: noon, Age: &age, Tried: noon, RPO: 1800, Last: ran(name, history.Succeeded)}
}

// ran is a run that began at noon.
func ran(name string, o history.Outcome) *history.Run {
	r := &history.Run{ID: "4f1c09ab77d2", Machine: history.Key("hosta", name), Domain: name, Source: "hosta", Began: noon,
		Ended: noon.Add(2500 * time.Millisecond), Outcome: o, Waited: 7}
	if o == history.Succeeded {
		r.Kind, r.Changed, r.Zero, r.Sent, r.Frozen = "incremental", 1000, 200, 300, 0.03
	}
	return r
}

func well() *world {
	return &world{status: api.Status{Version: "1.0", Machines: []api.Machine{machine("vm1")},
		Sources: []api.Source{{Name: "hosta", Listed: noon}, {Name: "hostb", Error: "no route to host"}, {Name: "hostc"}}}}
}

// hold has the store hold so many states of vm1, of so many bytes.
func (w *world) hold(states int, bytes int64) {
	w.status.Machines[0].States, w.status.Machines[0].Size = &states, &bytes
	w.status.Stores = []api.Store{{Path: "/store", Size: 100, Avail: 10}}
}

// scrape asks for the figures, as Prometheus does.
func scrape(t *testing.T, m *Metrics, accept string) *httptest.ResponseRecorder {
	t.Helper()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, req)
	return w
}

// figures are what a scrape in text says.
func figures(t *testing.T, m *Metrics) map[string]float64 {
	t.Helper()
	w := scrape(t, m, "text/plain")
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return numbers(families(t, w.Body))
}

func families(t *testing.T, r io.Reader) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	all, err := parser.TextToMetricFamilies(r)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// numbers are counters and gauges, by name and labels: vmsync_running{domain=vm1,source=hosta}.
func numbers(all map[string]*dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for name, f := range all {
		for _, m := range f.Metric {
			var labels []string
			for _, l := range m.Label {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.Counter != nil:
				out[key] = m.Counter.GetValue()
			case m.Gauge != nil:
				out[key] = m.Gauge.GetValue()
			case m.Histogram != nil:
				out[key+" count"] = float64(m.Histogram.GetSampleCount())
				out[key+" sum"] = m.Histogram.GetSampleSum()
			}
		}
	}
	return out
}

// says checks figures; none in want says that there must be no such.
func says(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		v, there := got[name]
		if value == none {
			if there {
				t.Errorf("%s is %v, and should not be there", name, v)
			}
			continue
		}
		if !there || v != value {
			t.Errorf("%s is %v (there: %v), want %v", name, v, there, value)
		}
	}
}

const none = -1

func TestFiguresSayWhatTheStatusSays(t *testing.T) {
	w := well()
	m := New(w.standing)
	const vm1 = "{domain=vm1,source=hosta}"
	health := func(h string) string { return "vmsync_replica_health{domain=vm1,health=" + h + ",source=hosta}" }
	stamp := float64(noon.Unix())
	says(t, figures(t, m), map[string]float64{
		"vmsync_build_info{version=1.0}": 1,
		"vmsync_source_up{source=hosta}": 1, "vmsync_source_up{source=hostb}": 0, "vmsync_source_up{source=hostc}": none,
		"vmsync_source_listed_timestamp_seconds{source=hosta}": stamp, "vmsync_source_listed_timestamp_seconds{source=hostb}": none,
		"vmsync_replica_age_seconds" + vm1: 61.5, "vmsync_replica_fresh_timestamp_seconds" + vm1: stamp, "vmsync_rpo_seconds" + vm1: 1800,
		health("ok"): 1, health("at-risk"): 0, health("broken"): 0, health("paused"): 0,
		"vmsync_last_sync_timestamp_seconds" + vm1: stamp + 2.5, "vmsync_last_sync_duration_seconds" + vm1: 2.5,
		"vmsync_last_success_timestamp_seconds" + vm1: stamp, "vmsync_consecutive_failures" + vm1: 0,
		"vmsync_running" + vm1: 0, "vmsync_waiting_seconds" + vm1: 0, "vmsync_states" + vm1: none, "vmsync_store_bytes" + vm1: none,
		"vmsync_store_filesystem_size_bytes{store=/store}": none,
	})
	w.hold(3, 4096)
	says(t, figures(t, m), map[string]float64{"vmsync_states" + vm1: 3, "vmsync_store_bytes" + vm1: 4096,
		"vmsync_store_filesystem_size_bytes{store=/store}": 100, "vmsync_store_filesystem_avail_bytes{store=/store}": 10})

	never := &w.status.Machines[0]
	*never = api.Machine{Name: "vm1", Source: "hosta", Health: schedule.Broken, RPO: 30, Failures: 3, Waiting: 4.25, Running: &api.Running{ID: "x"}}
	says(t, figures(t, m), map[string]float64{
		"vmsync_replica_age_seconds" + vm1: none, "vmsync_replica_fresh_timestamp_seconds" + vm1: none, "vmsync_rpo_seconds" + vm1: 30,
		health("ok"): 0, health("broken"): 1, "vmsync_last_sync_timestamp_seconds" + vm1: none, "vmsync_last_success_timestamp_seconds" + vm1: none,
		"vmsync_consecutive_failures" + vm1: 3, "vmsync_running" + vm1: 1, "vmsync_waiting_seconds" + vm1: 4.25,
	})
}

func TestRunsAreCounted(t *testing.T) {
	m := New(well().standing)
	syncs := func(o string) string { return "vmsync_syncs_total{domain=vm1,outcome=" + o + ",source=hosta}" }
	sent := func(kind string) string {
		return "vmsync_sync_bytes_total{domain=vm1,kind=" + kind + ",source=hosta}"
	}
	fault := func(kind string) string {
		return "vmsync_sync_errors_total{domain=vm1,kind=" + kind + ",source=hosta}"
	}
	// What has not happened yet is 0, so that the first time is an increase.
	says(t, figures(t, m), map[string]float64{syncs("succeeded"): 0, syncs("unchanged"): 0, syncs("failed"): 0, syncs("aborted"): 0,
		sent("changed"): 0, sent("zero"): 0, sent("sent"): 0})

	failed, untidy, aborted := ran("vm1", history.Failed), ran("vm1", history.Succeeded), ran("vm1", history.Aborted)
	failed.Error = &history.RunError{Kind: "no-space"}
	untidy.Error, untidy.Frozen, untidy.Kind = &history.RunError{Kind: "agent-lost"}, 0, "full"
	aborted.Error = &history.RunError{Kind: "canceled"}
	for _, r := range []*history.Run{ran("vm1", history.Succeeded), ran("vm1", history.Unchanged), failed, untidy, aborted} {
		m.Ended(r)
	}
	says(t, figures(t, m), map[string]float64{
		syncs("succeeded"): 2, syncs("unchanged"): 1, syncs("failed"): 1, syncs("aborted"): 1,
		sent("changed"): 2000, sent("zero"): 400, sent("sent"): 600,
		fault("no-space"): 1, fault("agent-lost"): 1, fault("canceled"): none,
		"vmsync_sync_duration_seconds{kind=incremental,source=hosta} count": 1,
		"vmsync_sync_duration_seconds{kind=incremental,source=hosta} sum":   2.5,
		"vmsync_sync_duration_seconds{kind=full,source=hosta} count":        1,
		"vmsync_guest_frozen_seconds{source=hosta} count":                   1,
		"vmsync_guest_frozen_seconds{source=hosta} sum":                     0.03,
		"vmsync_sync_wait_seconds{source=hosta} count":                      5,
		"vmsync_sync_wait_seconds{source=hosta} sum":                        35,
	})
}

func TestRunIsTheExemplarOfWhatItCameTo(t *testing.T) {
	m := New(well().standing)
	m.Ended(ran("vm1", history.Succeeded))
	text := scrape(t, m, "application/openmetrics-text;version=1.0.0").Body.String()
	const exemplar = `# {run_id="4f1c09ab77d2"} `
	for _, line := range []string{
		`vmsync_syncs_total{domain="vm1",outcome="succeeded",source="hosta"} 1.0 ` + exemplar + "1.0",
		`vmsync_sync_bytes_total{domain="vm1",kind="sent",source="hosta"} 300.0 ` + exemplar + "300.0",
		`vmsync_sync_duration_seconds_bucket{kind="incremental",source="hosta",le="5.0"} 1 ` + exemplar + "2.5",
		`vmsync_guest_frozen_seconds_bucket{source="hosta",le="0.05"} 1 ` + exemplar + "0.03",
		`vmsync_sync_wait_seconds_bucket{source="hosta",le="15.0"} 1 ` + exemplar + "7.0",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if plain := scrape(t, m, "text/plain").Body.String(); strings.Contains(plain, "run_id") {
		t.Error("the plain format has exemplars")
	}
}

func TestNativeHistogramsAreThereForThoseWhoAsk(t *testing.T) {
	m := New(well().standing)
	m.Ended(ran("vm1", history.Succeeded))
	w := scrape(t, m, string(expfmt.NewFormat(expfmt.TypeProtoDelim)))
	dec := expfmt.NewDecoder(w.Body, expfmt.Format(w.Header().Get("Content-Type")))
	for {
		var f dto.MetricFamily
		if err := dec.Decode(&f); err != nil {
			t.Fatalf("no native histogram: %v", err)
		}
		if f.GetName() == "vmsync_sync_duration_seconds" {
			if h := f.Metric[0].Histogram; len(h.PositiveSpan) == 0 || len(h.Bucket) == 0 {
				t.Errorf("%v", h)
			}
			return
		}
	}
}

func TestMachineThatLeavesIsGoneAfterItsLastRunWasTold(t *testing.T) {
	w := well()
	w.status.Machines = append(w.status.Machines, machine("vm2"))
	m := New(w.standing)
	of := func(f map[string]float64) (n int) {
		for name := range f {
			if strings.Contains(name, "domain=vm2") {
				n++
			}
		}
		return n
	}
	if of(figures(t, m)) == 0 {
		t.Fatal("vm2 has no figures")
	}
	w.status.Machines = w.status.Machines[:1]
	m.Ended(ran("vm2", history.Succeeded)) // its run was under way when it left
	last := figures(t, m)
	says(t, last, map[string]float64{"vmsync_syncs_total{domain=vm2,outcome=succeeded,source=hosta}": 1, "vmsync_rpo_seconds{domain=vm2,source=hosta}": none})
	after := figures(t, m)
	if n := of(after); n > 0 {
		t.Errorf("%d figures of vm2 are left", n)
	}
	says(t, after, map[string]float64{"vmsync_syncs_total{domain=vm1,outcome=succeeded,source=hosta}": 0})
}

func TestKindsOfErrorsAreBounded(t *testing.T) {
	m := New(well().standing)
	for i := range 10 * maxKinds {
		r := ran("vm1", history.Failed)
		r.Error = &history.RunError{Kind: fmt.Sprint("kind-", i)}
		m.Ended(r)
	}
	n := 0
	all := figures(t, m)
	for name := range all {
		if strings.HasPrefix(name, "vmsync_sync_errors_total") {
			n++
		}
	}
	if n != maxKinds+1 {
		t.Errorf("%d kinds of errors", n)
	}
	says(t, all, map[string]float64{"vmsync_sync_errors_total{domain=vm1,kind=other,source=hosta}": 9 * maxKinds})
}

func TestServiceThatDoesNotAnswerGivesNoFigures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := well()
		w.hangs = true
		began := time.Now()
		got := scrape(t, New(w.standing), "text/plain")
		if took := time.Since(began); got.Code != http.StatusServiceUnavailable || took != standPatience || !strings.Contains(got.Body.String(), "journalctl -u vmsync") {
			t.Errorf("%d after %s: %s", got.Code, took, got.Body)
		}
	})
	w := well()
	w.err = errors.New("the service ends")
	if got := scrape(t, New(w.standing), "text/plain"); got.Code != http.StatusServiceUnavailable || got.Body.String() != "the service ends\n" {
		t.Errorf("%d %s", got.Code, got.Body)
	}
}

func TestScrapesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := well()
		w.hangs = true
		h := New(w.standing).Handler(slog.New(slog.DiscardHandler))
		var codes []int
		done := make(chan int)
		for range maxScrapes + 1 {
			go func() {
				got := httptest.NewRecorder()
				h.ServeHTTP(got, httptest.NewRequest(http.MethodGet, "/metrics", nil))
				if got.Body.Len() > 0 && strings.Contains(got.Body.String(), "under way already") {
					done <- http.StatusTooManyRequests
					return
				}
				done <- got.Code
			}()
		}
		for range maxScrapes + 1 {
			codes = append(codes, <-done)
		}
		if codes[0] != http.StatusTooManyRequests || slices.Contains(codes[1:], http.StatusTooManyRequests) {
			t.Errorf("%v", codes)
		}
	})
}

func TestFiguresAreWellFormed(t *testing.T) {
	checks := prometheus.NewPedanticRegistry()
	w := well()
	m := New(w.standing)
	m.Ended(ran("vm1", history.Succeeded))
	w.hold(3, 4096)
	checks.MustRegister(standing{status: &w.status, now: noon})
	checks.MustRegister(m.runs.collectors()...)
	if _, err := checks.Gather(); err != nil {
		t.Error(err)
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = scrape(t, everything(t), "text/plain").Body
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// everything has at least one figure of each name.
func everything(t *testing.T) *Metrics {
	t.Helper()
	w := well()
	w.hold(3, 4096)
	m := New(w.standing)
	failed := ran("vm1", history.Failed)
	failed.Error = &history.RunError{Kind: "no-space"}
	m.Ended(failed)
	m.Ended(ran("vm1", history.Succeeded))
	return m
}
