package e2e

import (
	"os"
	"path"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/schedule"
	"vmsync/tests/lab"
)

const (
	serviceUnit   = unitDir + "vmsync.service"
	serviceConfig = "/etc/vmsync/vmsync.yaml"
	serviceHead   = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system'}\nretry: {first: 2s, max: 5s}\n"
)

// configure writes the service's configuration.
func configure(t *testing.T, text string) {
	t.Helper()
	on(t, hostb, "mkdir", "-p", path.Dir(serviceConfig))
	if err := hostb.WriteFile(serviceConfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startService runs the service on hostb with its unit, which gives syncs two seconds when
// it is to end.
func startService(t *testing.T, config string) {
	t.Helper()
	unit, err := os.ReadFile("../../systemd/vmsync.service")
	if err != nil {
		t.Fatal(err)
	}
	unit = []byte(strings.Replace(string(unit), "vmsync serve ", "vmsync serve --grace 2s ", 1))
	if err := hostb.WriteFile(serviceUnit, unit, 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hostb.Run(ctx, "sh", "-c", "systemctl stop vmsync; rm -rf "+serviceUnit+" "+path.Dir(serviceConfig)+" /var/lib/vmsync-service; systemctl daemon-reload"); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(journal(t))
		}
	})
	configure(t, config)
	on(t, hostb, "systemctl", "daemon-reload")
	if out := on(t, hostb, "sh", "-c", "systemd-analyze verify --man=no vmsync.service 2>&1"); out != "" {
		t.Errorf("systemd-analyze verify: %s", out)
	}
	on(t, hostb, "systemd-analyze", "security", "--offline=true", "--threshold=35", serviceUnit)
	on(t, hostb, "systemctl", "start", "vmsync")
}

// journal is what the service has logged.
func journal(t *testing.T, match ...string) string {
	ctx, cancel := cleanupContext()
	defer cancel()
	out, err := hostb.Run(ctx, append([]string{"journalctl", "-u", "vmsync", "-o", "short-precise", "--no-pager"}, match...)...)
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return out
}

// stands tells how the machines stand, by name, and the command's exit code.
func stands(t *testing.T, args ...string) (map[string]api.Machine, int) {
	t.Helper()
	s := admin(t, hostb, append([]string{"status", "--json"}, args...)...)
	all := map[string]api.Machine{}
	for _, m := range objects[api.Machine](t, s) {
		all[m.Name] = m
	}
	return all, s.code
}

// awaits waits until a machine stands as a test wants.
func awaits(t *testing.T, what, name string, f func(api.Machine) bool) (m api.Machine) {
	t.Helper()
	eventually(t, name+" "+what, func() bool {
		all, _ := stands(t)
		m = all[name]
		return m.Name != "" && f(m)
	})
	return m
}

func well(m api.Machine) bool { return m.Health == schedule.Healthy && m.Failures == 0 }

// TestServiceKeepsMachinesReplicated runs the service as its unit does, and has a guest go
// off, machines be paused, the configuration change, and the service end in the middle of a
// sync and die.
func TestServiceKeepsMachinesReplicated(t *testing.T) {
	one := makeMachine(t, lab.MachineSpec{Name: "service-one", Disks: []lab.DiskSpec{qcow2("vda", 128*mib)}})
	two := makeMachine(t, lab.MachineSpec{Name: "service-two", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	dirty(t, one, "vda", 0, mib, 1)
	const both = serviceHead + "machines: [{name: 'service-*', every: 5s, max_age: 15s, keep: 3}]\n"
	startService(t, both)

	for _, m := range []*lab.Machine{one, two} {
		awaits(t, "is replicated", m.Name(), func(m api.Machine) bool { return well(m) && m.States != nil && *m.States >= 2 })
	}
	s := admins(t, "status").ok(t, "service-one", "service-two", "replica", "succeeded", "ok")
	t.Log("\n" + s.stdout)
	if out := on(t, hostb, "systemctl", "status", "vmsync"); !strings.Contains(out, "2 machines") {
		t.Errorf("systemctl does not say how things stand:\n%s", out)
	}

	t.Run("sync goes through it", func(t *testing.T) { syncThroughService(t, one) })
	t.Run("guest off", func(t *testing.T) { guestOffAndOn(t, two) })
	t.Run("pause", func(t *testing.T) { pauseInService(t, one) })
	t.Run("reload", func(t *testing.T) { reloadService(t, one, two, both) })
	t.Run("end in the middle of a sync", func(t *testing.T) { stopMidSync(t, one) })
	t.Run("kill", func(t *testing.T) { killService(t, one) })

	on(t, hostb, "systemctl", "stop", "vmsync")
	nothingLeft(t, one)
	nothingLeft(t, two)
	sameAsSource(t, one, "vda")
}

func syncThroughService(t *testing.T, m *lab.Machine) {
	dirty(t, m, "vda", 2*mib, mib, 7)
	o := start(t, hostb, "sync", m.Name(), "--json").wait()
	if s := succeeded(t, o); s.Kind != "incremental" || o.find("run").Domain != m.Name() {
		t.Errorf("%+v", o.events)
	}
	sameAsSource(t, m, "vda")
	admins(t, "sync", m.Name()).ok(t, "state", "run ")
	admins(t, "sync", m.Name(), "--rate", "1M").exits(t, 2, "replicated by the service", "--rate")
	admins(t, "status", "nobody").exits(t, 1, "no machine of this name")
	log := journal(t, "DOMAIN="+m.Name())
	if !strings.Contains(log, "synced") || !strings.Contains(log, "transfer done") || strings.Contains(log, "service-two") {
		t.Errorf("the journal has no fields:\n%s", log)
	}
}

func guestOffAndOn(t *testing.T, m *lab.Machine) {
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	off := awaits(t, "has failed twice", m.Name(), func(m api.Machine) bool { return m.Failures >= 2 && m.Error != nil })
	if off.Error.Kind != "domain-off" || off.Error.Hint == "" {
		t.Errorf("%+v", off.Error)
	}
	awaits(t, "is older than promised", m.Name(), func(m api.Machine) bool { return m.Broken() })
	if _, code := stands(t); code != 1 {
		t.Errorf("status exits %d although a replica is older than promised", code)
	}
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaits(t, "has recovered", m.Name(), well)
	if log := journal(t, "DOMAIN="+m.Name()); !strings.Contains(log, "older than promised") || !strings.Contains(log, "as fresh as promised again") {
		t.Errorf("the breach was not told:\n%s", log)
	}
}

func pauseInService(t *testing.T, m *lab.Machine) {
	admins(t, "pause", m.Name(), "--reason", "roof work").ok(t, "paused")
	admins(t, "pause", m.Name()).ok(t, "paused already")
	p := awaits(t, "rests", m.Name(), func(m api.Machine) bool { return m.Doing == api.Resting })
	time.Sleep(7 * time.Second)
	if now := awaits(t, "rests", m.Name(), func(api.Machine) bool { return true }); now.Last.ID != p.Last.ID || now.Health != api.Paused || now.Paused.Reason != "roof work" {
		t.Errorf("%+v", now)
	}
	admins(t, "sync", m.Name()).exits(t, 1, "paused", "vmsync resume "+m.Name())
	admins(t, "resume", m.Name()).ok(t, "goes on")
	awaits(t, "goes on", m.Name(), func(m api.Machine) bool { return well(m) && m.Last.ID != p.Last.ID })
}

func reloadService(t *testing.T, one, two *lab.Machine, config string) {
	configure(t, serviceHead+"machines: [{name: 'service-*', evry: 5s}]\n")
	on(t, hostb, "systemctl", "reload", "vmsync")
	eventually(t, "the bad configuration is refused", func() bool {
		return strings.Contains(journal(t), "vmsync.yaml:4:")
	})
	if all, _ := stands(t); len(all) != 2 {
		t.Errorf("the bad configuration changed something: %+v", all)
	}
	configure(t, serviceHead+"machines: [{name: "+one.Name()+", every: 6s, max_age: 1m}]\n")
	on(t, hostb, "systemctl", "reload", "vmsync")
	eventually(t, "one machine is left", func() bool {
		all, _ := stands(t)
		return len(all) == 1 && all[one.Name()].Schedule == "every 6s"
	})
	configure(t, config)
	on(t, hostb, "systemctl", "reload", "vmsync")
	awaits(t, "is back", two.Name(), well)
}

func stopMidSync(t *testing.T, m *lab.Machine) {
	slowly(t)
	randomData(t, m, "vda", 16*mib, 64*mib)
	awaits(t, "is in the middle of a sync", m.Name(), func(m api.Machine) bool {
		return m.Running != nil && m.Running.Phase == "transfer" && m.Running.Done > 2*mib
	})
	on(t, hostb, "systemctl", "stop", "vmsync")
	if out := on(t, hostb, "systemctl", "show", "-p", "Result,ExecMainStatus", "vmsync"); !strings.Contains(out, "Result=success") || !strings.Contains(out, "ExecMainStatus=0") {
		t.Errorf("it did not end well: %s", out)
	}
	nothingLeft(t, m)
	admins(t, "status").exits(t, 1, "does not run")
	setLink(t, hosta, lab.Link{})
	on(t, hostb, "systemctl", "start", "vmsync")
	awaits(t, "is replicated again", m.Name(), well)
	if log := journal(t, "DOMAIN="+m.Name()); !strings.Contains(log, "given up") {
		t.Errorf("the run was not given up:\n%s", log)
	}
}

func killService(t *testing.T, m *lab.Machine) {
	if n, err := hostb.SignalAll("vmsync serve", syscall.SIGKILL); err != nil || n == 0 {
		t.Fatalf("killed %d processes, %v", n, err)
	}
	killed := time.Now()
	awaits(t, "is replicated after a kill", m.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.After(killed) })
	dirty(t, m, "vda", 0, mib, 99)
	admins(t, "sync", m.Name()).ok(t, "incremental")
	sameAsSource(t, m, "vda")
}

// TestServiceFreezesAndWaitsAsItIsTold has guests that can and cannot be frozen, and machines
// of which too little changes.
func TestServiceFreezesAndWaitsAsItIsTold(t *testing.T) {
	idle := makeMachine(t, lab.MachineSpec{Name: "service-idle", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	slow := makeMachine(t, lab.MachineSpec{Name: "service-slow", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	live := makeMachine(t, lab.MachineSpec{Name: "service-live", Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	startService(t, serviceHead+`defaults: {every: 5s, keep: 20}
machines:
  - {name: service-idle, rpo: 5s, quiesce: no}
  - {name: service-slow, every: 5s, min_changed: 4MiB, min_changed_max_age: 1h}
  - {name: service-live, quiesce: required, freeze_mountpoints: [/mnt/vda]}
`)
	for _, m := range []*lab.Machine{idle, slow, live} {
		awaits(t, "is replicated", m.Name(), well)
	}
	if s := head(t, live.Name()); s.Consistency != "filesystem" {
		t.Errorf("a guest that must be frozen: %+v", s)
	}
	thawed(t, live)

	// Nothing changes: the replica stays fresh, without new states.
	began := time.Now()
	awaits(t, "stays fresh", idle.Name(), func(m api.Machine) bool { return well(m) && m.Fresh.Sub(began) > 10*time.Second })
	if n := len(manifest(t, idle.Name()).States); n != 1 {
		t.Errorf("an idle machine has %d states", n)
	}
	dirty(t, idle, "vda", mib, mib, 5)
	awaits(t, "has what changed", idle.Name(), func(m api.Machine) bool { return well(m) && *m.States == 2 })
	sameAsSource(t, idle, "vda")

	dirty(t, slow, "vda", 0, mib, 5)
	few := awaits(t, "waits for more", slow.Name(), func(m api.Machine) bool { return m.Last.Outcome == "unchanged" && m.Last.Changed == mib })
	if *few.States != 1 || few.Health != schedule.Healthy {
		t.Errorf("%+v", few)
	}
	o := start(t, hostb, "sync", slow.Name(), "--min-changed", "2MiB", "--json").wait()
	if s := o.find("skipped"); o.code != 0 || s.ChangedBytes != mib {
		t.Errorf("%d %+v", o.code, o.events)
	}
	dirty(t, slow, "vda", 8*mib, 3*mib, 5)
	awaits(t, "has enough", slow.Name(), func(m api.Machine) bool { return *m.States == 2 })

	// A mount point that is not there would be left out without a word.
	configure(t, serviceHead+"machines: [{name: service-live, every: 5s, quiesce: required, freeze_mountpoints: [/mnt/gone]}]\n")
	on(t, hostb, "systemctl", "reload", "vmsync")
	bad := awaits(t, "is not synced unless it can be frozen", live.Name(), func(m api.Machine) bool { return m.Failures > 0 })
	if bad.Error == nil || bad.Error.Kind != "not-frozen" || !strings.Contains(bad.Error.Message, "/mnt/gone") || !strings.Contains(bad.Error.Hint, "quiesce") {
		t.Errorf("%+v", bad.Error)
	}
	on(t, hostb, "systemctl", "stop", "vmsync")
	thawed(t, live)
	nothingLeft(t, live)
	s := sync(t, live.Name(), "--min-changed", "1")
	if s.Consistency != "filesystem" {
		t.Errorf("%+v", s)
	}
}
