package replicator

// Reporter is told what a run is doing. Its methods may be called from several
// goroutines.
type Reporter interface {
	// Phase begins a phase; the function it returns ends it, with the phase's error.
	Phase(name string) (done func(error))
	// Notice tells what a user may want to know.
	Notice(text string)
	// Warn tells what a user should know; disk may be empty.
	Warn(text, disk string)
	// Progress tells how far one disk is.
	Progress(Progress)
}
