package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"vmsync/tests/lab"
)

// scrape asks the service on hostb for its metrics, as Prometheus does.
func scrape(t *testing.T, address, accept string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return hostb.Dial(ctx, network, address)
		}}}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", resp.Status, text)
	}
	return string(text), err
}

// figures are a scrape's figures, by name and labels as they are written.
func figures(t *testing.T, address string) map[string]float64 {
	t.Helper()
	text, err := scrape(t, address, "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]float64{}
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if n, err := strconv.ParseFloat(value, 64); ok && err == nil && !strings.HasPrefix(line, "#") {
			all[name+"}"] = n
		}
	}
	return all
}

// TestServiceTellsPrometheusHowThingsStand compares what it tells with what vmsync status and
// a run say, and follows a run's id to where it is to be found.
func TestServiceTellsPrometheusHowThingsStand(t *testing.T) {
	const one, two = "127.0.0.1:9108", "127.0.0.1:9109"
	m := makeMachine(t, lab.MachineSpec{Name: "service-watched", Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	config := func(listen string) string {
		return serviceHead + "metrics: {listen: '" + listen + "'}\nmachines: [{name: service-watched, every: 1h, keep: 3}]\n"
	}
	startService(t, config(one))
	awaits(t, "is replicated", m.Name(), well)
	before := figures(t, one)
	randomData(t, m, "vda", mib, 4*mib)
	o := start(t, hostb, "sync", m.Name(), "--json").wait()
	s := succeeded(t, o)
	run := o.find("run").Run
	if len(run) != 12 || s.Run != run {
		t.Errorf("the run's id is %q at first, and %q at last", run, s.Run)
	}

	all, _ := stands(t)
	st, got := all[m.Name()], figures(t, one)
	name := func(metric, labels string) string {
		return "vmsync_" + metric + `{domain="service-watched",` + labels + `source="hosta"}`
	}
	if st.Last.ID != run || st.Age == nil || st.Last.Sent != s.SentBytes {
		t.Fatalf("%+v, the run was %s", st.Last, run)
	}
	if age := got[name("replica_age_seconds", "")]; age < *st.Age || age > *st.Age+30 {
		t.Errorf("the replica is %v s old, status said %v", age, *st.Age)
	}
	took, want := got[name("last_sync_duration_seconds", "")], st.Last.Ended.Sub(st.Last.Began).Seconds()
	if took < want-0.001 || took > want+0.001 {
		t.Errorf("the last sync took %v s, status says %v", took, want)
	}
	for what, want := range map[string]float64{
		name("replica_fresh_timestamp_seconds", ""):                             float64(st.Fresh.UnixMilli()) / 1000,
		name("rpo_seconds", ""):                                                 st.RPO,
		name("replica_health", `health="ok",`):                                  1,
		name("consecutive_failures", ""):                                        0,
		name("running", ""):                                                     0,
		name("syncs_total", `outcome="succeeded",`):                             before[name("syncs_total", `outcome="succeeded",`)] + 1,
		name("syncs_total", `outcome="failed",`):                                0,
		name("sync_bytes_total", `kind="sent",`):                                before[name("sync_bytes_total", `kind="sent",`)] + float64(s.SentBytes),
		name("sync_bytes_total", `kind="changed",`):                             before[name("sync_bytes_total", `kind="changed",`)] + float64(s.ChangedBytes),
		name("states", ""):                                                      2,
		`vmsync_source_up{source="hosta"}`:                                      1,
		`vmsync_sync_duration_seconds_count{kind="incremental",source="hosta"}`: 1,
	} {
		if v, there := got[what]; !there || v != want {
			t.Errorf("%s is %v (there: %v), want %v", what, v, there, want)
		}
	}
	if n := before[name("states", "")]; n != 1 || before[name("store_bytes", "")] <= 0 || got[`vmsync_store_filesystem_avail_bytes{store="/var/lib/vmsync"}`] <= 0 {
		t.Errorf("after the first sync: %v states of %v bytes", n, before[name("store_bytes", "")])
	}

	runIsFound(t, one, run)
	metricsMove(t, one, two, config)

	// A sync past the service has an id as well.
	o = start(t, hostb, "sync", m.Name(), "--source-uri", "qemu+ssh://root@hosta/system", "--json").wait()
	if past := succeeded(t, o).Run; past == run || past != o.find("run").Run || !strings.Contains(on(t, hosta, "journalctl", "--no-pager", "RUN="+past), "backup begun") {
		t.Errorf("the run past the service: %q", past)
	}
	on(t, hostb, "systemctl", "stop", "vmsync")
	if _, err := scrape(t, two, "text/plain"); err == nil {
		t.Error("metrics are served by nobody")
	}
	nothingLeft(t, m)
}

// runIsFound follows a run's id from its exemplars to the journals of both hosts.
func runIsFound(t *testing.T, address, run string) {
	t.Helper()
	text, err := scrape(t, address, "application/openmetrics-text; version=1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	exemplars := map[string]bool{}
	for line := range strings.Lines(text) {
		if name, _, _ := strings.Cut(line, "{"); strings.Contains(line, `# {run_id="`+run+`"}`) {
			exemplars[name] = true
		}
	}
	for _, name := range []string{"vmsync_syncs_total", "vmsync_sync_bytes_total", "vmsync_sync_duration_seconds_bucket", "vmsync_guest_frozen_seconds_bucket", "vmsync_sync_wait_seconds_bucket"} {
		if !exemplars[name] {
			t.Errorf("the run is no exemplar of %s:\n%s", name, text)
		}
	}
	on1, on2 := on(t, hosta, "journalctl", "--no-pager", "RUN="+run), on(t, hostb, "journalctl", "--no-pager", "RUN="+run)
	for _, want := range []struct{ host, log, line string }{{"hosta", on1, "backup begun"}, {"hosta", on1, "backup ended"}, {"hostb", on2, "state stored"}, {"hostb", on2, "synced"}} {
		if !strings.Contains(want.log, want.line) {
			t.Errorf("%s's journal of the run has no %q:\n%s", want.host, want.line, want.log)
		}
	}
	check := exec.Command("promtool", "check", "metrics")
	plain, err := scrape(t, address, "text/plain")
	if err != nil {
		t.Fatal(err)
	}
	check.Stdin = strings.NewReader(plain)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// metricsMove has a reload move them to another port, and refuse one that is taken.
func metricsMove(t *testing.T, one, two string, config func(string) string) {
	t.Helper()
	taken, err := hostb.Listen(t.Context(), "tcp", "127.0.0.1:9110")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	configure(t, config("127.0.0.1:9110"))
	on(t, hostb, "systemctl", "reload", "vmsync")
	eventually(t, "a port that is taken is refused", func() bool {
		return strings.Contains(journal(t), "address already in use: see who has it with: ss -ltnp 'sport = :9110'")
	})
	if _, err := scrape(t, one, "text/plain"); err != nil {
		t.Errorf("the old address is lost: %v", err)
	}
	configure(t, config(two))
	on(t, hostb, "systemctl", "reload", "vmsync")
	eventually(t, "the metrics are at the new address", func() bool {
		_, err := scrape(t, two, "text/plain")
		return err == nil
	})
	if _, err := scrape(t, one, "text/plain"); err == nil {
		t.Error("the old address is still served")
	}
}
