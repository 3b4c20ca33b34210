// Package systemd holds files that an installation puts in place, for the program that
// prints them. It must never do more than hand them out.
package systemd

import _ "embed"

//go:embed vmsync.yaml
var sample string

// Sample is a complete configuration of the service, with comments.
func Sample() string { return sample }
