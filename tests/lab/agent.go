package lab

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// agentCall sends one command to the guest agent and decodes its answer.
func (m *Machine) agentCall(ctx context.Context, command string, args, result any) error {
	req, err := json.Marshal(map[string]any{"execute": command, "arguments": args})
	if err != nil {
		return err
	}
	out, err := m.host.virsh(ctx, "qemu-agent-command", "--domain", m.name, string(req))
	if err != nil {
		return err
	}
	reply := struct {
		Return any `json:"return"`
	}{result}
	if err := json.Unmarshal([]byte(out), &reply); err != nil {
		return fmt.Errorf("answer of the agent in %s to %s: %w", m.name, command, err)
	}
	return nil
}

// WaitAgent waits, at most two minutes, until the guest agent answers.
func (m *Machine) WaitAgent(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := m.agentCall(ctx, "guest-ping", struct{}{}, nil)
		if err == nil {
			return nil
		}
		if e := sleep(ctx, 250*time.Millisecond); e != nil {
			return fmt.Errorf("agent in machine %s does not answer: %w", m.name, errors.Join(e, err))
		}
	}
}

// GuestError is a command that ended with a failure in a guest.
type GuestError struct {
	Machine  string
	Argv     []string
	ExitCode int // -1 if a signal ended it
	Stderr   string
}

func (e *GuestError) Error() string {
	return fmt.Sprintf("guest %s: %s: exit status %d: %s",
		e.Machine, strings.Join(e.Argv, " "), e.ExitCode, strings.TrimSpace(e.Stderr))
}

// Guest runs argv in the guest through its agent and returns the standard
// output. A command that ends badly is a *[GuestError]. While the guest is
// frozen the agent refuses; use [Machine.Control] then.
func (m *Machine) Guest(ctx context.Context, argv ...string) (string, error) {
	if len(argv) == 0 {
		return "", errors.New("no command given")
	}
	var started struct{ Pid int }
	err := m.agentCall(ctx, "guest-exec", map[string]any{
		"path": argv[0], "arg": argv[1:], "capture-output": true,
		"env": []string{"PATH=/bin:/sbin:/usr/bin:/usr/sbin", "HOME=/root"},
	}, &started)
	if err != nil {
		return "", err
	}
	for wait := 10 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		var st struct {
			Exited   bool
			ExitCode *int   `json:"exitcode"`
			Out      string `json:"out-data"`
			Err      string `json:"err-data"`
		}
		if err := m.agentCall(ctx, "guest-exec-status", map[string]any{"pid": started.Pid}, &st); err != nil {
			return "", err
		}
		if !st.Exited {
			if err := sleep(ctx, wait); err != nil {
				return "", err
			}
			continue
		}
		stdout, err := base64.StdEncoding.DecodeString(st.Out)
		if err != nil {
			return "", err
		}
		if st.ExitCode != nil && *st.ExitCode == 0 {
			return string(stdout), nil
		}
		stderr, _ := base64.StdEncoding.DecodeString(st.Err)
		ge := &GuestError{Machine: m.name, Argv: argv, ExitCode: -1, Stderr: string(stderr)}
		if st.ExitCode != nil {
			ge.ExitCode = *st.ExitCode
		}
		return string(stdout), ge
	}
}

// AgentStop makes the guest agent hang: it is there and does not answer.
func (m *Machine) AgentStop(ctx context.Context) error {
	_, err := m.Control(ctx, "kill -STOP $(cat /run/qemu-ga.pid)")
	return err
}

// AgentCont lets a hanging agent go on.
func (m *Machine) AgentCont(ctx context.Context) error {
	_, err := m.Control(ctx, "kill -CONT $(cat /run/qemu-ga.pid)")
	return err
}

// AgentKill ends the agent for good; AgentStart starts it again.
func (m *Machine) AgentKill(ctx context.Context) error {
	_, err := m.Control(ctx, "kill -KILL $(cat /run/qemu-ga.pid) && rm /run/qemu-ga.pid")
	return err
}

// AgentStart starts the agent after [Machine.AgentKill] and waits for it.
func (m *Machine) AgentStart(ctx context.Context) error {
	if _, err := m.Control(ctx, "lab-agent"); err != nil {
		return err
	}
	return m.WaitAgent(ctx)
}
