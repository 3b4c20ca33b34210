package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// helperEnv makes the test binary act as a program instead of running tests.
const helperEnv = "PROC_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "parent":
		helperParent()
	}
	os.Exit(2)
}

// helperParent starts a child that would run for an hour, prints its id, and
// waits to be killed.
func helperParent() {
	p, err := Start(context.Background(), Cmd{Argv: []string{"sleep", "3600"}})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	fmt.Println(p.PID())
	_ = p.Wait()
}

func start(t *testing.T, c Cmd) *Process {
	t.Helper()
	p, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(0) })
	return p
}

// gone waits until no process has this id, or it is a zombie.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 1000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return
		}
		if _, after, ok := strings.Cut(string(stat), ") "); ok && strings.HasPrefix(after, "Z") {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("process %d is still there", pid)
}

func alive(pid int) bool { return syscall.Kill(pid, 0) == nil }

func TestChildDiesWhenParentIsKilled(t *testing.T) {
	parent := start(t, Cmd{
		Argv:       []string{os.Args[0]},
		Env:        append(os.Environ(), helperEnv+"=parent"),
		PipeStdout: true,
	})
	line, err := bufio.NewReader(parent.Stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err, parent.StderrTail())
	}
	child, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(line)
	}
	if !alive(child) {
		t.Fatal("the child is not running before its parent is killed")
	}
	// Only the parent, not its group: the child has a group of its own anyway.
	if err := syscall.Kill(parent.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	gone(t, child)
}

func TestChildOutlivesTheGoroutineThatStartedIt(t *testing.T) {
	const n = 48
	procs := make([]*Process, n)
	// Threads come and go all the while: a goroutine that ends locked to its thread
	// takes the thread with it.
	churn, stop := context.WithCancel(t.Context())
	var churning, starting sync.WaitGroup
	for range 8 {
		churning.Go(func() {
			for churn.Err() == nil {
				lockAndLeave()
			}
		})
	}
	for i := range n {
		starting.Go(func() {
			p, err := Start(t.Context(), Cmd{Argv: []string{"cat"}, PipeStdin: true, PipeStdout: true})
			if err != nil {
				t.Error(err)
				return
			}
			procs[i] = p
		})
	}
	starting.Wait()
	stop()
	churning.Wait()
	for i, p := range procs {
		if p == nil {
			continue
		}
		msg := fmt.Sprintf("hello %d\n", i)
		if _, err := p.Stdin.WriteString(msg); err != nil {
			t.Errorf("child %d died early: %v", i, err)
		}
		got, err := bufio.NewReader(p.Stdout).ReadString('\n')
		if got != msg {
			t.Errorf("child %d answered %q, %v", i, got, err)
		}
		p.Stdin.Close()
		if err := p.Wait(); err != nil {
			t.Errorf("child %d: %v", i, err)
		}
		p.Stdout.Close()
	}
}

func TestStopKillsAChildThatIgnoresSIGTERM(t *testing.T) {
	p := start(t, Cmd{
		Argv:       []string{"sh", "-c", `trap "" TERM; echo ready; while :; do sleep 1; done`},
		PipeStdout: true,
	})
	if line, err := bufio.NewReader(p.Stdout).ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	err := p.Stop(50 * time.Millisecond)
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		t.Fatalf("got %v, want death by SIGKILL", err)
	}
	if err2 := p.Wait(); err2 != err {
		t.Fatalf("Wait says %v after Stop said %v", err2, err)
	}
}

func TestStopGivesTimeToEndCleanly(t *testing.T) {
	p := start(t, Cmd{
		Argv:       []string{"sh", "-c", `trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done`},
		PipeStdout: true,
	})
	out := bufio.NewReader(p.Stdout)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatal(line, err)
	}
	if err := p.Stop(time.Minute); err != nil {
		t.Fatal(err)
	}
	if rest, _ := io.ReadAll(out); string(rest) != "bye\n" {
		t.Fatalf("the child's last words were %q", rest)
	}
}

func TestGroupEndsWithItsLeader(t *testing.T) {
	p := start(t, Cmd{Argv: []string{"sh", "-c", "sleep 3600 & echo $!"}, PipeStdout: true})
	line, err := bufio.NewReader(p.Stdout).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(line))
	gone(t, pid)
}

func TestContextEndStopsTheChild(t *testing.T) {
	cause := errors.New("the user pressed ^C")
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := Start(ctx, Cmd{Argv: []string{"sleep", "3600"}})
	if err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if err := p.Wait(); !errors.Is(err, cause) {
		t.Fatalf("got %v, want the context's cause", err)
	}
	gone(t, p.PID())
	if _, err := Start(ctx, Cmd{Argv: []string{"sleep", "3600"}}); !errors.Is(err, cause) {
		t.Fatalf("a child was started under an ended context: %v", err)
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	for name, argv0 := range map[string]string{
		"in PATH": "no-such-program-anywhere",
		"by path": "/nonexistent/qemu-img",
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Start(t.Context(), Cmd{Argv: []string{argv0}, Package: "qemu-utils"})
			var missing *NotFoundError
			if !errors.As(err, &missing) || missing.Program != argv0 {
				t.Fatalf("got %v, want a NotFoundError", err)
			}
			if !strings.Contains(err.Error(), "qemu-utils") {
				t.Errorf("%q does not say what to install", err)
			}
		})
	}
}

func TestMissingDirectoryIsNotAMissingProgram(t *testing.T) {
	_, err := Start(t.Context(), Cmd{Argv: []string{"true"}, Dir: filepath.Join(t.TempDir(), "gone")})
	var missing *NotFoundError
	if err == nil || errors.As(err, &missing) {
		t.Fatalf("got %v", err)
	}
}

func TestExitErrorCarriesStatusAndTheEndOfStderr(t *testing.T) {
	script := `i=0; while [ $i -lt 400 ]; do echo "line $i of the log" >&2; i=$((i+1)); done; echo "the reason" >&2; exit 7`
	var all strings.Builder
	p := start(t, Cmd{Argv: []string{"sh", "-c", script}, Stderr: &all})
	var exit *ExitError
	if err := p.Wait(); !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit.Status != 7 || exit.Signal != 0 {
		t.Errorf("status %d, signal %d", exit.Status, exit.Signal)
	}
	if !strings.HasSuffix(exit.Stderr, "\nthe reason") || !strings.HasPrefix(exit.Stderr, "line ") {
		t.Errorf("tail is %q", exit.Stderr)
	}
	if len(exit.Stderr) > tailMax {
		t.Errorf("%d bytes were kept", len(exit.Stderr))
	}
	if n := strings.Count(all.String(), "\n"); n != 401 {
		t.Errorf("Stderr received %d lines", n)
	}
}

func TestOutputReturnsStdout(t *testing.T) {
	got, err := Output(t.Context(), Cmd{Argv: []string{"printf", "%s|", "a b", `"$x"`, ""}}, 100)
	if err != nil || string(got) != `a b|"$x"||` {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	_, err := Output(t.Context(), Cmd{Argv: []string{"yes"}}, 1<<16)
	var large *OutputTooLargeError
	if !errors.As(err, &large) || large.Max != 1<<16 {
		t.Fatalf("got %v", err)
	}
}
