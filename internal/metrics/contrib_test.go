package metrics

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"go.yaml.in/yaml/v4"

	"vmsync/internal/config"
)

const (
	rulesDir  = "../../contrib/prometheus"
	dashboard = "../../contrib/grafana/vmsync.json"
)

// promtool runs Prometheus' own checks.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	if _, err := exec.LookPath("promtool"); err != nil {
		t.Skip("this test needs promtool: apt-get install --no-install-recommends prometheus")
	}
	cmd := exec.Command("promtool", args...)
	cmd.Dir = rulesDir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// series are the names that expressions may have: those of all figures, of the parts of
// histograms, and of what Prometheus itself says of a scrape.
func series(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{"up": true}
	for name, f := range families(t, scrape(t, everything(t), "text/plain").Body) {
		names[name] = true // of a histogram: as a native one
		if f.GetType() != dto.MetricType_HISTOGRAM {
			continue
		}
		for _, part := range []string{"_bucket", "_sum", "_count"} {
			names[name+part] = true
		}
	}
	return names
}

// unknown are the names of figures in a text that there are not.
func unknown(known map[string]bool, text string) (all []string) {
	for _, name := range regexp.MustCompile(`\b(vmsync|process|go|up)(_\w+)?\b`).FindAllString(text, -1) {
		if name != "vmsync" && !known[name] {
			all = append(all, name)
		}
	}
	return all
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAlertsFireWhenTheyAreTo(t *testing.T) {
	promtool(t, "check", "rules", "vmsync.rules.yml")
	tests, err := filepath.Glob(rulesDir + "/*.test.yml")
	if err != nil || len(tests) == 0 {
		t.Fatal(tests, err)
	}
	var tested string
	args := []string{"test", "rules"}
	for _, path := range tests {
		args, tested = append(args, filepath.Base(path)), tested+string(readFile(t, path))
	}
	promtool(t, args...)

	var rules struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	if err := yaml.Unmarshal(readFile(t, rulesDir+"/vmsync.rules.yml"), &rules); err != nil {
		t.Fatal(err)
	}
	known := series(t)
	fires := regexp.MustCompile(`(?m)alertname: (\w+)\n\s+exp_alerts:\n\s+- exp_labels`)
	var fired []string
	for _, m := range fires.FindAllStringSubmatch(tested, -1) {
		fired = append(fired, m[1])
	}
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			n++
			if bad := unknown(known, r.Expr+" "+r.Annotations["description"]); len(bad) > 0 {
				t.Errorf("%s: there is no %v", r.Alert, bad)
			}
			if !slices.Contains(fired, r.Alert) || !strings.Contains(tested, "alertname: "+r.Alert+", exp_alerts: []") {
				t.Errorf("%s: no test has it fire and not fire", r.Alert)
			}
			if r.Labels["severity"] == "" || r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
				t.Errorf("%s: %v %v", r.Alert, r.Labels, r.Annotations)
			}
		}
	}
	if n == 0 {
		t.Error("no rules")
	}
}

// The sample is for the address that the sample of the service's configuration has.
func TestScrapeSampleIsSoundAndFindsTheService(t *testing.T) {
	promtool(t, "check", "config", "scrape.yml")
	c, err := config.Load("../../systemd/vmsync.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if text := string(readFile(t, rulesDir+"/scrape.yml")); !strings.Contains(text, `targets: ["`+c.Metrics.Listen+`"]`) || !strings.Contains(text, "job_name: vmsync\n") {
		t.Errorf("%s is not scraped", c.Metrics.Listen)
	}
}

// board is what is looked at of the dashboard.
type board struct {
	UID, Title    string
	SchemaVersion int
	ID            *int // must be null: Grafana gives it
	Templating    struct{ List []variable }
	Panels        []panel
}

type variable struct {
	Name, Type string
	Query      json.RawMessage
}

type panel struct {
	ID          int
	Type, Title string
	Description string
	Datasource  struct{ Type, UID string }
	GridPos     struct{ X, Y, W, H int }
	Targets     []struct {
		RefID, Expr string
		Datasource  struct{ Type, UID string }
	}
}

func readBoard(t *testing.T) (b board) {
	t.Helper()
	if err := json.Unmarshal(readFile(t, dashboard), &b); err != nil {
		t.Fatal(err)
	}
	if b.UID == "" || b.Title == "" || b.SchemaVersion < 30 || b.ID != nil || len(b.Panels) == 0 {
		t.Fatalf("%+v", b)
	}
	return b
}

func TestDashboardCanBeImported(t *testing.T) {
	b := readBoard(t)
	if v := b.Templating.List[0]; v.Name != "datasource" || v.Type != "datasource" || string(v.Query) != `"prometheus"` {
		t.Errorf("the first variable is not the data source: %+v", v)
	}
	ids, taken := map[int]bool{}, map[[2]int]string{}
	for _, p := range b.Panels {
		where := fmt.Sprintf("panel %d, %s", p.ID, p.Title)
		if p.ID == 0 || ids[p.ID] || p.Title == "" || p.GridPos.X < 0 || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W < 1 || p.GridPos.H < 1 {
			t.Errorf("%s: %+v", where, p.GridPos)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", where, other)
				}
				taken[[2]int{x, y}] = where
			}
		}
		if p.Type == "row" {
			continue
		}
		refs := map[string]bool{}
		for _, q := range p.Targets {
			if q.RefID == "" || refs[q.RefID] || q.Datasource.Type != "prometheus" || q.Datasource.UID != "${datasource}" {
				t.Errorf("%s: %+v", where, q)
			}
			refs[q.RefID] = true
		}
		if len(p.Targets) == 0 || p.Description == "" || p.Datasource.UID != "${datasource}" || !slices.Contains([]string{"stat", "table", "timeseries"}, p.Type) {
			t.Errorf("%s: %+v", where, p)
		}
	}
}

func TestDashboardAsksForWhatThereIs(t *testing.T) {
	b := readBoard(t)
	known := series(t)
	vars := map[string]string{"__rate_interval": "5m"}
	for _, v := range b.Templating.List {
		vars[v.Name] = ".*"
		if bad := unknown(known, string(v.Query)); v.Type == "query" && len(bad) > 0 {
			t.Errorf("variable %s: there is no %v", v.Name, bad)
		}
	}
	// Prometheus' own parser looks at what the expressions are with their variables filled in.
	var rules strings.Builder
	rules.WriteString("groups:\n  - name: dashboard\n    rules:\n")
	variable := regexp.MustCompile(`\$(\w+)`)
	for _, p := range b.Panels {
		for _, q := range p.Targets {
			if bad := unknown(known, q.Expr); len(bad) > 0 || q.Expr == "" {
				t.Errorf("%s: there is no %v in %q", p.Title, bad, q.Expr)
			}
			expr := variable.ReplaceAllStringFunc(q.Expr, func(name string) string {
				value, there := vars[name[1:]]
				if !there {
					t.Errorf("%s: there is no variable %s", p.Title, name)
				}
				return value
			})
			quoted, err := json.Marshal(expr) // which YAML reads
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&rules, "      - record: panel%d_%s\n        expr: %s\n", p.ID, q.RefID, quoted)
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}
