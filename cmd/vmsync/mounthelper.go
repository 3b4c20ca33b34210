package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// helperNames are the names under which mount(8) runs this program, and people may.
var helperNames = []string{"mount.vmsync", "mount.fuse.vmsync", "vmsync-mount"}

// expandHelper turns the command line of a mount helper (mount(8), "EXTERNAL HELPERS"),
//
//	mount.vmsync STORE MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]
//
// into that of the mount command. STORE may be "vmsync" or "none", for the usual one.
func expandHelper(argv []string) ([]string, error) {
	if !slices.Contains(helperNames, filepath.Base(argv[0])) {
		return argv[1:], nil
	}
	var at []string
	out := []string{"mount"}
	for rest := argv[1:]; len(rest) > 0; rest = rest[1:] {
		arg := rest[0]
		if !strings.HasPrefix(arg, "-") {
			at = append(at, arg)
			continue
		}
		switch arg {
		case "-o", "-t", "-N":
			if len(rest) < 2 {
				return nil, fmt.Errorf("%s needs a value", arg)
			}
			if arg == "-N" {
				return nil, errors.New("-N: another namespace cannot be mounted into")
			}
			if arg == "-o" {
				out = append(out, "-o", rest[1])
			}
			rest = rest[1:]
		case "-h", "--help":
			return []string{"mount", "--help"}, nil
		default:
			if err := helperLetters(arg, &out); err != nil {
				return nil, err
			}
		}
	}
	if len(at) != 2 {
		return nil, fmt.Errorf("usage: %s STORE MOUNTPOINT [-o OPTIONS]", filepath.Base(argv[0]))
	}
	if at[0] != "none" && at[0] != "vmsync" {
		out = append(out, "--store="+at[0])
	}
	return append(out, "--source="+at[0], "--", at[1]), nil
}

// helperLetters takes single letters: s for sloppy, and n and v, which mean nothing here.
func helperLetters(arg string, out *[]string) error {
	for _, letter := range arg[1:] {
		switch letter {
		case 's':
			*out = append(*out, "--sloppy")
		case 'n', 'v':
		default:
			return fmt.Errorf("unknown flag -%c", letter)
		}
	}
	return nil
}
