package fstest

import (
	"testing"

	"golang.org/x/sys/unix"
)

// CPU makes a benchmark tell what processor time an operation took, which other programs
// on the machine change less than they change how long it took. The result is to be called
// at the end.
func CPU(b *testing.B) func() {
	b.Helper()
	begin := used(b)
	return func() { b.ReportMetric(float64(used(b)-begin)/float64(b.N), "cpu-ns/op") }
}

// used is the process's processor time in nanoseconds.
func used(b *testing.B) int64 {
	b.Helper()
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return unix.TimevalToNsec(usage.Utime) + unix.TimevalToNsec(usage.Stime)
}
