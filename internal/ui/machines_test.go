package ui

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMachinesAsATable(t *testing.T) {
	var b bytes.Buffer
	if err := MachineTable(&b, []Machine{
		{Name: "vm1", Source: "hosta", Role: "replica", Age: 75 * time.Second, RPO: 30 * time.Minute, Last: "succeeded", LastAgo: 72 * time.Second,
			Changed: 5 << 20, Sent: 1 << 20, States: 3, Health: "ok", Doing: "idle"},
		{Name: "vm\x1b2", Source: "hostb", Age: -1, RPO: 25 * time.Hour, Changed: -1, Sent: -1, States: -1, Health: "broken", Doing: "retrying", Remark: "it is shut off; tried again in 30s"},
	}); err != nil {
		t.Fatal(err)
	}
	const want = `machine  source  role     age / rpo  last run           changed     sent  states  health  now
vm1      hosta   replica  75s / 30m  succeeded 72s ago  5.0 MiB  1.0 MiB       3  ok      idle
vm` + "\uFFFD" + `2     hostb   -          - / 25h  -                        -        -       -  broken  retrying  it is shut off; tried again in 30s
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for d, want := range map[time.Duration]string{0: "0s", 119 * time.Second: "119s", 2 * time.Minute: "2m", 150 * time.Second: "2m30s", 3599 * time.Second: "59m",
		time.Hour + 5*time.Minute: "1h5m", 50 * time.Hour: "2d2h", 48 * time.Hour: "2d"} {
		if got := spanText(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}
