package source

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"vmsync/internal/hook"
	"vmsync/internal/libvirt"
	"vmsync/replicator"
	"vmsync/replicator/hosthook"
)

// How often a guest is asked what became of a hook.
const (
	askGuestFirst = 50 * time.Millisecond
	askGuestMost  = time.Second
)

// Hook implements replicator.SourceEnd.
func (e *End) Hook(ctx context.Context, req replicator.HookRequest, output func(string)) error {
	if e.closed || e.dom == nil || e.readOnly {
		return e.sequence("run " + req.Name())
	}
	if req.On != replicator.HookOnGuest {
		return hosthook.Run(ctx, replicator.HookOnSource, req, output)
	}
	if err := e.guestHook(ctx, &req, output); err != nil {
		return replicator.HookError(&req, guestHint(err), withoutDomain("", err))
	}
	return nil
}

func guestHint(err error) string {
	switch {
	case errors.Is(err, libvirt.ErrAgentDisabled):
		return "have the agent in the guest allow guest-exec and guest-exec-status: on RHEL and its kin /etc/sysconfig/qemu-ga says what it refuses; then restart it there"
	case errors.Is(err, libvirt.ErrAgentUnresponsive):
		return "see to it that qemu-guest-agent runs in the guest"
	}
	return ""
}

// guestHook runs a hook through the guest's agent. One that takes too long goes on: the
// agent has no means to end it.
func (e *End) guestHook(ctx context.Context, req *replicator.HookRequest, output func(string)) error {
	env := guestEnvironment(e.guestSystem(ctx), &req.About)
	if len(req.Command) == 0 || req.Command[0] == "" {
		return fmt.Errorf("%w: no program is named", hook.ErrRefused)
	}
	if err := hook.CheckSize(req.Command, env, req.Timeout); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, req.Timeout)
	defer cancel()
	pid, err := e.dom.GuestStart(limited, req.Command, env)
	var exit *libvirt.GuestExit
	if err == nil {
		exit, err = e.awaitGuest(limited, pid)
	}
	stays := "it cannot be ended from here, and goes on in the guest"
	if pid != 0 {
		stays += fmt.Sprintf(" as process %d", pid)
	}
	switch {
	case ctx.Err() != nil:
		e.log.Warn("given up waiting for a hook: "+stays, "domain", e.dom.Name, "hook", req.Command[0])
		return context.Cause(ctx)
	case limited.Err() != nil:
		return &hook.Failure{Status: -1, Timeout: req.Timeout, Stays: stays}
	case err != nil:
		return err
	}
	return guestEnd(exit, output)
}

// errGuestForgot says that an agent does not know a program that it has started: it tells of
// its end once, and libvirt has dropped that as too long; or the agent is not the same.
var errGuestForgot = errors.New("the guest's agent knows nothing of it any more: it was restarted, or the hook wrote more than libvirt passes on, about 3 MB")

// awaitGuest waits until a program in the guest has ended. An agent that is busy with
// something else may not answer for a while, and libvirt hangs up when what a program wrote is
// too long for it.
func (e *End) awaitGuest(ctx context.Context, pid int64) (*libvirt.GuestExit, error) {
	for pause := askGuestFirst; ; pause = min(2*pause, askGuestMost) {
		exit, err := e.dom.GuestEnd(ctx, pid)
		switch {
		case err == nil && exit.Exited:
			return exit, nil
		case refused(err):
			return nil, fmt.Errorf("%w: %w", errGuestForgot, err)
		case err != nil && !errors.Is(err, libvirt.ErrAgentUnresponsive) && !errors.Is(err, libvirt.ErrDisconnected):
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// guestEnd passes on what a hook in a guest has written, and says how it ended.
func guestEnd(exit *libvirt.GuestExit, output func(string)) error {
	out := hook.NewOutput(output)
	for _, part := range [][]byte{exit.Stdout, exit.Stderr} {
		_, _ = out.Write(part) // it does not fail
		out.Close()
	}
	if exit.Status == 0 && exit.Signal == 0 {
		return nil
	}
	return &hook.Failure{Status: exit.Status, Signal: syscall.Signal(exit.Signal), Output: out.End()}
}

// guestSystem is the guest's system; empty where it does not say.
func (e *End) guestSystem(ctx context.Context) string {
	system, err := e.dom.GuestSystem(ctx)
	if err != nil {
		e.log.Info("the guest does not say what system it is", "domain", e.dom.Name, "error", err)
	}
	return system
}

// guestEnvironment is all that a hook in a guest gets. Programs on Windows do without
// PATH, but not without SystemRoot.
func guestEnvironment(system string, about *replicator.HookAbout) []string {
	base := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	if system == "mswindows" {
		base = []string{`PATH=C:\Windows\system32;C:\Windows;C:\Windows\System32\Wbem;C:\Windows\System32\WindowsPowerShell\v1.0`,
			`SystemRoot=C:\Windows`, `SystemDrive=C:`, `TEMP=C:\Windows\Temp`, `TMP=C:\Windows\Temp`}
	}
	return append(base, about.Variables()...)
}
