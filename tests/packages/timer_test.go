package packages

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// TestTimerSyncsAMachineWithoutTheService has timers for a machine with a plain name, one
// with a dash, and one with a name that nobody should give.
func TestTimerSyncsAMachineWithoutTheService(t *testing.T) {
	install(t, hosta, oldVersion)
	install(t, hostb, oldVersion)
	plain, dashed := machine(t, "plain"), machine(t, "with-a-dash")
	const odd = "odd vm $HOME ü"
	oddly := renamed(t, machine(t, "odd"), odd)

	put(t, hostb, "/etc/vmsync/sync.conf", "OPTIONS=\""+fromHosta+" --keep 3\"\n")
	put(t, hostb, "/etc/vmsync/sync/with-a-dash.conf", "OPTIONS=\""+fromHosta+" --keep 1\"\n")
	put(t, hostb, "/etc/vmsync/sync/"+odd+".conf", "OPTIONS=\""+fromHosta+" --keep 2\"\n")
	escaped := on(t, hostb, "systemd-escape -- '"+odd+"'")
	for _, c := range []struct {
		instance string
		machine  *lab.Machine
		keep     string
	}{{"plain", plain, "3"}, {"with-a-dash", dashed, "1"}, {escaped, oddly, "2"}} {
		on(t, hostb, "systemctl start 'vmsync-sync@"+c.instance+".service'")
		sameAsSource(t, c.machine)
		if out := on(t, hostb, "vmsync states --json"); !strings.Contains(out, `"domain":"`+c.machine.Name()+`"`) {
			t.Errorf("no replica of %s:\n%s", c.machine.Name(), out)
		}
		says(t, hostb, "vmsync states | grep -c '^"+c.machine.Name()+"  .* keep *"+c.keep+"\\|^"+c.machine.Name()+"  .*Z  "+c.keep+" '", "1")
	}
	t.Run("every five seconds", func(t *testing.T) { everyFiveSeconds(t, plain) })
	t.Run("failure", func(t *testing.T) { failure(t, plain) })
	t.Run("another run holds the machine", func(t *testing.T) { busy(t, dashed) })
}

// renamed gives a machine a name that the lab would not.
func renamed(t *testing.T, m *lab.Machine, name string) *lab.Machine {
	t.Helper()
	on(t, hosta, "virsh destroy "+m.Name()+" && virsh domrename "+m.Name()+" '"+name+"' && virsh start --paused '"+name+"'")
	other := hosta.Machine(name)
	forget(t, other)
	return other
}

// fast is a drop-in with which a timer elapses every five seconds.
const fast = "[Timer]\nOnCalendar=\nOnCalendar=*:*:0/5\nRandomizedDelaySec=0\n"

func everyFiveSeconds(t *testing.T, m *lab.Machine) {
	put(t, hostb, "/etc/systemd/system/vmsync-sync@plain.timer.d/often.conf", fast)
	on(t, hostb, "systemctl daemon-reload && systemctl enable --now vmsync-sync@plain.timer")
	for i := range 2 {
		dirty(t, m, int64(i)*mib, mib, 10+i)
		n := states(t, m.Name())
		eventually(t, "the timer has made a state", func() bool { return states(t, m.Name()) > n })
	}
	eventually(t, "old states are deleted as its file says", func() bool { return states(t, m.Name()) == 3 })
	on(t, hostb, "systemctl disable --now vmsync-sync@plain.timer && rm -r /etc/systemd/system/vmsync-sync@plain.timer.d && systemctl daemon-reload")
	eventually(t, "no sync is under way", func() bool { return show(t, "ActiveState", "vmsync-sync@plain.service") == "inactive" })
	on(t, hostb, "systemctl start vmsync-sync@plain.service")
	sameAsSource(t, m)
}

// failure has a machine that is off, and another unit that is to be told.
func failure(t *testing.T, m *lab.Machine) {
	put(t, hostb, "/etc/systemd/system/told@.service", "[Service]\nType=oneshot\nExecStart=/bin/touch /run/told-%i\n")
	put(t, hostb, "/etc/systemd/system/vmsync-sync@.service.d/tell.conf", "[Unit]\nOnFailure=told@%i.service\n")
	on(t, hostb, "systemctl daemon-reload")
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	if out, err := try(t.Context(), hostb, "systemctl start vmsync-sync@plain.service"); err == nil {
		t.Errorf("the sync of a machine that is off succeeded: %s", out)
	}
	eventually(t, "somebody is told", func() bool {
		_, err := try(t.Context(), hostb, "test -e /run/told-plain")
		return err == nil
	})
	if log := on(t, hostb, "journalctl -u vmsync-sync@plain.service --no-pager"); !strings.Contains(log, "shut off") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	on(t, hostb, "systemctl reset-failed && rm /run/told-plain")
}

// busy starts a sync while another one holds the machine, which is no failure.
func busy(t *testing.T, m *lab.Machine) {
	// So slow that the unit finds it held, however busy this machine is.
	if err := hosta.SetLink(t.Context(), lab.Link{Rate: 4e6}); err != nil {
		t.Fatal(err)
	}
	randomData(t, m)
	other := hostb.Command(t.Context(), "vmsync", "sync", m.Name(), "--source-uri", "qemu+ssh://root@hosta/system")
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other sync holds the machine", func() bool {
		out, _ := try(t.Context(), hosta, "virsh domjobinfo "+m.Name())
		return strings.Contains(out, "Backup")
	})
	unit := "vmsync-sync@" + m.Name() + ".service"
	on(t, hostb, "systemctl start --no-block "+unit)
	eventually(t, "the unit waits to try again", func() bool { return show(t, "SubState", unit) == "auto-restart" })
	if err := hosta.SetLink(t.Context(), lab.Link{}); err != nil {
		t.Fatal(err)
	}
	if err := other.Wait(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it has synced", func() bool { return show(t, "ActiveState", unit) == "inactive" && show(t, "Result", unit) == "success" })
	if _, err := try(t.Context(), hostb, "test -e /run/told-"+m.Name()); err == nil {
		t.Error("it was told as a failure")
	}
	sameAsSource(t, m)
}
