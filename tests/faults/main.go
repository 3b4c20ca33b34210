// Command faults proves that no fault leaves wrong bytes, a stuck pair or leftovers:
// it syncs machines in a lab of its own, again and again, lets something go wrong in
// the middle of each sync, and then only syncs again. `make faults` runs it. It ends
// with the first failure, keeps what may explain it, and says how to repeat it.
//
// What a state must read as is known beforehand. The machines have no guest: this
// program writes their disks, at random, through qemu's monitor, and keeps what they
// read as in memory. Some are live guests instead, whose checkpoints are read through
// the backup's own export while the sync is held.
//
// All that chance decides follows from the seed; what happens depends on timing, too.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	o := options{root: ".", out: os.Stdout}
	flag.IntVar(&o.rounds, "n", 100, "how many rounds to play")
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano())%1e6, "`seed` of all that is random")
	flag.IntVar(&o.from, "from", 0, "begin with the machines of this round, as if those before had been played")
	flag.IntVar(&o.only, "only", -1, "play this round alone, after those before it that had the same machines")
	flag.StringVar(&o.programs, "programs", "bin/faultpoints", "`folder` with the programs, built with fault points")
	flag.StringVar(&o.evidence, "evidence", "bin/faults", "`folder` for what may explain a failure")
	table := flag.String("markdown", "", "write the table of outcomes to this `file`, too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, o, *table)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, table string) error {
	began := time.Now()
	results, err := play(ctx, o)
	if len(results) > 0 {
		fmt.Fprintln(o.out)
		err = errors.Join(err, printTable(o.out, results))
		took := time.Since(began)
		fmt.Fprintf(o.out, "\nseed %d: %d faults in %v, %.1f s for each\n", o.seed, len(results), took.Round(time.Second), took.Seconds()/float64(len(results)))
	}
	if table != "" && err == nil {
		err = os.WriteFile(table, []byte(markdown(results)), 0o644)
	}
	return err
}
