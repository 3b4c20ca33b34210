package main

import (
	"slices"
	"testing"
)

func TestPointsAreFoundInTheSource(t *testing.T) {
	points, err := findPoints("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{captured, "source-before-drop", "target-before-commit", "target-after-commit"} {
		if !slices.Contains(points, want) {
			t.Errorf("%s is missing in %v", want, points)
		}
	}
	if slices.Contains(points, "send-before-finish") {
		t.Error("a sync does not pass send-before-finish")
	}
}
