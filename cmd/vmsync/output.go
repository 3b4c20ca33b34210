package main

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/term"

	"vmsync/internal/event"
	"vmsync/internal/ui"
	"vmsync/replicator"
)

// outputFlags say how a run is shown.
type outputFlags struct {
	json     bool
	progress string
	verbose  bool
}

func (f *outputFlags) add(flags *pflag.FlagSet) {
	flags.BoolVar(&f.json, "json", false, "one JSON object per event and line")
	flags.StringVar(&f.progress, "progress", string(ui.ProgressAuto), "auto, plain or none")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "say more, and show the log of both ends")
}

func (f *outputFlags) check() error {
	_, err := ui.ParseProgress(f.progress)
	return err
}

// open begins the output to a file, stdout unless the command needs that for
// something else; log is where the ends' logs go.
func (f *outputFlags) open(to *os.File) (out ui.Output, log io.Writer) {
	log = io.Discard
	if f.verbose && !(f.json && to == os.Stderr) { // one object a line, and nothing else
		log = os.Stderr
	}
	return ui.New(ui.Options{
		JSON:       f.json,
		Progress:   ui.Progress(f.progress),
		IsTerminal: term.IsTerminal(int(to.Fd())),
		Verbose:    f.verbose,
		Out:        to,
		Err:        os.Stderr,
	}), log
}

// errorEvent tells of the error that ended a run on a domain.
func errorEvent(err error, domain string) event.Error {
	e := replicator.AsError(err)
	out := event.Error{Kind: e.Kind, Message: e.Text(), Domain: domain, Disk: e.Disk, Hint: e.Advice()}
	if e.Domain != "" {
		out.Domain = e.Domain
	}
	if e.Kind == replicator.KindOther && errors.Is(err, context.Canceled) {
		out.Kind, out.Message = replicator.KindCanceled, "interrupted; what was begun is undone"
	}
	return out
}

// runError is what to tell of the error of a run.
func runError(err error, domain, run string) event.Error {
	e := errorEvent(err, domain)
	e.Run = run
	return e
}

// tellRun says under which id a run is known, to programs and to those who want all.
func (f *outputFlags) tellRun(out event.Sink, r event.Run) {
	if f.json || f.verbose {
		out.Emit(r)
	}
}
