package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"vmsync/tests/lab"
)

// bench is what the cases work with. Machines run on hosta and are replicated
// to hostb.
type bench struct {
	ctx          context.Context
	hosta, hostb *lab.Host
	syncFlags    []string
	span         time.Duration // for which the service is looked at
	vm1          *lab.Machine  // made when first asked for
}

// logf tells the one who waits how it goes.
func (b *bench) logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}

// Links between the two hosts.
var (
	noLink   = lab.Link{}
	gigabit  = lab.Link{Rate: 1e9}
	slowLink = lab.Link{Rate: 100e6, RTT: 40 * time.Millisecond}
)

// over does something while the link between the hosts has a quality.
func (b *bench) over(link lab.Link, do func() error) error {
	if link == noLink {
		return do()
	}
	if err := b.hosta.SetLink(b.ctx, link); err != nil {
		return err
	}
	err := do()
	return errors.Join(err, b.hosta.SetLink(context.WithoutCancel(b.ctx), noLink))
}

func linkText(l lab.Link) string {
	switch l {
	case noLink:
		return "no limit"
	case gigabit:
		return "1 Gbit/s"
	}
	return fmt.Sprintf("%d Mbit/s, %v", l.Rate/1e6, l.RTT)
}
