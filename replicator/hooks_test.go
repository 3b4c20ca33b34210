package replicator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/event"
)

// hooked is both ends of a run: it writes down which hooks run, and what they are told.
type hooked struct {
	SourceEnd
	end  HookPlace
	ran  *[]string
	hook func(ctx context.Context, program string) error
}

func (h hooked) Hook(ctx context.Context, r HookRequest, output func(string)) error {
	a := r.About
	*h.ran = append(*h.ran, fmt.Sprintf("%s %s on %s by %s: %s %s %s %s", a.Stage, r.Command[0], r.On, h.end, a.Outcome, a.ErrorKind, a.State, a.Consistency))
	output("hello")
	if err := h.hook(ctx, r.Command[0]); err != nil {
		return HookError(&r, "", err)
	}
	return nil
}

type hookedTarget struct {
	TargetEnd
	hooked
}

func (h hookedTarget) Hook(ctx context.Context, r HookRequest, output func(string)) error {
	return h.hooked.Hook(ctx, r, output)
}

func (hookedTarget) Close() error { return nil }

// told keeps the messages of a run.
type told []string

func (t *told) Emit(e event.Event) {
	switch e := e.(type) {
	case event.Warning:
		*t = append(*t, "warning: "+e.Message)
	case event.Notice:
		*t = append(*t, e.Message)
	case event.PhaseStarted:
		*t = append(*t, string(e.Phase)+" begins")
	case event.PhaseFinished:
		*t = append(*t, string(e.Phase)+" ends")
	}
}

// hookRun is a run that is about to take its checkpoint, whose hooks fail as a test says.
func hookRun(ctx context.Context, hooks Hooks, fails map[string]error) (r *run, ran *[]string, out *told) {
	ran, out = &[]string{}, &told{}
	h := hooked{end: "source", ran: ran, hook: func(ctx context.Context, program string) error {
		if program == "hangs" {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return fails[program]
	}}
	target := h
	target.end = "target"
	r = &run{req: Request{Hooks: hooks, TargetDomain: "copy", Store: "/store"}, src: h, dst: hookedTarget{hooked: target}, out: out, late: ctx,
		source: &SourceView{Name: "vm1"}, plan: &Plan{Checkpoint: "vmsync-00000000-7"}}
	return r, ran, out
}

// around is a run from before its checkpoint to its end; err is what comes of the checkpoint.
func around(ctx context.Context, r *run, err error) error {
	got := r.bracketed(ctx, func() error {
		r.begun = &Begun{Consistency: ConsistencyFilesystem}
		return err
	})
	if got == nil {
		r.sum = &event.Summary{State: "2026", Consistency: "filesystem"}
	}
	return r.end(ctx, got)
}

func onEach(names ...string) (hooks []Hook) {
	for i, n := range names {
		hooks = append(hooks, Hook{On: []HookPlace{HookOnSource, HookOnTarget, HookOnGuest}[i%3], Command: []string{n}, Timeout: time.Minute, Abort: strings.HasPrefix(n, "must")})
	}
	return hooks
}

func TestHooksRunInOrderAndAreTold(t *testing.T) {
	r, ran, out := hookRun(t.Context(), Hooks{Before: onEach("a", "b", "c"), AfterCheckpoint: onEach("d"), After: onEach("e", "f")}, map[string]error{"b": errors.New("b is tired")})
	if err := around(t.Context(), r, nil); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"before a on source by source:    ",
		"before b on target by target:    ",
		"before c on guest by source:    ",
		"after_checkpoint d on source by source: succeeded   filesystem",
		"after e on source by source: succeeded  2026 filesystem",
		"after f on target by target: succeeded  2026 filesystem",
	}
	if !slices.Equal(*ran, want) {
		t.Errorf("%s", strings.Join(*ran, "\n"))
	}
	if text := strings.Join(*out, "\n"); strings.Count(text, ": hello") != 6 || strings.Count(text, "warning") != 1 ||
		!strings.Contains(text, "warning: run the before hook b on the target: b is tired; see what it says") ||
		!strings.Contains(text, "the before hook a on the source: hello\nthe before hook a on the source has ended well") || !strings.HasSuffix(text, "after ends") {
		t.Error(text)
	}
}

func TestFailingHooksEndTheRunAndTheOthersUndo(t *testing.T) {
	tired := errors.New("tired")
	taken := &Error{Kind: KindJobActive, Op: "begin the backup", Err: errors.New("busy")}
	all := Hooks{Before: onEach("must a", "must b", "must c"), AfterCheckpoint: onEach("must d", "must e"), After: onEach("must f", "g")}
	for name, c := range map[string]struct {
		hooks Hooks
		fails []string
		taken error // what comes of the checkpoint
		ran   []string
		kinds []string // of the errors, in order
	}{
		"before": {all, []string{"must b"}, nil, []string{
			"before must a on source by source:    ", "before must b on target by target:    ",
			"after_checkpoint must d on source by source: failed hook-failed  ", "after_checkpoint must e on target by target: failed hook-failed  ",
			"after must f on source by source: failed hook-failed  ", "after g on target by target: failed hook-failed  "}, []string{KindHookFailed}},
		"the checkpoint": {Hooks{AfterCheckpoint: onEach("d"), After: onEach("f")}, nil, taken, []string{
			"after_checkpoint d on source by source: failed job-active  ", "after f on source by source: failed job-active  "}, []string{KindJobActive}},
		"the checkpoint and after it": {Hooks{AfterCheckpoint: onEach("must d")}, []string{"must d"}, taken, []string{
			"after_checkpoint must d on source by source: failed job-active  "}, []string{KindJobActive, KindHookFailed}},
		"after the checkpoint": {Hooks{AfterCheckpoint: onEach("must d", "must e"), After: onEach("f")}, []string{"must d", "must e"}, nil, []string{
			"after_checkpoint must d on source by source: succeeded   filesystem", "after_checkpoint must e on target by target: succeeded   filesystem",
			"after f on source by source: failed hook-failed  "}, []string{KindHookFailed}},
		"after": {Hooks{After: onEach("must f", "must g")}, []string{"must f"}, nil, []string{
			"after must f on source by source: succeeded  2026 filesystem", "after must g on target by target: succeeded  2026 filesystem"}, []string{KindHookFailed}},
	} {
		t.Run(name, func(t *testing.T) {
			fails := map[string]error{}
			for _, f := range c.fails {
				fails[f] = tired
			}
			r, ran, _ := hookRun(t.Context(), c.hooks, fails)
			err := around(t.Context(), r, c.taken)
			if !slices.Equal(*ran, c.ran) {
				t.Errorf("ran\n%s", strings.Join(*ran, "\n"))
			}
			if got := kinds(err); !slices.Equal(got, c.kinds) {
				t.Errorf("errors %v: %v", got, err)
			}
		})
	}
}

// kinds lists the kinds of all errors that are joined.
func kinds(err error) []string {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range many.Unwrap() {
			all = append(all, kinds(e)...)
		}
		return all
	}
	if err == nil {
		return nil
	}
	return []string{KindOf(err)}
}

func TestRunsThatDoNotGetSoFarHaveNoHooks(t *testing.T) {
	r, ran, _ := hookRun(t.Context(), Hooks{After: onEach("f")}, nil)
	lost := errors.New("the source is gone")
	if err := r.end(t.Context(), lost); err != lost || len(*ran) > 0 {
		t.Errorf("%v, %v", err, *ran)
	}
}

func TestRunThatIsGivenUpLetsHooksUndoForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := errors.New("the service ends")
		ctx, cancel := context.WithCancelCause(t.Context())
		late, stop := outlasting(ctx, lastHooks, errNoTime)
		defer stop()
		r, ran, out := hookRun(late, Hooks{Before: onEach("hangs", "a"), AfterCheckpoint: onEach("d", "hangs"), After: onEach("f")}, nil)
		time.AfterFunc(time.Minute, func() { cancel(gone) })
		began := time.Now()
		err := around(ctx, r, nil)
		if took := time.Since(began); took != time.Minute+lastHooks || !errors.Is(err, gone) {
			t.Errorf("it took %v: %v", took, err)
		}
		want := []string{"before hangs on source by source:    ",
			"after_checkpoint d on source by source: aborted canceled  ", "after_checkpoint hangs on target by target: aborted canceled  "}
		if !slices.Equal(*ran, want) {
			t.Errorf("%s", strings.Join(*ran, "\n"))
		}
		if text := strings.Join(*out, "\n"); !strings.Contains(text, "after hook f on the source: "+errNoTime.Error()) {
			t.Error(text)
		}
	})
}

func TestCheckpointIsNotTriedAgainWhenAHookForbidsIt(t *testing.T) {
	r, _, _ := hookRun(t.Context(), Hooks{AfterCheckpoint: onEach("must d")}, map[string]error{"must d": errors.New("tired")})
	if err := r.bracketed(t.Context(), func() error { return &Error{Kind: KindCheckpointInconsistent} }); err == nil || !r.hookFailed {
		t.Errorf("%v, %v", err, r.hookFailed)
	}
	r, _, _ = hookRun(t.Context(), Hooks{Before: onEach("a")}, nil)
	if err := r.bracketed(t.Context(), func() error { return &Error{Kind: KindCheckpointInconsistent} }); err == nil || r.hookFailed {
		t.Errorf("%v, %v", err, r.hookFailed)
	}
}

func TestVariablesAreCompleteAndClean(t *testing.T) {
	a := HookAbout{Stage: HookAfter, Domain: "vm 1", Store: "/a\nLD_PRELOAD=x", Error: strings.Repeat("ö", 600), ErrorKind: "a\x00b"}
	got := a.Variables()
	want := []string{"VMSYNC_HOOK=after", "VMSYNC_DOMAIN=vm 1", "VMSYNC_TARGET_DOMAIN=", "VMSYNC_SOURCE=", "VMSYNC_STORE=/a LD_PRELOAD=x", "VMSYNC_RUN=",
		"VMSYNC_CHECKPOINT=", "VMSYNC_CONSISTENCY=", "VMSYNC_STATE=", "VMSYNC_OUTCOME=", "VMSYNC_ERROR_KIND=a\uFFFDb", "VMSYNC_ERROR=" + strings.Repeat("ö", 500)}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
