//go:build !faultpoints

package faultpoint

// Hit marks a point where a test build can be killed or delayed. It does nothing
// in this build.
func Hit(string) {}
