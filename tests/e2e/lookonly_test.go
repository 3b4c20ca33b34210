package e2e

import (
	"os"
	"strings"
	"testing"

	"vmsync/replicator"
	"vmsync/replicator/remote"
	"vmsync/tests/lab"
)

// lookOnly asks an agent on hosta for a look that changes nothing.
func lookOnly(t *testing.T, m *lab.Machine) *replicator.SourceView {
	t.Helper()
	cmd := hosta.Command(t.Context(), binDir+"vmsync", "agent")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c, err := remote.Connect(t.Context(), remote.Process{Host: "hosta", Stdin: stdin, Stdout: stdout, Wait: cmd.Wait,
		Kill: func() { _ = cmd.Process.Kill() }}, remote.RoleSource)
	if err != nil {
		t.Fatal(err)
	}
	end := remote.Source{Conn: c}
	view, err := end.Inspect(t.Context(), replicator.InspectRequest{Domain: m.Name(), ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := end.Begin(t.Context(), replicator.BeginRequest{}); replicator.KindOf(err) != replicator.KindSequence {
		t.Errorf("a run can begin after a mere look: %v", err)
	}
	if err := end.Close(); err != nil {
		t.Fatal(err)
	}
	return view
}

func TestLookThatChangesNothing(t *testing.T) {
	m := busyMachine(t)
	if v := lookOnly(t, m); v.HeldBy != "" || len(v.Leftovers) > 0 || v.BusyWith != "" || len(v.Disks) != 2 || !v.Running {
		t.Errorf("of a machine at rest: %+v", v)
	}

	r := midCopy(t, m)
	if v := lookOnly(t, m); !strings.Contains(v.HeldBy, "sync of "+m.Name()) || len(v.Leftovers) > 0 || v.BusyWith != "" {
		t.Errorf("during a sync: %+v", v)
	}
	// Nobody is left to end the job.
	killAll(t, hosta, "vmsync guard", "vmsync agent")
	if o := r.wait(); o.code == 0 {
		t.Fatal("the sync succeeded without its agent")
	}
	for range 2 {
		v := lookOnly(t, m)
		left := strings.Join(v.Leftovers, "\n")
		for _, want := range []string{"the backup job of a dead sync", "the scratch file " + lab.ImageDir, "the folder /run/vmsync/source/"} {
			if !strings.Contains(left, want) {
				t.Errorf("leftovers %q lack %q", left, want)
			}
		}
		if v.HeldBy != "" || len(v.Cleaned) > 0 || v.BusyWith != "" {
			t.Errorf("%+v", v)
		}
	}
	setLink(t, hosta, lab.Link{})
	sync(t, m.Name())
	if v := lookOnly(t, m); len(v.Leftovers) > 0 || len(v.Checkpoints) != 1 {
		t.Errorf("after a sync: %+v", v)
	}
	nothingLeft(t, m)
}
