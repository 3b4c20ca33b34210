package watch

// layout is how many rows each part of the screen has, its heading included but for the
// table, which has one more.
type layout struct{ syncing, table, details, events int }

// layout shares the screen out. What is shown above never moves with what happens, only with
// how much there is: moving costs a slow line more than all the rest.
func (m Model) layout() layout {
	const fixed = 3 // the summary, the table's titles, the keys
	left := max(0, m.height-fixed)
	n := len(m.machines())
	var l layout
	if m.busiest > 0 && left >= 8 {
		l.syncing = 1 + min(m.busiest, max(1, m.height/6))
		left -= l.syncing
	}
	if m.details {
		l.table = min(n, 3, left)
		l.details = left - l.table
		return l
	}
	if left < 8 {
		l.table = left
		return l
	}
	l.table = min(n, max(3, left*2/5))
	left -= l.table
	l.details = min(10, left/2)
	l.events = left - l.details
	return l
}
