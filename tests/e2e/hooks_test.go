package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/tests/lab"
)

const (
	hookHead = "version: 1\nsources: {src: 'qemu+ssh://root@hosta/system'}\nretry: {first: 1h, max: 1h}\n"
	// noteHook writes down how it was called.
	noteHook   = "/usr/local/sbin/note"
	notes      = "/run/hook-notes"
	noteScript = `#!/bin/sh
{
	echo "arguments: $*"
	echo "in $(pwd), stdin $(readlink /proc/self/fd/0)"
	env | grep -v -e '^PWD=' -e '^OLDPWD=' -e '^SHLVL=' -e '^_=' | sort
	echo
} >>/run/hook-notes
echo "noted $1"
`
	// hangHook hangs, and so do a child of it and one with a session of its own.
	hangHook   = "/usr/local/sbin/hang"
	hangScript = `#!/bin/sh
trap "" TERM
sleep 86399 &
setsid sleep 86399 &
echo hanging
while :; do sleep 86399; done
`
	failHook   = "/usr/local/sbin/fail"
	failScript = "#!/bin/sh\necho the database is on fire >&2\nexit 3\n"
)

// hookHosts puts the hooks on both hosts.
func hookHosts(t *testing.T) {
	t.Helper()
	for _, h := range []*lab.Host{hosta, hostb} {
		for path, text := range map[string]string{noteHook: noteScript, hangHook: hangScript, failHook: failScript} {
			if err := h.WriteFile(path, []byte(text), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		t.Cleanup(func() {
			ctx, cancel := cleanupContext()
			defer cancel()
			if _, err := h.Run(ctx, "rm", "-f", noteHook, hangHook, failHook, notes); err != nil {
				t.Error(err)
			}
		})
	}
}

// hooked has the service sync a machine each so many hours, with hooks, and waits until it
// knows.
func hooked(t *testing.T, m *lab.Machine, hours int, hooks string) {
	t.Helper()
	configure(t, hookConfig(m, hours, hooks))
	on(t, hostb, "systemctl", "reload", "vmsync")
	awaits(t, "has its hooks", m.Name(), func(s api.Machine) bool { return s.Schedule == fmt.Sprintf("every %dh", hours) })
	on(t, hosta, "rm", "-f", notes)
	on(t, hostb, "rm", "-f", notes)
}

func hookConfig(m *lab.Machine, hours int, hooks string) string {
	return fmt.Sprintf("%smachines:\n  - name: %s\n    every: %dh\n    target_domain: '{domain}'\n%s", hookHead, m.Name(), hours, hooks)
}

// askFor has the service sync a machine.
func askFor(t *testing.T, m *lab.Machine) outcome {
	t.Helper()
	return start(t, hostb, "sync", m.Name(), "--json").wait()
}

// noted is what the hooks on a host have written down.
func noted(t *testing.T, h *lab.Host) string {
	t.Helper()
	b, err := h.ReadFile(notes)
	if err != nil {
		return ""
	}
	return string(b)
}

// note is what a hook should write down.
func note(arguments string, v map[string]string) string {
	all := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	for _, name := range []string{"HOOK", "DOMAIN", "TARGET_DOMAIN", "SOURCE", "STORE", "RUN", "CHECKPOINT", "CONSISTENCY", "STATE", "OUTCOME", "ERROR_KIND", "ERROR"} {
		all = append(all, "VMSYNC_"+name+"="+v[name])
	}
	slices.Sort(all)
	return "arguments: " + arguments + "\nin /, stdin /dev/null\n" + strings.Join(all, "\n") + "\n\n"
}

// with is variables, and some more.
func with(v map[string]string, more ...string) map[string]string {
	all := map[string]string{}
	for name, value := range v {
		all[name] = value
	}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = more[i+1]
	}
	return all
}

// began lists which hooks of a run began, in order.
func began(o outcome) (hooks []string) {
	for _, e := range o.events {
		if name, ok := strings.CutSuffix(e.Message, " begins"); ok && e.Event == "notice" && strings.Contains(name, " hook ") {
			hooks = append(hooks, strings.TrimPrefix(name, "the "))
		}
	}
	return hooks
}

// hanging tells whether anything of the hook that hangs is on a host.
func hanging(t *testing.T, h *lab.Host) bool {
	t.Helper()
	for _, what := range []string{hangHook, "sleep 86399"} {
		if pids, err := h.Pids(t.Context(), what); err != nil {
			t.Fatal(err)
		} else if len(pids) > 0 {
			return true
		}
	}
	return false
}

// TestHooksOnAllThreePlaces has the service run hooks on source, target and in a live guest.
func TestHooksOnAllThreePlaces(t *testing.T) {
	hookHosts(t)
	m := makeMachine(t, lab.MachineSpec{Name: "hooks-live", Guest: true, Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	startService(t, hookConfig(m, 1, ""))
	awaits(t, "is replicated", m.Name(), well)
	inGuest(t, m, "sh", "-c", `mkdir -p /usr/local/sbin; printf '%s' "$0" >`+noteHook+"; chmod 755 "+noteHook, noteScript)
	hooked(t, m, 2, `    quiesce: required
    before:
      - {on: source, command: [`+noteHook+`, one, "a b"]}
      - {on: guest, command: [`+noteHook+`, two, "$HOME; *"]}
      - {on: target, command: [`+noteHook+`, three]}
    after_checkpoint:
      - {on: guest, command: [note, four]}
    after:
      - {on: target, command: [`+noteHook+`, five]}
      - {on: guest, command: [`+noteHook+`, six]}
      - {on: source, command: [`+noteHook+`, seven]}
`)
	o := askFor(t, m)
	s := succeeded(t, o)
	want := []string{"before hook " + noteHook + " on the source", "before hook " + noteHook + " in the guest", "before hook " + noteHook + " on the target",
		"after_checkpoint hook note in the guest",
		"after hook " + noteHook + " on the target", "after hook " + noteHook + " in the guest", "after hook " + noteHook + " on the source"}
	if got := began(o); !slices.Equal(got, want) {
		t.Errorf("hooks ran\n%s", strings.Join(got, "\n"))
	}
	if text := o.messages("notice"); !strings.Contains(text, "the before hook "+noteHook+" in the guest: noted two\n") || !strings.Contains(text, "on the target: noted five\n") {
		t.Errorf("what they wrote is not there:\n%s", text)
	}
	before := map[string]string{"HOOK": "before", "DOMAIN": m.Name(), "TARGET_DOMAIN": m.Name(), "SOURCE": "src", "STORE": storeDir,
		"RUN": awaits(t, "was synced", m.Name(), well).Last.ID, "CHECKPOINT": head(t, m.Name()).Checkpoint}
	taken := with(before, "HOOK", "after_checkpoint", "OUTCOME", "succeeded", "CONSISTENCY", "filesystem")
	after := with(taken, "HOOK", "after", "STATE", s.State)
	for where, c := range map[string]struct{ got, want string }{
		"source": {noted(t, hosta), note("one a b", before) + note("seven", after)},
		"target": {noted(t, hostb), note("three", before) + note("five", after)},
		"guest":  {inGuest(t, m, "cat", notes), note("two $HOME; *", before) + note("four", taken) + note("six", after)},
	} {
		if c.got != c.want {
			t.Errorf("%s: got\n%s\nwant\n%s", where, c.got, c.want)
		}
	}
	if log := journal(t, "RUN="+before["RUN"]); !strings.Contains(log, "in the guest: noted two") {
		t.Errorf("the journal does not have what hooks write:\n%s", log)
	}
	thawed(t, m)

	t.Run("unchanged", func(t *testing.T) {
		hooked(t, m, 3, "    before: [{on: source, command: ["+noteHook+"]}]\n    after: [{on: target, command: ["+noteHook+"]}]\n")
		o := start(t, hostb, "sync", m.Name(), "--min-changed", "1GiB", "--json").wait()
		if o.find("skipped").Event == "" || noted(t, hosta)+noted(t, hostb) != "" {
			t.Errorf("%+v\n%s", o.events, noted(t, hosta))
		}
	})
	t.Run("too long", func(t *testing.T) {
		hooked(t, m, 4, "    before: [{on: guest, command: [sleep, '86399'], timeout: 2s}]\n")
		e := failed(t, askFor(t, m), 1, "hook-failed", m.Name(), "")
		said, pid, _ := strings.Cut(e.Message, ", and goes on in the guest as process ")
		if !strings.HasSuffix(said, "it took longer than 2s; it cannot be ended from here") || inGuest(t, m, "cat", "/proc/"+pid+"/cmdline") != "sleep\x0086399\x00" {
			t.Errorf("%+v", e)
		}
		inGuest(t, m, "kill", pid)
	})
	t.Run("status", func(t *testing.T) {
		hooked(t, m, 5, "    before: [{on: guest, command: [sh, -c, 'echo out; echo err >&2; exit 7']}, {on: source, command: ["+noteHook+"]}]\n")
		e := failed(t, askFor(t, m), 1, "hook-failed", m.Name(), "")
		if !strings.HasSuffix(e.Message, "before hook sh in the guest: it ended with status 7: out; err") || noted(t, hosta) != "" {
			t.Errorf("%+v", e)
		}
	})
	t.Run("missing", func(t *testing.T) {
		hooked(t, m, 6, "    before: [{on: guest, command: [/no/such/program]}]\n")
		if e := failed(t, askFor(t, m), 1, "hook-failed", m.Name(), ""); !strings.Contains(e.Message, "No such file or directory") {
			t.Errorf("%+v", e)
		}
	})
	t.Run("much output", func(t *testing.T) {
		hooked(t, m, 7, "    before: [{on: guest, command: [sh, -c, 'yes 0123456789 | head -n 100000; echo the end; exit 1'], on_failure: warn}]\n")
		o := askFor(t, m)
		succeeded(t, o)
		if n := strings.Count(o.messages("notice"), "0123456789"); n != 1000 || !strings.Contains(o.messages("warning"), "status 1") || !strings.Contains(o.messages("warning"), "the end; see") {
			t.Errorf("%d lines, warnings %s", n, o.messages("warning"))
		}
	})
	t.Run("more output than libvirt passes on", func(t *testing.T) {
		hooked(t, m, 10, "    quiesce: required\n    before: [{on: guest, command: [sh, -c, 'head -c 5000000 /dev/zero'], on_failure: warn}]\n")
		o := askFor(t, m)
		if s := succeeded(t, o); s.Consistency != "filesystem" || !strings.Contains(o.messages("warning"), "wrote more than libvirt passes on") {
			t.Errorf("%+v, warnings %s", s, o.messages("warning"))
		}
	})
	t.Run("guest-exec is not allowed", func(t *testing.T) { guestExecForbidden(t, m) })
	t.Run("agent hangs", func(t *testing.T) {
		hooked(t, m, 9, "    quiesce: no\n    before: [{on: guest, command: ["+noteHook+"], timeout: 30s, on_failure: warn}]\n")
		if err := m.AgentStop(t.Context()); err != nil {
			t.Fatal(err)
		}
		o := askFor(t, m)
		if err := m.AgentCont(t.Context()); err != nil {
			t.Fatal(err)
		}
		succeeded(t, o)
		if w := o.messages("warning"); !strings.Contains(w, "qemu-guest-agent runs in the guest") {
			t.Errorf("warnings %q", w)
		}
	})
	on(t, hostb, "systemctl", "stop", "vmsync")
	nothingLeft(t, m)
}

// guestExecForbidden restarts the guest's agent as RHEL and its kin have it.
func guestExecForbidden(t *testing.T, m *lab.Machine) {
	if err := m.AgentKill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Control(t.Context(), `sed "s/--daemonize/--daemonize -b guest-exec,guest-exec-status/" /sbin/lab-agent | sh`); err != nil {
		t.Fatal(err)
	}
	if err := m.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	hooked(t, m, 8, "    quiesce: required\n    before: [{on: guest, command: ["+noteHook+"]}]\n")
	e := failed(t, askFor(t, m), 1, "hook-failed", m.Name(), "")
	if !strings.Contains(e.Hint, "guest-exec") || !strings.Contains(e.Hint, "/etc/sysconfig/qemu-ga") {
		t.Errorf("%+v", e)
	}
	if err := m.AgentKill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := m.AgentStart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestHooksThatFailOrHang has hooks on both hosts fail, hang, and lose their agent.
func TestHooksThatFailOrHang(t *testing.T) {
	hookHosts(t)
	m := makeMachine(t, lab.MachineSpec{Name: "hooks-paused", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	const (
		undo = "    after_checkpoint: [{on: source, command: [" + noteHook + ", resume]}]\n    after: [{on: target, command: [" + noteHook + ", report]}]\n"
		dies = "    before: [{on: source, command: [" + noteHook + ", stop]}, {on: source, command: [" + failHook + "]}, {on: target, command: [" + noteHook + ", never]}]\n"
	)
	startService(t, hookConfig(m, 1, dies+undo))
	t.Run("first run", func(t *testing.T) {
		awaits(t, "has failed", m.Name(), func(s api.Machine) bool { return s.Failures == 1 && s.Error != nil && s.Error.Kind == "hook-failed" })
		if got := checkpoints(t, m); len(got) > 0 {
			t.Errorf("checkpoints %v", got)
		}
		if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
			t.Errorf("a state: %+v", mf.Head())
		}
	})
	hooked(t, m, 2, "")
	sync := succeeded(t, askFor(t, m))
	first := head(t, m.Name())

	t.Run("abort", func(t *testing.T) {
		dirty(t, m, "vda", 0, mib, 1)
		hooked(t, m, 3, dies+undo)
		o := askFor(t, m)
		e := failed(t, o, 1, "hook-failed", m.Name(), "")
		if want := "run the before hook " + failHook + " on the source: it ended with status 3: the database is on fire"; e.Message != want {
			t.Errorf("%q, want %q", e.Message, want)
		}
		if head(t, m.Name()).ID != sync.State || !slices.Equal(checkpoints(t, m), []string{first.Checkpoint}) {
			t.Errorf("head %s, checkpoints %v", head(t, m.Name()).ID, checkpoints(t, m))
		}
		before := map[string]string{"HOOK": "before", "DOMAIN": m.Name(), "TARGET_DOMAIN": m.Name(), "SOURCE": "src", "STORE": storeDir,
			"RUN": awaits(t, "has failed", m.Name(), func(s api.Machine) bool { return s.Failures == 1 }).Last.ID}
		got := noted(t, hosta)
		_, rest, _ := strings.Cut(got, "VMSYNC_CHECKPOINT=")
		before["CHECKPOINT"], _, _ = strings.Cut(rest, "\n") // of a checkpoint that is not there
		undone := with(before, "HOOK", "after_checkpoint", "OUTCOME", "failed", "ERROR_KIND", "hook-failed", "ERROR", e.Message)
		if want := note("stop", before) + note("resume", undone); got != want || before["CHECKPOINT"] == first.Checkpoint || before["CHECKPOINT"] == "" {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		if got, want := noted(t, hostb), note("report", with(undone, "HOOK", "after")); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
	t.Run("warn and hang", func(t *testing.T) {
		hooked(t, m, 4, "    before: [{on: source, command: ["+failHook+"], on_failure: warn}, {on: target, command: ["+hangHook+"], timeout: 1s, on_failure: warn}]\n"+
			"    after: [{on: target, command: ["+failHook+"], on_failure: abort}, {on: source, command: [/no/such/program]}]\n")
		o := askFor(t, m)
		succeeded(t, o)
		for _, want := range []string{"before hook " + failHook + " on the source: it ended with status 3: the database is on fire",
			"before hook " + hangHook + " on the target: it took longer than 1s and was ended: hanging",
			"after hook " + failHook + " on the target: it ended with status 3", "after hook /no/such/program on the source: there is no such program"} {
			if !strings.Contains(o.messages("warning"), want) {
				t.Errorf("no warning %q in\n%s", want, o.messages("warning"))
			}
		}
		if hanging(t, hosta) || hanging(t, hostb) {
			t.Error("it hangs on")
		}
		// The state is there: that the hook after it failed is kept with the run.
		s := awaits(t, "was synced", m.Name(), func(s api.Machine) bool { return s.Failures == 0 })
		if s.Last.Outcome != "succeeded" || s.Last.Error == nil || s.Last.Error.Kind != "hook-failed" || s.Last.State != head(t, m.Name()).ID {
			t.Errorf("%+v", s.Last)
		}
		sameAsSource(t, m, "vda")
	})
	t.Run("longer than the target waits for streams otherwise", func(t *testing.T) {
		hooked(t, m, 5, "    before: [{on: target, command: [/bin/sleep, '65'], timeout: 2m}]\n")
		if s := succeeded(t, askFor(t, m)); s.Transport != "direct" {
			t.Errorf("%+v", s)
		}
	})
	for i, h := range []*lab.Host{hostb, hosta} {
		place, other := []string{"target", "source"}[i], []*lab.Host{hosta, hostb}[i]
		t.Run("agent killed on the "+place, func(t *testing.T) {
			// The service tries again when the source answers again: that hangs as well, and ends.
			hooked(t, m, 6+i, "    before: [{on: "+place+", command: ["+hangHook+"], timeout: 20s}]\n    after: [{on: "+[]string{"source", "target"}[i]+", command: ["+noteHook+", after]}]\n")
			r := start(t, hostb, "sync", m.Name(), "--json")
			eventually(t, "the hook hangs", func() bool { return hanging(t, h) })
			killAll(t, h, "vmsync agent")
			failed(t, r.wait(), 1, "agent-lost", m.Name(), "")
			eventually(t, "nothing of the hook is left", func() bool { return !hanging(t, h) })
			if got := noted(t, other); !strings.Contains(got, "VMSYNC_OUTCOME=failed\n") {
				t.Errorf("the hook after it:\n%s", got)
			}
		})
	}
	hooked(t, m, 8, "")
	succeeded(t, askFor(t, m)) // when what the service tries by itself has ended
	t.Run("service ends", func(t *testing.T) {
		hooked(t, m, 9, "    before: [{on: source, command: ["+hangHook+"], timeout: 1h}]\n"+undo)
		r := start(t, hostb, "sync", m.Name(), "--json")
		eventually(t, "the hook hangs", func() bool { return hanging(t, hosta) })
		began := time.Now()
		on(t, hostb, "systemctl", "stop", "vmsync")
		t.Logf("ended within %v", time.Since(began).Round(time.Second))
		r.wait()
		if hanging(t, hosta) {
			t.Error("it hangs on")
		}
		for _, h := range []*lab.Host{hosta, hostb} {
			if got := noted(t, h); !strings.Contains(got, "VMSYNC_OUTCOME=aborted\n") || !strings.Contains(got, "VMSYNC_ERROR_KIND=canceled\n") {
				t.Errorf("what undoes on %s: %s", h.Name(), got)
			}
		}
		nothingLeft(t, m)
	})
	t.Run("service killed", func(t *testing.T) {
		on(t, hostb, "systemctl", "start", "vmsync")
		r := start(t, hostb, "sync", m.Name(), "--json")
		eventually(t, "the hook hangs", func() bool { return hanging(t, hosta) })
		on(t, hostb, "systemctl", "kill", "--signal=KILL", "vmsync")
		r.wait()
		eventually(t, "nothing of the hook is left", func() bool { return !hanging(t, hosta) })
		// The next run cleans up what the other children of the service have left.
		configure(t, hookConfig(m, 10, ""))
		on(t, hostb, "systemctl", "restart", "vmsync")
		succeeded(t, askFor(t, m))
		on(t, hostb, "systemctl", "stop", "vmsync")
		nothingLeft(t, m)
	})
}
