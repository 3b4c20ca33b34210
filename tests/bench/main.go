// Command bench measures vmsync on the lab's hosts beside the tools of its field,
// in the same run and by turns, and prints a table. `make bench` runs it; -run
// chooses cases. The figures depend on the machine; the ratios are what to look
// at.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"vmsync/tests/lab"
)

// options are the command line.
type options struct {
	cases  *regexp.Regexp
	rounds int // of every case; 0: each case's own number
	span   time.Duration
	sync   []string // added to every `vmsync sync`
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	} else if err != nil {
		os.Exit(2) // the flag package has said why
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{cases: regexp.MustCompile("")}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.Func("run", "run the cases whose name matches this `regexp`", func(s string) (err error) {
		o.cases, err = regexp.Compile(s)
		return err
	})
	flags.IntVar(&o.rounds, "rounds", 0, "measure this often and take the median (default: each case's own number)")
	flags.DurationVar(&o.span, "for", 10*time.Minute, "how long cases measure that look at the service")
	flags.Func("sync", "more `flags` for every vmsync sync, separated by spaces", func(s string) error {
		o.sync = strings.Fields(s)
		return nil
	})
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "usage: bench [flags]")
		flags.PrintDefaults()
		fmt.Fprintln(flags.Output(), "\ncases:")
		for _, c := range cases() {
			fmt.Fprintf(flags.Output(), "  %-24s %s\n", c.name, c.about)
		}
	}
	return o, flags.Parse(args)
}

func run(ctx context.Context, o options) (err error) {
	install := map[string]string{}
	for _, p := range []string{"vmsync", "vmsync-nbd"} {
		from, err := filepath.Abs(filepath.Join("bin", p))
		if err != nil {
			return err
		}
		install[from] = "/usr/local/bin/" + p
	}
	l, err := lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostb"}, Install: install})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	b := &bench{ctx: ctx, hosta: l.Host("hosta"), hostb: l.Host("hostb"), syncFlags: o.sync, span: o.span}
	return b.all(o)
}

// all runs the chosen cases. A case that fails is a row of the table, and does
// not keep the others from being measured.
func (b *bench) all(o options) error {
	start := time.Now()
	var rows []row
	var failed []string
	for _, c := range cases() {
		if !o.cases.MatchString(c.name) {
			continue
		}
		rounds := c.rounds
		if o.rounds > 0 {
			rounds = o.rounds
		}
		b.logf("%s: %s; %d rounds", c.name, c.about, rounds)
		got, err := c.run(b, rounds)
		if b.ctx.Err() != nil {
			return b.ctx.Err()
		}
		if err != nil {
			b.logf("%s failed: %v", c.name, err)
			failed = append(failed, c.name)
			got = []row{{what: c.name, verdict: "failed"}}
		}
		rows = append(rows, got...)
	}
	fmt.Printf("%d cores, %v in all; medians; CPU is that of both hosts together\n\n", runtime.NumCPU(), time.Since(start).Round(time.Second))
	printTable(os.Stdout, rows)
	if len(failed) > 0 {
		return fmt.Errorf("cases failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
