package main

import (
	"testing"
	"time"

	"vmsync/internal/history"
)

func TestAgesCountFromTheBeginningOfTheRunThatMadeTheHead(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	run := func(began, ended int, o history.Outcome) history.Run {
		return history.Run{Began: noon.Add(time.Duration(began) * time.Second), Ended: noon.Add(time.Duration(ended) * time.Second), Outcome: o}
	}
	partly := run(14, 15, history.Unchanged)
	partly.Changed = 1
	runs := []history.Run{partly, run(10, 12, history.Succeeded), run(0, 3, history.Succeeded), run(5, 6, history.Failed)}
	got := ages(runs, noon, noon.Add(16*time.Second), time.Second)
	// From 3 s on the head is of 0 s, from 12 s on of 10 s.
	want := []int{2, 3, 3, 4, 4, 5, 5, 6, 7, 8, 9, 10, 11}
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i, w := range want {
		if got[i] != time.Duration(w)*time.Second {
			t.Fatalf("%v, want %v", got, want)
		}
	}
	if quantile(got, 0.5) != 5*time.Second || quantile(got, 1) != 11*time.Second || quantile(nil, 1) != 0 {
		t.Error(quantile(got, 0.5), quantile(got, 1))
	}
}
