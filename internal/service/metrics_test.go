package service

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
	"vmsync/internal/metrics"
	"vmsync/replicator"
)

// scrape asks a service for its metrics and returns the lines.
func scrape(t *testing.T, m *metrics.Metrics) []string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(slog.New(slog.DiscardHandler)).ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("%d %s", w.Code, w.Body)
	}
	return strings.Split(w.Body.String(), "\n")
}

func TestMetricsSayWhatTheServiceDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *running
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.took = 10 * time.Second
		w.fails["vm2"] = &replicator.Error{Kind: replicator.KindNoSpace, Domain: "vm2", Err: errors.New("the disk is full")}
		m := metrics.New(func(ctx context.Context) (*api.Status, error) { return s.Status(ctx) })
		w.ended = m.Ended
		s = serve(t, w, head+"concurrency: {total: 1}\nretry: {first: 1h, max: 1h}\nmachines: [{name: 'vm*', every: 1h}]\n")
		time.Sleep(15 * time.Second) // one has been synced, the other waited for its turn and is being synced
		syncing := 0
		for _, line := range scrape(t, m) {
			if line == `vmsync_running{domain="vm1",source="hosta"} 1` || line == `vmsync_running{domain="vm2",source="hosta"} 1` {
				syncing++
			}
		}
		if syncing != 1 {
			t.Errorf("%d machines are being synced", syncing)
		}
		time.Sleep(15 * time.Second)
		got := scrape(t, m)
		vm1 := s.status("vm1")
		for _, want := range []string{
			`vmsync_replica_age_seconds{domain="vm1",source="hosta"} ` + strconv.FormatFloat(*vm1.Age, 'g', -1, 64),
			`vmsync_rpo_seconds{domain="vm1",source="hosta"} 7200`,
			`vmsync_replica_health{domain="vm1",health="ok",source="hosta"} 1`,
			`vmsync_replica_health{domain="vm2",health="broken",source="hosta"} 1`,
			`vmsync_consecutive_failures{domain="vm2",source="hosta"} 1`,
			`vmsync_last_sync_duration_seconds{domain="vm1",source="hosta"} 10`,
			`vmsync_syncs_total{domain="vm1",outcome="succeeded",source="hosta"} 1`,
			`vmsync_syncs_total{domain="vm2",outcome="failed",source="hosta"} 1`,
			`vmsync_sync_errors_total{domain="vm2",kind="no-space",source="hosta"} 1`,
			`vmsync_sync_bytes_total{domain="vm1",kind="changed",source="hosta"} 7`,
			`vmsync_sync_wait_seconds_sum{source="hosta"} 10`,
			`vmsync_sync_wait_seconds_count{source="hosta"} 2`,
			`vmsync_source_up{source="hosta"} 1`,
		} {
			if !slices.Contains(got, want) {
				t.Errorf("no %s", want)
			}
		}
		if t.Failed() {
			t.Log(strings.Join(got, "\n"))
		}
		waits := map[float64]bool{vm1.Last.Waited: true, s.status("vm2").Last.Waited: true}
		if !waits[0] || !waits[10] {
			t.Errorf("the runs waited %v seconds", waits)
		}
	})
}

func TestMachineThatWaitsForItsTurnSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		w.took = time.Minute
		s := serve(t, w, head+"concurrency: {total: 1}\nmachines: [{name: 'vm*', every: 1h}]\n")
		time.Sleep(20 * time.Second)
		waits := []float64{s.status("vm1").Waiting, s.status("vm2").Waiting}
		slices.Sort(waits)
		if !slices.Equal(waits, []float64{0, 20}) {
			t.Errorf("%v", waits)
		}
		// One that may not be synced waits for nothing.
		for _, name := range []string{"vm1", "vm2"} {
			if _, err := s.Pause(t.Context(), "", name, ""); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := s.status("vm1").Waiting, s.status("vm2").Waiting; a != 0 || b != 0 {
			t.Errorf("%v %v", a, b)
		}
	})
}

func TestConfigurationWhoseMetricsCannotBeServedIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		var asked []string
		w.listen = func(address string) error {
			asked = append(asked, address)
			if address == "127.0.0.1:1" {
				return errors.New("metrics: address already in use")
			}
			return nil
		}
		s := serve(t, w, head+"machines: [{name: vm1, every: 1h}]\n")
		time.Sleep(time.Minute)
		s.text = head + "metrics: {listen: '127.0.0.1:1'}\nmachines: [{name: vm1, every: 2h}]\n"
		var e *api.Error
		if err := s.Reload(t.Context()); !errors.As(err, &e) || e.Kind != api.KindBadConfig || !strings.Contains(e.Message, "address already in use") {
			t.Errorf("%v", err)
		}
		if m := s.status("vm1"); m.Schedule != "every 1h" || m.Last.Outcome != history.Succeeded {
			t.Errorf("%+v", m)
		}
		s.text = head + "metrics: {listen: '127.0.0.1:2'}\nmachines: [{name: vm1, every: 2h}]\n"
		if err := s.Reload(t.Context()); err != nil {
			t.Error(err)
		}
		if m := s.status("vm1"); m.Schedule != "every 2h" || !slices.Equal(asked, []string{"127.0.0.1:1", "127.0.0.1:2"}) {
			t.Errorf("%+v, asked %v", m, asked)
		}
	})
}
