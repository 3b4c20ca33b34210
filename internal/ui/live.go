package ui

import (
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"vmsync/internal/event"
)

// live is the part of the screen that changes: a row for the phase, and one for
// each disk. Drawing, erasing and the terminal's width are mpb's affair, the text
// of the rows is not. For mpb all rows are one bar: it needs several refreshes to
// end several. The methods are called one at a time.
type live struct {
	options   Options
	phase     string
	start     time.Time
	container *mpb.Progress
	bar       *mpb.Bar

	mu     sync.Mutex // guards what follows, which mpb's goroutines read
	stream streamRow
	disks  []*diskRow // in the order of their first progress
}

// streamRow is what is known about the stream.
type streamRow struct {
	traffic event.Traffic
	rate    rate
}

// diskRow is what is known about one disk.
type diskRow struct {
	disk          string // as in the event
	done, total   int64
	scanned, size int64
	rate          rate
}

func startLive(o Options, phase string) *live {
	l := &live{options: o, phase: phase, start: o.now()}
	l.open()
	return l
}

func (l *live) open() {
	options := []mpb.ContainerOption{mpb.WithOutput(l.options.Out), mpb.WithAutoRefresh()}
	l.container = mpb.New(options...)
	phase := mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		_, err := io.WriteString(w, l.phaseRow(s.AvailableWidth))
		return err
	})
	disks := mpb.BarFillerFunc(func(w io.Writer, s decor.Statistics) error {
		_, err := io.WriteString(w, l.diskRows(s.AvailableWidth))
		return err
	})
	l.bar = l.container.MustAdd(0, phase, mpb.BarFillerTrim(), mpb.BarExtender(disks, false))
}

func (l *live) phaseRow(width int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return phaseRow(width, l.phase, l.options.now().Sub(l.start), l.stream.about())
}

// diskRows is a line for each disk, for a width in columns.
func (l *live) diskRows(width int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, d := range l.disks {
		b.WriteString(d.text(width) + "\n")
	}
	return b.String()
}

func (l *live) progress(e event.Progress) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(l.disks, func(d *diskRow) bool { return d.disk == e.Disk })
	if i < 0 {
		i = len(l.disks)
		l.disks = append(l.disks, &diskRow{disk: e.Disk})
	}
	row := l.disks[i]
	row.done, row.total, row.scanned, row.size = e.Done, e.Total, e.Scanned, e.Size
	row.rate.observe(l.options.now(), e.Done)
	// What disks tell of the stream need not come in its order.
	if e.Traffic.Bytes >= l.stream.traffic.Bytes {
		l.stream.traffic = e.Traffic
		l.stream.rate.observe(l.options.now(), e.Traffic.Bytes)
	}
}

// print puts a line above the rows at the next refresh.
func (l *live) print(line string) {
	// It fails only after end, or when the output is gone, which the next line that
	// is printed directly tells.
	_, _ = io.WriteString(l.container, line+"\n")
}

// end erases the rows and leaves the cursor at the beginning of a line.
func (l *live) end() {
	l.bar.Abort(true)
	l.container.Wait()
}
