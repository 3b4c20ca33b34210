package main

import "testing"

func TestPhasesAreReadFromTheServicesLog(t *testing.T) {
	log := "serving version=x\nconnect done took=20ms\ntransfer done took=1.5s\nconnect done took=40ms\nconnect done took=30ms detail=\"a b\"\nsync failed: transfer done took\n"
	if got, want := phases(log), "connect 0.03 s (longest 0.04 s), transfer 1.50 s (longest 1.50 s)"; got != want {
		t.Errorf("%q", got)
	}
}
