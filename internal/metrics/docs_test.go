package metrics

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// table is the figures as docs/METRICS.md has them.
func table(t *testing.T) []string {
	t.Helper()
	var lines []string
	for name, f := range families(t, scrape(t, everything(t), "text/plain").Body) {
		if !strings.HasPrefix(name, "vmsync_") {
			continue
		}
		var labels []string
		for _, l := range f.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		kind := map[dto.MetricType]string{dto.MetricType_COUNTER: "counter", dto.MetricType_GAUGE: "gauge", dto.MetricType_HISTOGRAM: "histogram"}[f.GetType()]
		lines = append(lines, fmt.Sprintf("| `%s` | %s | %s | %s |", name, kind, strings.Join(labels, ", "), f.GetHelp()))
	}
	slices.Sort(lines)
	return lines
}

func TestEveryFigureIsDocumented(t *testing.T) {
	doc := string(readFile(t, "../../docs/METRICS.md"))
	want := table(t)
	var got []string
	for line := range strings.Lines(doc) {
		if strings.HasPrefix(line, "| `vmsync_") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("docs/METRICS.md is to have these lines:\n%s", strings.Join(want, "\n"))
	}
	// What the table is made from has everything that is registered.
	descs := make(chan *prometheus.Desc, 100)
	standing{}.Describe(descs)
	for _, c := range newRuns().collectors() {
		c.Describe(descs)
	}
	if n := len(descs); n != len(want) {
		t.Errorf("%d figures are registered, %d are in the table", n, len(want))
	}
}
