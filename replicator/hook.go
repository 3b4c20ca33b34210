package replicator

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"vmsync/internal/hook"
)

// HookPlace is where a hook runs.
type HookPlace string

// Places of hooks.
const (
	HookOnSource HookPlace = "source" // on its host, by its agent
	HookOnTarget HookPlace = "target" // on its host, by its agent
	HookOnGuest  HookPlace = "guest"  // in the machine, through the guest's agent
)

// HookStage is when a hook runs. The strings are stable: hooks get them.
type HookStage string

// Stages, in order.
const (
	// HookBefore is shortly before the guest is frozen for the checkpoint: the run goes
	// on, and the target is ready.
	HookBefore HookStage = "before"
	// HookAfterCheckpoint is when the checkpoint is taken and the guest thawed, or when
	// that has failed.
	HookAfterCheckpoint HookStage = "after_checkpoint"
	// HookAfter is at the end of the run, however it ended.
	HookAfter HookStage = "after"
)

// Hook is a program to run during a sync.
type Hook struct {
	On      HookPlace
	Command []string      // program and arguments; on hosts an absolute path
	Timeout time.Duration // up to [hook.MaxTimeout]
	Abort   bool          // the run fails if it does; otherwise there is a warning
}

// Hooks are all of a run's, in the order in which they run.
type Hooks struct {
	Before, AfterCheckpoint, After []Hook
	// Run and Source are what the caller calls the run and the source; hooks get them.
	Run, Source string
}

// HookRequest asks an end to run a hook. A source runs those that are on the source and in
// the guest, a target those that are on the target.
type HookRequest struct {
	On      HookPlace     `json:"on"`
	Command []string      `json:"command"`
	Timeout time.Duration `json:"timeout"`
	About   HookAbout     `json:"about"`
}

// HookAbout is what a hook is told. Any field but Stage and Domain may be empty.
type HookAbout struct {
	Stage        HookStage `json:"stage"`
	Domain       string    `json:"domain"` // the source's name of it
	TargetDomain string    `json:"target_domain,omitempty"`
	Source       string    `json:"source,omitempty"`
	Store        string    `json:"store,omitempty"`
	Run          string    `json:"run,omitempty"`
	Checkpoint   string    `json:"checkpoint,omitempty"`  // the one that is, or was to be, taken
	Consistency  string    `json:"consistency,omitempty"` // of the checkpoint that was taken
	State        string    `json:"state,omitempty"`       // that is stored
	Outcome      string    `json:"outcome,omitempty"`     // one of the Hook outcomes; empty before
	ErrorKind    string    `json:"error_kind,omitempty"`
	Error        string    `json:"error,omitempty"`
}

// Outcomes that hooks are told of. The strings are stable.
const (
	HookSucceeded = "succeeded" // the checkpoint is taken; after: the state is stored
	HookFailed    = "failed"
	HookAborted   = "aborted" // the run was given up
)

// Bounds of a variable's value, in bytes.
const (
	maxHookValue = 4096
	maxHookError = 1000
)

// Variables are the environment variables of vmsync's that a hook gets, NAME=value. All
// are always there, and no value has a control character in it.
func (a *HookAbout) Variables() []string {
	var all []string
	for _, v := range []struct {
		name, value string
		most        int
	}{
		{"HOOK", string(a.Stage), maxHookValue},
		{"DOMAIN", a.Domain, maxHookValue},
		{"TARGET_DOMAIN", a.TargetDomain, maxHookValue},
		{"SOURCE", a.Source, maxHookValue},
		{"STORE", a.Store, maxHookValue},
		{"RUN", a.Run, maxHookValue},
		{"CHECKPOINT", a.Checkpoint, maxHookValue},
		{"CONSISTENCY", a.Consistency, maxHookValue},
		{"STATE", a.State, maxHookValue},
		{"OUTCOME", a.Outcome, maxHookValue},
		{"ERROR_KIND", a.ErrorKind, maxHookValue},
		{"ERROR", a.Error, maxHookError},
	} {
		value := hook.Clean(v.value)
		if len(value) > v.most {
			value = strings.ToValidUTF8(value[:v.most], "")
		}
		all = append(all, "VMSYNC_"+v.name+"="+value)
	}
	return all
}

// Name is what messages call the hook.
func (r *HookRequest) Name() string {
	where := map[HookPlace]string{HookOnSource: "on the source", HookOnTarget: "on the target", HookOnGuest: "in the guest"}
	program := "none"
	if len(r.Command) > 0 {
		program = hook.Clean(r.Command[0])
	}
	return "the " + string(r.About.Stage) + " hook " + program + " " + cmp.Or(where[r.On], string(r.On))
}

// HookError is the error of a hook that could not be run, or that did not end well: of
// KindHookFailed, or KindCanceled if its caller gave up.
func HookError(r *HookRequest, hint string, err error) error {
	kind := KindHookFailed
	if errors.Is(err, context.Canceled) {
		kind = KindCanceled
	}
	return &Error{Kind: kind, Domain: r.About.Domain, Op: "run " + r.Name(), Hint: hint, Err: err}
}
