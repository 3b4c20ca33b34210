package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"vmsync/tests/lab"
	"vmsync/tests/lab/wire"
)

func (a *app) link() *cobra.Command {
	c := &cobra.Command{Use: "link", Short: "Cut, mend or worsen a host's cable"}
	for name, up := range map[string]bool{"up": true, "down": false} {
		c.AddCommand(&cobra.Command{
			Use:   name + " HOST",
			Short: map[bool]string{true: "Mend the cable", false: "Cut the cable: packets vanish"}[up],
			Args:  cobra.ExactArgs(1),
			RunE: func(c *cobra.Command, args []string) error {
				h, err := a.host(args[0])
				if err != nil {
					return err
				}
				return h.Link(c.Context(), up)
			},
		})
	}
	c.AddCommand(a.linkSet(), &cobra.Command{
		Use:   "clear HOST",
		Short: "A cable without limits again",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			return h.SetLink(c.Context(), lab.Link{})
		},
	})
	return c
}

func (a *app) linkSet() *cobra.Command {
	var rate, loss string
	var rtt time.Duration
	c := &cobra.Command{
		Use:   "set HOST",
		Short: "Limit the cable; what is not given has no limit",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			h, err := a.host(args[0])
			if err != nil {
				return err
			}
			l := lab.Link{RTT: rtt}
			if l.Rate, err = parseRate(rate); err != nil {
				return err
			}
			if l.Loss, err = parsePercent(loss); err != nil {
				return err
			}
			return h.SetLink(c.Context(), l)
		},
	}
	c.Flags().StringVar(&rate, "rate", "0", "in each direction, as in 100mbit or 1gbit")
	c.Flags().DurationVar(&rtt, "rtt", 0, "added to a round trip, as in 40ms")
	c.Flags().StringVar(&loss, "loss", "0%", "of packets, as in 0.5%")
	return c
}

// parseRate reads bits per second with an optional kbit, mbit or gbit.
func parseRate(s string) (int64, error) {
	factor := int64(1)
	for suffix, f := range map[string]int64{"kbit": 1e3, "mbit": 1e6, "gbit": 1e9} {
		if num, ok := strings.CutSuffix(strings.ToLower(s), suffix); ok {
			s, factor = num, f
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("rate %q: want a number with kbit, mbit or gbit", s)
	}
	return n * factor, nil
}

func parsePercent(s string) (float64, error) {
	f, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil || f < 0 || f > 100 {
		return 0, fmt.Errorf("loss %q: want per cent, as in 0.5%%", s)
	}
	return f / 100, nil
}

// wireCommand is what the lab runs its wires with.
func wireCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "wire SOCKET A B RATE DELAY LOSS",
		Hidden: true,
		Args:   cobra.ExactArgs(6),
		RunE: func(c *cobra.Command, args []string) error {
			rate, err := strconv.ParseInt(args[3], 10, 64)
			if err != nil {
				return err
			}
			delay, err := time.ParseDuration(args[4])
			if err != nil {
				return err
			}
			loss, err := strconv.ParseFloat(args[5], 64)
			if err != nil {
				return err
			}
			q := wire.Quality{Rate: rate, Delay: delay, Loss: loss}
			return lab.Wire(c.Context(), args[0], args[1], args[2], q)
		},
	}
}
