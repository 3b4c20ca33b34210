package e2e

import (
	"strings"
	"testing"

	"vmsync/tests/lab"
)

// streams is the folder of stream files, on every host.
const streams = "/var/tmp/streams"

// startScript starts a shell script on a host; its stdout must be the JSON of one
// vmsync command.
func startScript(t *testing.T, h *lab.Host, script string) *running {
	t.Helper()
	r := &running{t: t, cmd: h.Command(t.Context(), "bash", "-c", script)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// withStreams makes the folder of stream files on a host for the rest of the test, or
// of the test that this one is part of if that has made it.
func withStreams(t *testing.T, h *lab.Host) {
	t.Helper()
	if exists(t, h, streams) {
		return
	}
	if _, err := h.Run(t.Context(), "mkdir", "-p", streams); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := cleanupContext()
		defer cancel()
		if _, err := h.Run(ctx, "rm", "-rf", streams); err != nil {
			t.Error(err)
		}
	})
}

// trySend sends into a stream file on hosta.
func trySend(t *testing.T, m *lab.Machine, file string, args ...string) outcome {
	t.Helper()
	withStreams(t, hosta)
	return startScript(t, hosta, "vmsync send "+m.Name()+" --json "+strings.Join(args, " ")+" 2>&1 >"+streams+"/"+file).wait()
}

// send is trySend that must succeed; it returns the summary, whose stream must be
// sound.
func send(t *testing.T, m *lab.Machine, file string, args ...string) event {
	t.Helper()
	o := trySend(t, m, file, args...)
	s := o.find("summary")
	if o.code != 0 || s.Checkpoint == "" || s.State != "" {
		t.Fatalf("exit code %d\n%s\n%+v", o.code, o.stderr, o.events)
	}
	if !strings.HasSuffix(o.messages("notice"), "--since "+s.Checkpoint) {
		t.Errorf("it does not say how to go on: %q", o.messages("notice"))
	}
	said, err := hosta.Run(t.Context(), "vmsync", "stream", "verify", streams+"/"+file)
	if err != nil || !strings.HasPrefix(said, "sound: "+m.Name()+" at "+s.Checkpoint+", ") {
		t.Fatalf("%q, %v", said, err)
	}
	return s
}

// carry takes a stream file from hosta to hostb, as a courier would.
func carry(t *testing.T, file string) []byte {
	t.Helper()
	b, err := hosta.ReadFile(streams + "/" + file)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, b)
	return b
}

// put makes a stream file on hostb.
func put(t *testing.T, file string, content []byte) {
	t.Helper()
	withStreams(t, hostb)
	if err := hostb.WriteFile(streams+"/"+file, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// tryReceive receives a stream file on hostb.
func tryReceive(t *testing.T, file string, args ...string) outcome {
	t.Helper()
	return startScript(t, hostb, "vmsync receive --json "+strings.Join(args, " ")+" <"+streams+"/"+file).wait()
}

// receive is tryReceive that must succeed; it returns the summary.
func receive(t *testing.T, file string) event {
	t.Helper()
	return succeeded(t, tryReceive(t, file))
}

// noLitter checks that nothing but checkpoints and the replica is left of any run.
func noLitter(t *testing.T, m *lab.Machine) {
	t.Helper()
	eventually(t, "nothing is left behind", func() bool {
		left := litter(t, m)
		if len(left) > 0 {
			t.Logf("still there: %v", left)
		}
		return len(left) == 0
	})
}
