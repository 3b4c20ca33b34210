package notify

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/config"
)

// script makes a program of shell lines, in a folder that is its first argument.
func script(t *testing.T, lines string) (argv []string, dir string) {
	t.Helper()
	dir = t.TempDir()
	file := filepath.Join(dir, "tell")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ncd \"$1\" || exit 9\n"+lines), 0o700); err != nil {
		t.Fatal(err)
	}
	return []string{file, dir, "$(touch pwned) *"}, dir
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(elem...))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestCommandGetsTheMessage(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	argv, dir := script(t, `cat > stdin; env > env; printf %s "$2" > arg; pwd`)
	hostile := broken("vm1\x00; touch pwned\n$(touch pwned)")
	if err := sendTo(t, config.Notification{Command: argv}, hostile); err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := json.Unmarshal([]byte(read(t, dir, "stdin")), &m); err != nil || m.Version != 1 || m.News[0].Event != config.RPOBroken {
		t.Errorf("%+v, %v", m, err)
	}
	env := read(t, dir, "env")
	for _, want := range []string{"VMSYNC_NOTIFICATION=chat\n", "VMSYNC_EVENT=rpo_broken\n", "VMSYNC_EVENTS=1\n", "VMSYNC_DOMAIN=vm1 ; touch pwned $(touch pwned)\n",
		"VMSYNC_SOURCE=hosta\n", "VMSYNC_HOST=hostb\n", "VMSYNC_ID=" + m.ID + "\n", "VMSYNC_SUBJECT=" + m.Subject + "\n", "PATH="} {
		if !strings.Contains(env, want) {
			t.Errorf("%q is not in\n%s", want, env)
		}
	}
	if strings.Contains(env, "NOTIFY_SOCKET") || read(t, dir, "arg") != "$(touch pwned) *" {
		t.Error(env)
	}
	if _, err := os.Stat(filepath.Join(dir, "pwned")); err == nil {
		t.Error("a shell has read it")
	}
}

func TestCommandAboutSeveralMachines(t *testing.T) {
	argv, dir := script(t, `echo "$VMSYNC_EVENT,$VMSYNC_EVENTS,$VMSYNC_DOMAIN,$VMSYNC_SOURCE" > env`) // it does not read its stdin
	well := broken("vm1")
	well.Event = config.Recovered
	if err := sendTo(t, config.Notification{Command: argv}, well, broken("vm2")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, dir, "env"); got != "rpo_broken,2,,\n" {
		t.Errorf("%q", got)
	}
}

func TestCommandThatFails(t *testing.T) {
	argv, _ := script(t, "echo the pager is broken >&2; exit 3")
	fails(t, sendTo(t, config.Notification{Command: argv}, broken("vm1")), true, "status 3", "the pager is broken")
	fails(t, sendTo(t, config.Notification{Command: []string{"/nowhere/tell"}}, broken("vm1")), true, "/nowhere/tell not found")
}

func TestCommandThatHangsIsEndedWithAllItStarted(t *testing.T) {
	argv, dir := script(t, "trap '' TERM\nsleep 1000 & echo $! > child\nyes >&2 & cat > stdin\nwait")
	fails(t, sendTo(t, config.Notification{Command: argv, Timeout: time.Second}, broken("vm1")), true, "it took longer than 1s")
	pid, err := strconv.Atoi(strings.TrimSpace(read(t, dir, "child")))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if syscall.Kill(pid, 0) != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	if state := read(t, "/proc", strconv.Itoa(pid), "stat"); !strings.Contains(state, ") Z ") {
		t.Errorf("what it started lives: %s", state)
	}
}
