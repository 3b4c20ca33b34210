package watch

import (
	"cmp"
	"context"
	"io"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"vmsync/internal/api"
	"vmsync/internal/history"
)

// Service is what is asked of a service; [*api.Client] is one.
type Service interface {
	Status(ctx context.Context) (*api.Status, error)
	LastRuns(ctx context.Context, limit int) ([]history.Run, error)
	Events(ctx context.Context, last int, after string, tell func(api.Event)) error
}

// How often the service is asked, how long it may take to answer, and how soon a connection
// that broke is tried again.
const (
	askEvery = time.Second
	patience = 10 * time.Second
	tryAgain = time.Second
)

// Terminal is where the view is shown. Environ says what it can do: TERM, NO_COLOR and the
// like.
type Terminal struct {
	In      io.Reader
	Out     io.Writer
	Environ []string
	Colours bool
}

// Run shows how machines stand until the person quits or ctx ends, neither of which is an
// error. A service that does not answer is asked until it does. The terminal is left as it
// was found.
func Run(ctx context.Context, s Service, only string, t Terminal) error {
	ctx, cancel := context.WithCancel(ctx)
	p := tea.NewProgram(program{Model: New(only), colours: t.Colours, ask: func() tea.Msg { return ask(ctx, s) }},
		tea.WithInput(t.In), tea.WithOutput(t.Out), tea.WithEnvironment(t.Environ), tea.WithoutSignalHandler(), tea.WithFPS(10))
	listening := make(chan struct{})
	go func() {
		defer close(listening)
		listen(ctx, s, func(msg any) { p.Send(msg) })
	}()
	// Not the program's own context: one that ends so does not wait for its reader.
	quitting := context.AfterFunc(ctx, p.Quit)
	_, err := p.Run()
	quitting()
	cancel()
	<-listening
	return err
}

// ask asks how everything stands.
func ask(ctx context.Context, s Service) any {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	st, err := s.Status(ctx)
	if err != nil {
		return Unreachable{time.Now(), err.Error()}
	}
	return Snapshot{time.Now(), st}
}

// listen passes past runs and events on until ctx ends; those that it has heard before a
// connection broke it does not tell twice.
func listen(ctx context.Context, s Service, tell func(any)) {
	heard := "" // the id of the last event
	for ctx.Err() == nil {
		if runs, err := s.LastRuns(ctx, keptRuns); err == nil {
			tell(Past{runs})
			_ = s.Events(ctx, keptEvents, heard, func(e api.Event) { // the next request says what is wrong
				heard = cmp.Or(e.ID, heard)
				tell(News{e})
			})
		}
		select {
		case <-ctx.Done():
		case <-time.After(tryAgain):
		}
	}
}

// program is a model as Bubble Tea wants it.
type program struct {
	Model
	colours bool
	ask     tea.Cmd
}

// again is the message that it is time to ask.
type again struct{}

// Init implements [tea.Model].
func (p program) Init() tea.Cmd { return p.ask }

// Update implements [tea.Model].
func (p program) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	var next any = msg
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		next = Size{msg.Width, msg.Height}
	case tea.KeyPressMsg:
		next = Key(msg.String())
	case Snapshot, Unreachable:
		cmd = tea.Tick(askEvery, func(time.Time) tea.Msg { return again{} })
	case again:
		return p, p.ask
	}
	var quit bool
	if p.Model, quit = p.Model.Update(next); quit {
		return p, tea.Quit
	}
	return p, cmd
}

// View implements [tea.Model].
func (p program) View() tea.View {
	var b strings.Builder
	for i, l := range p.Model.View() {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(l.Paint(p.colours))
	}
	v := tea.NewView(b.String())
	v.AltScreen = true
	return v
}
