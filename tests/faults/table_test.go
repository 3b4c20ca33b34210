package main

import (
	"strings"
	"testing"
	"time"
)

func TestTableCountsOutcomes(t *testing.T) {
	results := []result{
		{fault: "b", step: "x", tries: 0},
		{fault: "a", step: "y", tries: 1, recovery: 2 * time.Second},
		{fault: "a", step: "y", tries: 1, gained: true, recovery: 3 * time.Second},
		{fault: "a", step: "y", tries: 2, gained: true, recovery: time.Second},
		{fault: "a", step: "x", tries: 1, recovery: 100 * time.Millisecond},
	}
	lines := strings.Split(strings.TrimSpace(markdown(results)), "\n")[2:]
	want := []string{
		"| a | x | 1 |  |  | 1 |  | 0.1 s |",
		"| a | y | 3 |  | 1 | 1 | 1 | 3.0 s |",
		"| b | x | 1 | 1 |  |  |  | 0.0 s |",
	}
	if strings.Join(lines, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	var text strings.Builder
	if err := printTable(&text, results); err != nil || strings.Count(text.String(), "\n") != 4 {
		t.Errorf("%v\n%s", err, text.String())
	}
}
