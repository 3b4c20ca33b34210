package upstream_test

import (
	"strconv"
	"testing"

	"vmsync/nbdproxy/nbdtest"
	"vmsync/nbdproxy/upstream"
)

const (
	kib = nbdtest.KiB
	mib = nbdtest.MiB
)

// dial connects a backend, closed when the test ends.
func dial(t testing.TB, s *nbdtest.Server, bitmap string) *upstream.Backend {
	t.Helper()
	b, err := upstream.Dial(t.Context(), upstream.Config{Socket: s.Socket, Export: "disk", Bitmap: bitmap, Conns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
