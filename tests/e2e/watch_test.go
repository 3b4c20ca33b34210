package e2e

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/termtest"
	"vmsync/tests/lab"
)

// onTerminal runs vmsync on hostb, on a terminal.
func onTerminal(t *testing.T, columns, rows int, env []string, args ...string) (*termtest.Screen, *exec.Cmd) {
	t.Helper()
	s, err := termtest.Open(columns, rows)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	cmd := hostb.Command(t.Context(), append([]string{binDir + "vmsync"}, args...)...)
	cmd.Env = append(cmd.Env, env...)
	s.Attach(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return s, cmd
}

func sees(t *testing.T, s *termtest.Screen, text string) {
	t.Helper()
	if err := s.AwaitText(2*time.Minute, text); err != nil {
		t.Fatal(err)
	}
}

// quits presses q, and checks that the command succeeds and leaves the terminal as it was.
func quits(t *testing.T, s *termtest.Screen, cmd *exec.Cmd) {
	t.Helper()
	if err := s.Type("q"); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v\n%s", err, s.Text())
	}
	if cooked, err := s.Cooked(); err != nil || !cooked {
		t.Errorf("the terminal is left raw, %v", err)
	}
	if err := s.Await(10*time.Second, "the shell's screen", func(string) bool { return !s.AltScreen() }); err != nil {
		t.Error(err)
	}
}

// TestStatusIsWatchedOnATerminal watches a real service on a terminal: a sync as it goes, the
// service while it restarts, and a replica that gets older than promised, which the exit
// status of a plain look tells.
func TestStatusIsWatchedOnATerminal(t *testing.T) {
	one := makeMachine(t, lab.MachineSpec{Name: "watch-one", Disks: []lab.DiskSpec{qcow2("vda", 128*mib)}})
	two := makeMachine(t, lab.MachineSpec{Name: "watch-two", Disks: []lab.DiskSpec{qcow2("vda", 64*mib)}})
	startService(t, serviceHead+"machines: [{name: 'watch-*', every: 5s, max_age: 30s, keep: 3}]\n")
	for _, m := range []*lab.Machine{one, two} {
		awaits(t, "is replicated", m.Name(), well)
	}
	for _, args := range [][]string{{"status"}, {"status", one.Name()}} {
		s := admins(t, args...).ok(t, one.Name(), "replica", "KiB", "ok")
		t.Log("\n" + s.stdout)
		if strings.Contains(s.stdout, "\x1b") {
			t.Errorf("colours in a pipe: %q", s.stdout)
		}
	}

	s, cmd := onTerminal(t, 80, 24, []string{"TERM=xterm-256color"}, "status", "--watch")
	sees(t, s, "2 machines: 2 ok")
	sees(t, s, "> watch-one")
	sees(t, s, "synced in")

	slowly(t)
	randomData(t, one, "vda", 16*mib, 48*mib)
	if err := s.Await(2*time.Minute, "a bar with a rate", func(text string) bool {
		for line := range strings.Lines(text) {
			if strings.HasPrefix(line, "watch-one  transfer  [#") && strings.Contains(line, "%") && strings.Contains(line, "/s") {
				return true
			}
		}
		return false
	}); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + s.Text())
	setLink(t, hosta, lab.Link{})

	on(t, hostb, "systemctl", "stop", "vmsync")
	sees(t, s, "no answer for")
	on(t, hostb, "systemctl", "start", "vmsync")
	sees(t, s, "2 machines: 2 ok")

	if err := two.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	sees(t, s, "watch-two is older than promised")
	sees(t, s, "1 broken")
	if err := s.Type("\x1b[B"); err != nil {
		t.Fatal(err)
	}
	sees(t, s, "error: ")
	t.Log("\n" + s.Text())
	quits(t, s, cmd)

	for args, code := range map[string]int{"": 1, one.Name(): 0, two.Name(): 1, "hosta/" + two.Name(): 1} {
		admins(t, strings.Fields("status "+args)...).exits(t, code)
	}
	t.Run("table on a terminal", statusOnATerminal)
	t.Run("without a terminal", func(t *testing.T) { watchWithoutATerminal(t, one) })
	on(t, hostb, "systemctl", "stop", "vmsync")
	admins(t, "status", "--watch").exits(t, 1, "does not run")
	nothingLeft(t, one)
}

// statusOnATerminal has the table on terminals that show colours, or not, or are narrow.
func statusOnATerminal(t *testing.T) {
	for name, c := range map[string]struct {
		columns  int
		env      []string
		coloured bool
	}{
		"colours":  {80, []string{"TERM=xterm-256color"}, true},
		"NO_COLOR": {80, []string{"TERM=xterm-256color", "NO_COLOR=1"}, false},
		"dumb":     {80, []string{"TERM=dumb"}, false},
		"narrow":   {40, []string{"TERM=linux"}, true},
	} {
		s, cmd := onTerminal(t, c.columns, 12, c.env, "status")
		sees(t, s, "broken")
		if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
			t.Errorf("%s: %v", name, err)
		}
		coloured := false
		for _, row := range s.Cells() {
			for _, cell := range row {
				coloured = coloured || cell.Style.Fg != nil
			}
		}
		if coloured != c.coloured {
			t.Errorf("%s: coloured is %v", name, coloured)
		}
		// Nothing is wrapped: titles, two machines.
		lines := strings.Split(strings.TrimRight(s.Text(), "\n"), "\n")
		if len(lines) != 3 || !strings.HasPrefix(lines[1], "watch-one ") || !strings.Contains(lines[2], " broken") {
			t.Errorf("%s:\n%s", name, s.Text())
		}
	}
}

// watchWithoutATerminal has what happens as lines.
func watchWithoutATerminal(t *testing.T, m *lab.Machine) {
	for _, args := range [][]string{{"status", "--watch"}, {"status", "--watch", "--json", m.Name()}} {
		var stdout, stderr bytes.Buffer
		cmd := hostb.Command(t.Context(), append([]string{binDir + "vmsync"}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // it listens
		admins(t, "sync", m.Name()).ok(t)
		time.Sleep(time.Second) // it has heard
		if err := hostb.Signal(cmd, syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v: %v, %s", args, err, stderr.String())
		}
		if len(args) == 2 {
			if !strings.Contains(stdout.String(), "Z hosta/watch-one sync begins (request)\n") || strings.Contains(stdout.String(), "\x1b") {
				t.Errorf("%q", stdout.String())
			}
			continue
		}
		asked := false
		for _, e := range objects[api.Event](t, said{stdout: stdout.String()}) {
			asked = asked || e.Event == api.EventRunEnded && e.Run.Trigger == "request" && e.Run.Outcome == "succeeded"
			if e.Machine != "" && e.Machine != m.Name() {
				t.Errorf("of another machine: %+v", e)
			}
		}
		if !asked {
			t.Errorf("%s", stdout.String())
		}
	}
}
