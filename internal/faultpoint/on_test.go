//go:build faultpoints

package faultpoint

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const helperEnv = "FAULTPOINT_TEST_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		Hit("elsewhere")
		Hit("here")
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper is a program that hits "elsewhere", then "here".
func helper(t *testing.T, orders string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), helperEnv+"=1", envVariable+"="+orders)
	return cmd
}

func TestKillIsByTheUncatchableSignal(t *testing.T) {
	var exit *exec.ExitError
	err := helper(t, "other=sleep:1h, here=kill").Run()
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("got %v", err)
	}
}

func TestPointsWithoutOrderDoNothing(t *testing.T) {
	if err := helper(t, "other=kill").Run(); err != nil {
		t.Fatal(err)
	}
	if err := helper(t, "").Run(); err != nil {
		t.Fatal(err)
	}
}

func TestBadOrderIsNotIgnored(t *testing.T) {
	for _, orders := range []string{"here", "here=", "here=explode", "here=sleep:soon", "here=wait:", "here=hold:", "=kill", "x=no"} {
		if err := helper(t, orders).Run(); err == nil {
			t.Errorf("%q was accepted", orders)
		}
	}
}

func TestSleepSleeps(t *testing.T) {
	t.Setenv(envVariable, "here=sleep:50ms")
	start := time.Now()
	Hit("here")
	if d := time.Since(start); d < 50*time.Millisecond {
		t.Errorf("slept %v", d)
	}
}

func TestWaitTellsThatItWaitsAndWaits(t *testing.T) {
	file := filepath.Join(t.TempDir(), "go")
	cmd := helper(t, "here=wait:"+file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		if _, err := os.Stat(file + ".hit"); err == nil {
			break
		}
		select {
		case err := <-ended:
			t.Fatalf("ended without waiting: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	select {
	case err := <-ended:
		t.Fatalf("did not wait: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func TestHoldHoldsEachTime(t *testing.T) {
	file := filepath.Join(t.TempDir(), "held")
	t.Setenv(envVariable, "here=hold:"+file)
	for range 2 {
		passed := make(chan struct{})
		go func() { Hit("here"); close(passed) }()
		for {
			if _, err := os.Stat(file); err == nil {
				break
			}
			time.Sleep(5 * time.Millisecond)
		}
		select {
		case <-passed:
			t.Fatal("did not hold")
		case <-time.After(50 * time.Millisecond):
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		<-passed
	}
}
