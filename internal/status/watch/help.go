package watch

import "vmsync/internal/ui"

// helpLines are the keys, and what the signs mean.
var helpLines = []ui.Line{
	nil,
	ui.Words("  up down pgup pgdn home end   select a machine"),
	ui.Words("  enter      more of its last runs, or less"),
	ui.Words("  /          show only machines with a text in SOURCE/NAME"),
	ui.Words("  s          sort by name, health, age, last run"),
	ui.Words("  esc        back to all"),
	ui.Words("  q          quit"),
	nil,
	ui.Words("  age / rpo  of the replica; how old it may get"),
	ui.Words("  history    a sign for each sync: how old the replica had"),
	ui.Words("             become when it ended, ▁ to ▇ of what is promised,"),
	ui.Words("             █ older than that, x the sync failed; the last"),
	ui.Words("             sign is now"),
	nil,
	ui.Words("  any key    back"),
}
