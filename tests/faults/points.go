package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Prefixes of the names of fault points, which say where they are passed.
const (
	atSource     = "source-"
	atTarget     = "target-"
	atController = "sync-"
)

// captured is the point at which a checkpoint exists and what it reads as can be read.
const captured = "source-after-thaw"

var hit = regexp.MustCompile(`faultpoint\.Hit\("([^"]+)"\)`)

// findPoints names the fault points of the programs' source that a sync can pass,
// sorted. New ones are found with no word about them here.
func findPoints(root string) ([]string, error) {
	var points []string
	for _, dir := range []string{"cmd", "internal", "nbdproxy", "replicator"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range hit.FindAllSubmatch(text, -1) {
				points = append(points, string(m[1]))
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(points)
	points = slices.Compact(points)
	return slices.DeleteFunc(points, func(p string) bool {
		return !strings.HasPrefix(p, atSource) && !strings.HasPrefix(p, atTarget) && !strings.HasPrefix(p, atController)
	}), nil
}
