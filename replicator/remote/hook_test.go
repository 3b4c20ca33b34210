package remote

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"vmsync/replicator"
)

func TestLinesOfAHookArriveInOrderAndBeforeItsEnd(t *testing.T) {
	const n = 500
	e := &end{closed: make(chan struct{}), hook: func(_ context.Context, program string, output func(string)) error {
		for i := range n {
			output(fmt.Sprint(program, " ", i))
		}
		return &replicator.Error{Kind: replicator.KindHookFailed, Hint: "try it by hand", Err: errors.New("it ended with status 3")}
	}}
	conn, _ := connectTo(t, e)
	defer conn.Close()
	var lines []string
	err := Source{conn}.Hook(t.Context(), replicator.HookRequest{Command: []string{"a"}}, func(line string) { lines = append(lines, line) })
	if replicator.KindOf(err) != replicator.KindHookFailed || err.Error() != "it ended with status 3; try it by hand" {
		t.Errorf("got %v", err)
	}
	if len(lines) != n {
		t.Fatalf("%d lines", len(lines))
	}
	for i, line := range lines {
		if line != fmt.Sprint("a ", i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
}

// TestCallThatIsGivenUpEndsAtTheAgentToo has another one follow: an agent runs one at a time.
func TestCallThatIsGivenUpEndsAtTheAgentToo(t *testing.T) {
	started, ended := make(chan struct{}), make(chan struct{})
	e := &end{closed: make(chan struct{}), hook: func(ctx context.Context, program string, output func(string)) error {
		if program == "hangs" {
			close(started)
			<-ctx.Done()
			close(ended)
		}
		output(program)
		return ctx.Err()
	}}
	conn, _ := connectTo(t, e)
	defer conn.Close()
	stop := errors.New("the user's interrupt")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() { <-started; cancel(stop) }()
	if err := (Source{conn}).Hook(ctx, replicator.HookRequest{Command: []string{"hangs"}}, nil); !errors.Is(err, stop) {
		t.Fatalf("got %v", err)
	}
	next, cancelNext := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancelNext()
	var lines []string
	err := Source{conn}.Hook(next, replicator.HookRequest{Command: []string{"undoes"}}, func(line string) { lines = append(lines, line) })
	if err != nil || !slices.Equal(lines, []string{"undoes"}) {
		t.Fatalf("what follows: %v, %q", err, lines)
	}
	select {
	case <-ended:
	default:
		t.Error("the first one goes on")
	}
}
