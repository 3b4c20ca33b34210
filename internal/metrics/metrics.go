package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vmsync/internal/api"
	"vmsync/internal/history"
)

// Standing tells how everything stands now. It may take a while, and ends when ctx does.
type Standing func(ctx context.Context) (*api.Status, error)

// Metrics are the figures of one service. Its methods may be called from any goroutine.
type Metrics struct {
	standing Standing
	runs     *runs
	lasting  *prometheus.Registry // what is kept from scrape to scrape
}

// New makes the figures of a service that tells how it stands.
func New(s Standing) *Metrics {
	m := &Metrics{standing: s, runs: newRuns(), lasting: prometheus.NewRegistry()}
	m.lasting.MustRegister(m.runs.collectors()...)
	m.lasting.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Ended counts a run that has ended. It returns at once.
func (m *Metrics) Ended(r *history.Run) { m.runs.ended(r) }

// Bounds of a scrape.
const (
	standPatience = 5 * time.Second // that the service has, to tell how it stands
	maxScrapes    = 4               // under way at once
)

// Handler answers a scrape. Where the service does not tell in time how it stands, there are
// no figures at all: half of them would look as if machines had gone.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	opts := promhttp.HandlerOpts{EnableOpenMetrics: true, ErrorLog: errorLog{log}, ErrorHandling: promhttp.HTTPErrorOnError}
	slots := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
		default:
			http.Error(w, fmt.Sprintf("%d scrapes are under way already", maxScrapes), http.StatusServiceUnavailable)
			return
		}
		now, gone, err := m.look(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		momentary := prometheus.NewRegistry()
		momentary.MustRegister(now)
		promhttp.HandlerFor(prometheus.Gatherers{momentary, m.lasting}, opts).ServeHTTP(w, r)
		// What a machine's last run came to is told once before it goes.
		for _, k := range gone {
			m.runs.forget(k)
		}
	})
}

// errNoAnswer means that the service did not tell in time how it stands.
var errNoAnswer = errors.New("the service is busy and does not tell how it stands; see: journalctl -u vmsync")

// look asks the service how it stands, and says which machines with counters are gone.
func (m *Metrics) look(ctx context.Context) (_ standing, gone []key, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, standPatience, errNoAnswer)
	defer cancel()
	known := m.runs.known() // before: one that comes meanwhile is not gone
	st, err := m.standing(ctx)
	if err != nil {
		return standing{}, nil, err
	}
	now := standing{status: st, now: time.Now()}
	for i := range st.Machines {
		k := key{st.Machines[i].Name, st.Machines[i].Source}
		m.runs.begin(k)
		delete(known, k)
	}
	for k := range known {
		gone = append(gone, k)
	}
	return now, gone, nil
}

// errorLog is what the HTTP handlers log to.
type errorLog struct{ log *slog.Logger }

// Println implements [promhttp.Logger].
func (l errorLog) Println(v ...any) { l.log.Warn("metrics: " + fmt.Sprint(v...)) }
