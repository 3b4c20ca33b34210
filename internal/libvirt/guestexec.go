package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	lv "libvirt.org/go/libvirt"
)

// ErrAgentDisabled: the guest's agent is set up not to carry out the command.
var ErrAgentDisabled = errors.New("the guest agent does not carry it out")

const (
	// agentAnswer is how long libvirt waits for the answer to a command that takes the
	// agent no time. Its handshake with the agent has 5 s of its own.
	agentAnswer = 10 * time.Second
	// maxAgentReply bounds an answer, in bytes. Libvirt's own bound is 4 MiB.
	maxAgentReply = 5 << 20
)

// Commands of the guest agent; see qemu-ga-ref(7).
const (
	guestExec       = "guest-exec"
	guestExecStatus = "guest-exec-status"
	guestInfo       = "guest-info"
	guestOSInfo     = "guest-get-osinfo"
)

// GuestExit is a program in the guest, as its agent tells of it. What it wrote is whatever
// the guest says.
type GuestExit struct {
	Exited         bool
	Status         int // -1 where it has none
	Signal         int // that ended it, by the guest's numbers; 0 if none did
	Stdout, Stderr []byte
	Truncated      bool // it wrote more
}

// GuestStart starts a program in the guest, with arguments and all of its environment, and
// returns the number by which [Domain.GuestEnd] knows it. Its output is captured by the agent.
// Where the agent is set up not to do that, the error is ErrAgentDisabled.
func (d *Domain) GuestStart(ctx context.Context, argv, env []string) (pid int64, err error) {
	if len(argv) == 0 {
		return 0, errors.New("no program is named")
	}
	var started struct {
		PID *int64 `json:"pid"`
	}
	err = d.agent(ctx, "start a program in the guest", once, guestExec, map[string]any{
		"path": argv[0], "arg": argv[1:], "env": env, "capture-output": true}, &started)
	switch {
	case errors.Is(err, ErrAgentCommand) || errors.Is(err, ErrInternal):
		if d.agentLacks(ctx, guestExec) {
			err = fmt.Errorf("%w: %w", ErrAgentDisabled, err)
		}
		return 0, err
	case err != nil:
		return 0, err
	case started.PID == nil:
		return 0, errors.New("the guest agent has started something and does not say what")
	}
	return *started.PID, nil
}

// GuestEnd asks what became of a program. The agent tells of one that has ended once, and
// forgets it.
func (d *Domain) GuestEnd(ctx context.Context, pid int64) (*GuestExit, error) {
	var text guestStatus
	if err := d.agent(ctx, "ask after a program in the guest", again, guestExecStatus, map[string]any{"pid": pid}, &text); err != nil {
		return nil, err
	}
	return text.exit(), nil
}

// GuestSystem is the guest's operating system as its agent calls it, "debian" or "mswindows".
func (d *Domain) GuestSystem(ctx context.Context) (string, error) {
	var info struct {
		ID string `json:"id"`
	}
	err := d.agent(ctx, "ask for the guest's system", again, guestOSInfo, nil, &info)
	return info.ID, err
}

// guestStatus is the agent's answer. Bytes are in base64.
type guestStatus struct {
	Exited       bool   `json:"exited"`
	ExitCode     *int   `json:"exitcode"`
	Signal       int    `json:"signal"`
	Out          []byte `json:"out-data"`
	Err          []byte `json:"err-data"`
	OutTruncated bool   `json:"out-truncated"`
	ErrTruncated bool   `json:"err-truncated"`
}

func (s *guestStatus) exit() *GuestExit {
	e := &GuestExit{Exited: s.Exited, Status: -1, Signal: s.Signal, Stdout: s.Out, Stderr: s.Err, Truncated: s.OutTruncated || s.ErrTruncated}
	if s.ExitCode != nil {
		e.Status = *s.ExitCode
	}
	return e
}

// agentLacks tells whether the agent says of itself that it does not carry out a command.
// While the guest is frozen it carries out hardly any.
func (d *Domain) agentLacks(ctx context.Context, command string) bool {
	var info agentInfo
	if d.agent(ctx, "ask what the guest agent does", again, guestInfo, nil, &info) != nil {
		return false
	}
	return info.lacks(command) && !info.lacks(guestOSInfo)
}

type agentInfo struct {
	Commands []agentCommand `json:"supported_commands"`
}

type agentCommand struct {
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
}

func (i *agentInfo) lacks(command string) bool {
	return !slices.Contains(i.Commands, agentCommand{command, true})
}

// agent has the guest's agent carry out a command of its own.
func (d *Domain) agent(ctx context.Context, op string, m mode, command string, arguments, result any) error {
	text, err := json.Marshal(struct {
		Execute   string `json:"execute"`
		Arguments any    `json:"arguments,omitempty"`
	}{command, arguments})
	if err != nil {
		return err
	}
	reply, err := on(ctx, d, op, m, func(dom *lv.Domain) (string, error) {
		return dom.QemuAgentCommand(string(text), lv.DomainQemuAgentCommandTimeout(agentAnswer/time.Second), 0)
	})
	if err == nil {
		err = readReply(reply, result)
	}
	return err
}

// readReply reads an answer, which may be anything: the guest wrote it.
func readReply(reply string, result any) error {
	if len(reply) > maxAgentReply {
		return fmt.Errorf("the guest agent's answer is too long: %d bytes", len(reply))
	}
	answer := struct {
		Return any `json:"return"`
	}{result}
	if err := json.Unmarshal([]byte(reply), &answer); err != nil {
		return fmt.Errorf("the guest agent's answer makes no sense: %w", err)
	}
	return nil
}
