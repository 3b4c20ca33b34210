package guard

import (
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The test binary is the guard's program too.
const helperEnv = "GUARD_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "guard":
		if err := Main(context.Background(), os.Stdin, os.Stdout, Options{RunDir: os.Getenv("GUARD_TEST_DIR")}); err != nil {
			os.Exit(1)
		}
	case "mute":
		time.Sleep(time.Minute)
	}
	os.Exit(0)
}

func start(t *testing.T) *Client {
	t.Helper()
	t.Setenv(helperEnv, "guard")
	t.Setenv("GUARD_TEST_DIR", t.TempDir())
	c, err := Start(t.Context(), []string{os.Args[0]})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGuardEndsWithTheAllClear(t *testing.T) {
	c := start(t)
	for _, event := range []string{EventFreezing, EventBeginning, EventBegun, EventThawed, EventEnded} {
		if err := c.Tell(Message{Event: event, Domain: "u", Checkpoint: "c"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Dismiss(); err != nil {
		t.Fatal(err)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
}

func TestGuardIsASessionOfItsOwnAndSurvivesSignals(t *testing.T) {
	c := start(t)
	pid := c.cmd.Process.Pid
	if sid, err := unix.Getsid(pid); err != nil || sid != pid {
		t.Errorf("session %d, %v; want its own, %d", sid, err, pid)
	}
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT} {
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Dismiss(); err != nil {
		t.Fatal(err)
	}
	if code := c.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d (%v)", code, c.cmd.ProcessState)
	}
}

func TestGuardWithoutAnythingToGuardEndsWithThePipe(t *testing.T) {
	c := start(t)
	c.pipe.Close()
	if err := c.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestStartFailsWithoutAGuard(t *testing.T) {
	t.Setenv(helperEnv, "nothing")
	if _, err := Start(t.Context(), []string{os.Args[0]}); err == nil || !strings.Contains(err.Error(), "ended at once") {
		t.Errorf("a program that ends: %v", err)
	}
	if _, err := Start(t.Context(), []string{"/nonexistent"}); err == nil {
		t.Error("a missing program was started")
	}
	if _, err := Start(t.Context(), nil); err == nil {
		t.Error("no program was started")
	}
}

func TestStartHeedsItsContext(t *testing.T) {
	t.Setenv(helperEnv, "mute")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, []string{os.Args[0]}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestNotesFollowTheAgent(t *testing.T) {
	g := new(guard)
	for _, step := range []struct {
		m      Message
		frozen bool
		job    bool
		begun  bool
	}{
		{Message{Event: EventFreezing, Domain: "u"}, true, false, false},
		{Message{Event: EventBeginning, Domain: "u", Checkpoint: "c1"}, true, true, false},
		{Message{Event: EventEnded}, true, false, false}, // libvirt refused
		{Message{Event: EventThawed}, false, false, false},
		{Message{Event: EventBeginning, Domain: "u", Checkpoint: "c2"}, false, true, false},
		{Message{Event: EventBegun}, false, true, true},
		{Message{Event: "unknown"}, false, true, true},
		{Message{Event: EventEnded}, false, false, false},
	} {
		g.note(step.m)
		if g.frozen != step.frozen || g.job != step.job || g.begun != step.begun || g.domain != "u" {
			t.Fatalf("after %+v: %+v", step.m, g)
		}
	}
	if g.checkpoint != "c2" {
		t.Errorf("checkpoint %q", g.checkpoint)
	}
}
