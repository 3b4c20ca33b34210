package main

import "strings"

// expandShortForm turns the command line of the older tools of this field,
//
//	vmsync -source-domain vm1 -source-uri URI -target-uri URI
//
// into the sync command with the flags that it knows: a command line that begins
// with a flag is a sync, and a long flag may have a single dash there.
func expandShortForm(args []string) []string {
	if len(args) == 0 || !strings.HasPrefix(args[0], "-") {
		return args
	}
	switch args[0] {
	case "-h", "--help", "--version":
		return args
	}
	out := []string{"sync"}
	for i, a := range args {
		if a == "--" {
			return append(out, args[i:]...)
		}
		if len(a) > 2 && a[0] == '-' && a[1] != '-' {
			a = "-" + a
		}
		out = append(out, a)
	}
	return out
}
