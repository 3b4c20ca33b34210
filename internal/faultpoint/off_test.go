//go:build !faultpoints

package faultpoint

import "testing"

func TestNormalBuildIgnoresOrders(t *testing.T) {
	t.Setenv("VMSYNC_FAULT", "here=kill")
	Hit("here")
	if n := testing.AllocsPerRun(10, func() { Hit("here") }); n != 0 {
		t.Errorf("a hit allocates %v times", n)
	}
}
