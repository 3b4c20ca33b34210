package watch

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"

	"vmsync/internal/api"
	"vmsync/internal/history"
)

// Messages of [Model.Update].
type (
	// Size is that of the screen, in columns and rows.
	Size struct{ Width, Height int }
	// Snapshot is how everything stands.
	Snapshot struct {
		At     time.Time
		Status *api.Status
	}
	// Unreachable says why the service was not reached.
	Unreachable struct {
		At  time.Time
		Why string
	}
	// Past are the last runs of all machines.
	Past struct{ Runs []history.Run }
	// News is an event.
	News struct{ Event api.Event }
	// Key is a key that was pressed: a character, or a name like "up", "enter", "ctrl+c".
	Key string
)

// Update is the model after a message. It says when the person wants to leave.
func (m Model) Update(msg any) (next Model, quit bool) {
	switch msg := msg.(type) {
	case Size:
		m.width, m.height = msg.Width, msg.Height
	case Snapshot:
		m.now, m.status, m.trouble = msg.At, msg.Status, ""
		m.busiest = max(m.busiest, len(m.syncing()))
	case Unreachable:
		if m.trouble == "" {
			m.since = msg.At
		}
		m.now, m.trouble = msg.At, msg.Why
	case Past:
		m.runs = map[string][]history.Run{}
		for _, r := range slices.Backward(msg.Runs) {
			m.runs[r.Machine] = remember(m.runs[r.Machine], r)
		}
	case News:
		m = m.hear(msg.Event)
	case Key:
		return m.press(string(msg))
	}
	return m.scroll(), false
}

// hear takes an event over.
func (m Model) hear(e api.Event) Model {
	if e.Run != nil {
		m.runs = maps.Clone(m.runs)
		if m.runs == nil {
			m.runs = map[string][]history.Run{}
		}
		m.runs[e.Run.Machine] = remember(m.runs[e.Run.Machine], *e.Run)
	}
	if e.Machine != "" && !matches(m.only, e.Source, e.Machine) {
		return m
	}
	m.events = append(slices.Clone(m.events[max(0, len(m.events)-keptEvents+1):]), e)
	return m
}

func (m Model) press(key string) (next Model, quit bool) {
	switch {
	case key == "ctrl+c":
		return m, true
	case m.typing:
		return m.typed(key).scroll(), false
	case m.help:
		m.help = false // whatever it was
		return m, false
	}
	page := max(1, m.layout().table-1)
	switch key {
	case "q":
		return m, true
	case "?":
		m.help = true
	case "up", "k":
		m = m.move(-1)
	case "down", "j":
		m = m.move(1)
	case "pgup":
		m = m.move(-page)
	case "pgdown":
		m = m.move(page)
	case "home", "g":
		m = m.move(-1 << 30)
	case "end", "G":
		m = m.move(1 << 30)
	case "enter":
		m.details = !m.details
	case "esc":
		m.details, m.filter = false, ""
	case "/":
		m.typing = true
	case "s":
		m.order = (m.order + 1) % orders
	}
	return m.scroll(), false
}

// typed takes a key of the filter.
func (m Model) typed(key string) Model {
	switch {
	case key == "enter":
		m.typing = false
	case key == "esc":
		m.typing, m.filter = false, ""
	case key == "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case key == "space":
		m.filter += " "
	case utf8.RuneCountInString(key) == 1 && len(m.filter) < 100:
		m.filter += key
	}
	return m
}

// move selects another machine, so many rows away.
func (m Model) move(by int) Model {
	all := m.machines()
	if len(all) == 0 {
		return m
	}
	m.selected = key(all[max(0, min(len(all)-1, m.chosen(all)+by))])
	return m
}

// scroll keeps the selected machine on the screen.
func (m Model) scroll() Model {
	all := m.machines()
	rows := m.layout().table
	if len(all) == 0 || rows == 0 {
		m.top = 0
		return m
	}
	at := m.chosen(all)
	m.selected = key(all[at])
	m.top = max(at-rows+1, min(m.top, at))
	m.top = max(0, min(m.top, len(all)-rows))
	return m
}
