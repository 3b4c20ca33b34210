package notify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/config"
)

// receiver is where messages go to. Time is that of the test's bubble.
type receiver struct {
	*Notifier
	log   bytes.Buffer
	began time.Time

	mu    sync.Mutex
	fails error
	takes time.Duration
	got   []string // "name @after: domain domain …"
	tried []time.Duration
}

func receive(t *testing.T, names ...string) *receiver {
	t.Helper()
	r := &receiver{began: time.Now()}
	r.Notifier = New(Options{Send: r.send, Log: slog.New(slog.NewTextHandler(&r.log, nil))})
	r.Adopt(ways(names...))
	return r
}

func ways(names ...string) map[string]config.Notification {
	all := map[string]config.Notification{}
	for _, n := range names {
		all[n] = config.Notification{Webhook: "http://" + n, Events: []config.Event{config.RPOBroken, config.Failed, config.Recovered}}
	}
	return all
}

func (r *receiver) send(ctx context.Context, name string, to config.Notification, news []News) error {
	r.mu.Lock()
	r.tried = append(r.tried, time.Since(r.began))
	takes := r.takes
	r.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if partly := (*PartlyError)(nil); r.fails != nil && !errors.As(r.fails, &partly) {
		return r.fails
	}
	text := fmt.Sprintf("%s @%s:", strings.TrimPrefix(to.Webhook, "http://"), time.Since(r.began))
	for _, n := range news {
		text += " " + n.Domain
	}
	r.got = append(r.got, text)
	return r.fails
}

func (r *receiver) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// sent is what was sent, and when something was tried to be.
func (r *receiver) sent() ([]string, []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got), slices.Clone(r.tried)
}

func (r *receiver) close(within time.Duration) time.Duration {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	r.Close(ctx)
	return time.Since(began)
}

func (r *receiver) expect(t *testing.T, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.got, want) {
		t.Errorf("got %q, want %q", r.got, want)
	}
}

func now(domain string) News {
	n := broken(domain)
	n.Time = time.Now()
	return n
}

func TestNewsOfOneMomentAreOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a", "b")
		for i := range 50 {
			r.Tell([]string{"a", "nobody"}, now(fmt.Sprint("m", i)))
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		first, _ := r.sent()
		if len(first) != 1 || !strings.HasPrefix(first[0], "a @5s: m0 m1 ") || !strings.HasSuffix(first[0], " m49") {
			t.Fatalf("%q", first)
		}
		r.Tell([]string{"b"}, now("x"))
		time.Sleep(time.Minute)
		r.Tell([]string{"b"}, now("y"))
		r.close(time.Second)
		r.expect(t, first[0], "b @1m7.5s: x", "b @2m2.5s: y")
	})
}

func TestOrderIsKeptWhenAMessageIsNotTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a")
		r.set(func() { r.fails = errors.New("no route to host") })
		r.Tell([]string{"a"}, now("one"))
		time.Sleep(time.Minute)
		r.Tell([]string{"a"}, now("two"))
		time.Sleep(time.Minute)
		r.set(func() { r.fails = nil })
		time.Sleep(10 * time.Minute)
		r.expect(t, "a @2m35s: one two")
		_, tried := r.sent()
		if want := []time.Duration{5e9, 15e9, 35e9, 75e9, 155e9}; !slices.Equal(tried, want) {
			t.Errorf("tried at %v", tried)
		}
		r.close(time.Second)
		if log := r.log.String(); strings.Count(log, "no route to host") != 4 || strings.Contains(log, "given up") || !strings.Contains(log, `msg="notification sent" notification=a events=2`) {
			t.Error(log)
		}
	})
}

func TestWhatIsRefusedOrTooOldIsGivenUpAndLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a")
		r.set(func() { r.fails = &RefusedError{errors.New("answers 400\nforged=yes")} })
		r.Tell([]string{"a"}, now("refused"))
		time.Sleep(time.Hour)
		if _, tried := r.sent(); len(tried) != maxRefusals {
			t.Errorf("tried at %v", tried)
		}
		r.set(func() { r.fails = errors.New("no route to host") })
		r.Tell([]string{"a"}, now("unlucky"))
		time.Sleep(23 * time.Hour)
		r.Tell([]string{"a"}, now("lucky"))
		time.Sleep(2 * time.Hour)
		r.set(func() { r.fails = nil })
		time.Sleep(time.Hour)
		r.close(time.Second)
		if len(r.got) != 1 || !strings.HasSuffix(r.got[0], ": lucky") {
			t.Errorf("%q", r.got)
		}
		log := r.log.String()
		for _, want := range []string{`given up: it was refused each time" notification=a DOMAIN=refused`, `given up: nobody took it for a day" notification=a DOMAIN=unlucky SOURCE=hosta event=rpo_broken`} {
			if !strings.Contains(log, want) {
				t.Errorf("%s is not in\n%s", want, log)
			}
		}
		if strings.Contains(log, "DOMAIN=lucky") || strings.Contains(log, "\nforged") {
			t.Error(log)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a")
		r.set(func() { r.fails = errors.New("down") })
		for i := range maxWaiting + 5 {
			r.Tell([]string{"a"}, now(fmt.Sprint("m", i)))
		}
		time.Sleep(6 * time.Second) // what was under way comes back to a queue that is full
		for i := range 3 {
			r.Tell([]string{"a"}, now(fmt.Sprint("n", i)))
		}
		r.set(func() { r.fails = nil })
		r.close(time.Minute)
		if len(r.got) != maxWaiting/maxMessage || !strings.Contains(r.got[0], "s: m8 m9 ") || !strings.HasSuffix(r.got[len(r.got)-1], " n2") {
			t.Errorf("%d messages, first %.40q", len(r.got), r.got[0])
		}
		if n := strings.Count(r.log.String(), "given up: too many wait"); n != 8 {
			t.Errorf("%d were dropped, as the log says", n)
		}
	})
}

func TestOneThatHangsHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "slow")
		r.set(func() { r.takes = time.Hour })
		r.Tell([]string{"slow"}, now("one"))
		time.Sleep(6 * time.Second)
		r.set(func() { r.takes = 0 })
		r.Adopt(ways("slow", "quick"))
		began := time.Now()
		for range 100 {
			r.Tell([]string{"slow", "quick"}, now("two"))
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("telling took %s", took)
		}
		time.Sleep(6 * time.Second)
		if got, _ := r.sent(); len(got) != 1 || !strings.HasPrefix(got[0], "quick @11s: two two") {
			t.Errorf("%q", got)
		}
		if took := r.close(10 * time.Second); took != 10*time.Second {
			t.Errorf("it took %s to end", took)
		}
		log := r.log.String()
		if n := strings.Count(log, `given up: the service ends`); n != 101 || !strings.Contains(log, "notification=slow DOMAIN=one") {
			t.Errorf("%d are told of\n%s", n, log)
		}
	})
}

func TestEndSendsWhatIsLeftOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a")
		r.Tell([]string{"a"}, now("one"))
		if took := r.close(10 * time.Second); took > 0 {
			t.Errorf("it took %s", took)
		}
		r.expect(t, "a @0s: one")
		r.Tell([]string{"a"}, now("late")) // is nobody's any more
		r.expect(t, "a @0s: one")
	})
}

func TestChangedDestinationIsTriedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a", "gone")
		r.set(func() { r.fails = errors.New("no such host") })
		r.Tell([]string{"a"}, now("one"))
		time.Sleep(10 * time.Minute)
		r.Tell([]string{"gone"}, now("other"))
		r.set(func() { r.fails = nil })
		to := ways("a")["a"]
		to.Webhook = "http://better"
		r.Adopt(map[string]config.Notification{"a": to})
		synctest.Wait()
		r.set(func() { slices.Sort(r.got) })
		r.expect(t, "better @10m0s: one", "gone @10m0s: other")
		r.close(time.Second)
	})
}

func TestMailThatReachedSomeIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := receive(t, "a")
		r.set(func() { r.fails = &PartlyError{errors.New("to b: 550 no such mailbox")} })
		r.Tell([]string{"a"}, now("one"))
		time.Sleep(time.Hour)
		r.close(time.Second)
		r.expect(t, "a @5s: one")
		if log := r.log.String(); strings.Count(log, "550 no such mailbox") != 1 {
			t.Error(log)
		}
	})
}

func TestWhoWantsToKnow(t *testing.T) {
	all := []config.Event{config.RPOBroken, config.Failed, config.Recovered}
	for name, c := range map[string]struct {
		events []config.Event
		event  config.Event
		after  []config.Event
		want   bool
	}{
		"all":                                  {all, config.Failed, nil, true},
		"not this":                             {[]config.Event{config.RPOBroken, config.Recovered}, config.Failed, nil, false},
		"recovery of what was told":            {[]config.Event{config.RPOBroken, config.Recovered}, config.Recovered, []config.Event{config.Failed, config.RPOBroken}, true},
		"recovery of what was not told":        {[]config.Event{config.RPOBroken, config.Recovered}, config.Recovered, []config.Event{config.Failed}, false},
		"recoveries alone":                     {[]config.Event{config.Recovered}, config.Recovered, []config.Event{config.Failed}, true},
		"failures, but not that they are over": {[]config.Event{config.Failed}, config.Recovered, []config.Event{config.Failed}, false},
	} {
		if got := wants(c.events, &News{Event: c.event, After: c.after}); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
