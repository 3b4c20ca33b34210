package main

import (
	"fmt"

	"github.com/spf13/pflag"

	"vmsync/internal/retention"
)

// keepExample is a policy for help texts.
const keepExample = "last=8,hourly=24,daily=7"

func addKeepFlag(flags *pflag.FlagSet, value *string) {
	flags.StringVar(value, "keep", "", "states to keep from now on: 0 (one plain image per disk), N, or a grid: "+keepExample)
}

// checkKeep checks the value of a --keep flag; empty is for what the replica has.
func checkKeep(text string) error {
	if text == "" {
		return nil
	}
	if _, err := retention.Parse(text); err != nil {
		return fmt.Errorf("--keep: %w", err)
	}
	return nil
}
