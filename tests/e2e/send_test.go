package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"

	"vmsync/tests/lab"
)

// nothingSent checks that a send that failed left nothing on the source, and a
// stream file, if there is one, that nobody takes for whole.
func nothingSent(t *testing.T, m *lab.Machine, file string, before []string) {
	t.Helper()
	noLitter(t, m)
	if got := checkpoints(t, m); !slices.Equal(got, before) {
		t.Errorf("checkpoints %v, were %v", got, before)
	}
	if _, err := hosta.Run(t.Context(), "vmsync", "stream", "verify", file); err == nil {
		t.Error("what was written is a sound stream")
	}
}

func TestSendThatCannotBeWrittenLeavesNothing(t *testing.T) {
	const small = "/var/lib/vmsync-small"
	m := guest(t, qcow2("vda", 128*mib))
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=30 && sync")
	withStreams(t, hosta)
	if err := hosta.SmallFS(t.Context(), small, 8*mib); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := hosta.Run(ctx, "umount", small); err != nil {
			t.Error(err)
		}
	})
	since := send(t, m, "1").Checkpoint
	before := checkpoints(t, m)
	inGuest(t, m, "sh", "-c", "dd if=/dev/urandom of=/mnt/vda/big bs=1M count=30 && sync")
	for _, c := range []struct{ name, to, kind, file string }{
		{"full disk", ">" + small + "/stream", "no-space", small + "/stream"},
		{"pipe closed at once", "| true", "output", "/nonexistent"},
		{"pipe closed in the middle", "| head -c 5000000 >" + streams + "/part", "output", streams + "/part"},
	} {
		for _, args := range []string{"", "--since " + since} {
			t.Run(c.name+" "+args, func(t *testing.T) {
				// Events go round the pipe, and the exit status is that of the send.
				o := startScript(t, hosta, "set -o pipefail; exec 3>&1; vmsync send "+m.Name()+" --json "+args+" 2>&3 "+c.to).wait()
				failed(t, o, 1, c.kind, m.Name(), "")
				nothingSent(t, m, c.file, before)
				thawed(t, m)
			})
		}
	}
	for name, to := range map[string]string{"/dev/null": ">/dev/null", "closed stdout": ">&-", "file with content": ">>" + streams + "/1"} {
		t.Run(name, func(t *testing.T) {
			r := startScript(t, hosta, "vmsync send "+m.Name()+" "+to)
			if err := r.cmd.Wait(); err == nil || r.cmd.ProcessState.ExitCode() != 2 || !strings.HasPrefix(r.stderr.String(), "vmsync: ") {
				t.Errorf("%v, %q", err, r.stderr.String())
			}
			nothingSent(t, m, "/nonexistent", before)
		})
	}
	// What is there is as good as before.
	send(t, m, "2", "--since", since)
	carry(t, "1")
	carry(t, "2")
	receive(t, "1")
	receive(t, "2")
}

func TestTinyStreamOntoAFullDisk(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	o := startScript(t, hosta, "vmsync send "+m.Name()+" --json 2>&1 >/dev/full").wait()
	failed(t, o, 1, "no-space", m.Name(), "")
	nothingSent(t, m, "/nonexistent", nil)
}

// TestSendKilledWhenAllWasSent kills the controller when the source has handed over
// everything: that the stream was kept, it never said.
func TestSendKilledWhenAllWasSent(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	withFault(t, hosta, "send-before-finish=kill")
	if o := trySend(t, m, "1"); o.code == 0 || o.find("summary").Checkpoint != "" {
		t.Fatalf("nothing was killed: %+v", o.events)
	}
	eventually(t, "the checkpoint is gone", func() bool { return len(checkpoints(t, m)) == 0 })
	noLitter(t, m)
}

// midSend starts a send that nobody reads and returns when its pipe is full.
func midSend(t *testing.T, m *lab.Machine) *running {
	t.Helper()
	withStreams(t, hosta)
	fifo := streams + "/fifo"
	if _, err := hosta.Run(t.Context(), "sh", "-c", "rm -f "+fifo+" && mkfifo "+fifo); err != nil {
		t.Fatal(err)
	}
	stalled := hosta.Command(t.Context(), "sh", "-c", "exec <"+fifo+"; sleep 1000")
	if err := stalled.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = stalled.Cancel(); _ = stalled.Wait() })
	r := startScript(t, hosta, "exec vmsync send "+m.Name()+" --json 2>&1 >"+fifo)
	eventually(t, "the backup is open", func() bool {
		if zombie(r.cmd.Process.Pid) {
			t.Fatalf("the send ended too early: %+v", r.wait())
		}
		names, err := hosta.Run(t.Context(), "virsh", "checkpoint-list", "--name", m.Name())
		pids, err2 := hosta.Pids(t.Context(), "vmsync-nbd serve")
		return err == nil && err2 == nil && len(pids) > 0 && len(strings.Fields(names)) > 0 && exists(t, hosta, "/run/vmsync/pending/"+uuidOf(t, m))
	})
	return r
}

func TestInterruptedSendLeavesNothing(t *testing.T) {
	m := busyMachine(t)
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			r := midSend(t, m)
			if err := hosta.Signal(r.cmd, sig); err != nil {
				t.Fatal(err)
			}
			o := r.wait()
			if e := o.find("error"); o.code == 0 || sig != syscall.SIGKILL && (e.Kind != "canceled" || e.Domain != m.Name()) {
				t.Errorf("exit code %d, %+v", o.code, e)
			}
			eventually(t, "the checkpoint is gone", func() bool { return len(checkpoints(t, m)) == 0 })
			nothingSent(t, m, "/nonexistent", nil)
		})
	}
}

// TestKilledSendIsCleanedUpByTheNextRun kills the source's agent: nobody is left who
// could delete the checkpoint, and nobody but the next run will ever know of it.
func TestKilledSendIsCleanedUpByTheNextRun(t *testing.T) {
	m := busyMachine(t)
	since := send(t, m, "1").Checkpoint
	for _, c := range []struct {
		name string
		next func(t *testing.T) outcome
		want func() []string
	}{
		{"send", func(t *testing.T) outcome { return trySend(t, m, "2", "--since", since) }, func() []string { return []string{since} }},
		{"sync", func(t *testing.T) outcome {
			carry(t, "1")
			receive(t, "1")
			return trySync(t, m.Name())
		}, func() []string { return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := checkpoints(t, m)
			r := midSend(t, m)
			killAll(t, hosta, "vmsync agent")
			if o := r.wait(); o.code == 0 {
				t.Fatalf("the send succeeded: %+v", o.events)
			}
			eventually(t, "the guard has ended the job", func() bool {
				out, err := hosta.Run(t.Context(), "virsh", "domjobinfo", m.Name())
				return err != nil || strings.Contains(out, "None")
			})
			left := slices.DeleteFunc(checkpoints(t, m), func(name string) bool { return slices.Contains(before, name) })
			if len(left) != 1 {
				t.Fatalf("the kill left checkpoints %v, this test proves nothing", left)
			}
			o := c.next(t)
			if o.code != 0 || !strings.Contains(o.messages("notice"), "deleted checkpoint "+left[0]) {
				t.Errorf("exit code %d, %q", o.code, o.messages("notice"))
			}
			if slices.Contains(checkpoints(t, m), left[0]) {
				t.Errorf("%s is still there", left[0])
			}
			noLitter(t, m)
		})
	}
}
