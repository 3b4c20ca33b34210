package main

import (
	"bytes"
	"testing"
)

// TestFaults plays a few rounds. `make faults` plays more.
func TestFaults(t *testing.T) {
	var out bytes.Buffer
	results, err := play(t.Context(), options{rounds: 12, seed: 22, only: -1, root: "../..", programs: "../../bin/faultpoints", evidence: "../../bin/faults", out: &out})
	t.Logf("\n%s", out.String())
	if err != nil {
		t.Fatal(err)
	}
	if len(results) < 8 {
		t.Errorf("only %d of 12 faults were in time", len(results))
	}
}
