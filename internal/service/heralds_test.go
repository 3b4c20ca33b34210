package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/notify"
	"vmsync/replicator"
)

// postbox is where all notifications of a test go to.
type postbox struct {
	mu       sync.Mutex
	fails    error
	takes    time.Duration
	messages []string // "name: event domain, event domain"
	news     []notify.News
}

func (p *postbox) take(_ context.Context, name string, _ config.Notification, news []notify.News) error {
	p.mu.Lock()
	fails, takes := p.fails, p.takes
	p.mu.Unlock()
	time.Sleep(takes)
	if fails != nil {
		return fails
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	for _, n := range news {
		parts = append(parts, string(n.Event)+" "+n.Domain)
	}
	p.messages, p.news = append(p.messages, name+": "+strings.Join(parts, ", ")), append(p.news, news...)
	return nil
}

// all takes the messages and news that have come since the last call.
func (p *postbox) all() ([]string, []notify.News) {
	p.mu.Lock()
	defer p.mu.Unlock()
	messages, news := p.messages, p.news
	p.messages, p.news = nil, nil
	return messages, news
}

// failing has the syncs of a domain fail, or with nil succeed.
func (w *world) failing(domain string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fails[domain] = err
}

// expect checks all messages that have come since the last call.
func (p *postbox) expect(t *testing.T, when string, want ...string) []notify.News {
	t.Helper()
	messages, news := p.all()
	if !slices.Equal(messages, want) {
		t.Errorf("%s: %q, want %q", when, messages, want)
	}
	if len(news) == 0 {
		return make([]notify.News, 1) // of which a test that fails looks at the first
	}
	return news
}

const tellHead = head + "notifications: {chat: {webhook: 'http://chat'}}\nretry: {first: 30s, max: 2m}\n"

func unreachable() error {
	return &replicator.Error{Kind: replicator.KindUnreachable, Op: "connect to hosta", Hint: "see whether it is up", Err: errors.New("no route to host")}
}

func TestBreachFailureAndRecoveryAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2")
		s := serve(t, w, tellHead+"machines: [{name: 'vm*', every: 10m, max_age: 15m}]\n")
		time.Sleep(5 * time.Minute)
		s.post.expect(t, "while all is well")
		w.failing("vm1", &replicator.Error{Kind: replicator.KindNoSpace, Disk: "vda", Op: "write", Hint: "free some space", Err: errors.New("no space left")})
		time.Sleep(5*time.Minute + 10*time.Second)
		first := s.post.expect(t, "after the first failure", "chat: failed vm1")[0]
		if first.Error == nil || first.Error.Kind != replicator.KindNoSpace || first.Error.Disk != "vda" || first.Hint != "free some space" || first.Source != "hosta" ||
			!first.Since.Equal(w.ranOf("vm1")[1].at) || first.Age < 600 || first.RPO != 900 || first.Failures != 1 || first.Run != s.status("vm1").Last.ID {
			t.Errorf("%+v", first)
		}
		time.Sleep(5 * time.Minute)
		breach := s.post.expect(t, "after the breach", "chat: rpo_broken vm1")[0]
		if breach.Error == nil || breach.Error.Kind != replicator.KindNoSpace || breach.Since.Sub(breach.Fresh) != 15*time.Minute {
			t.Errorf("%+v", breach)
		}
		time.Sleep(2 * time.Hour)
		s.post.expect(t, "while it stays so")
		w.failing("vm1", &replicator.Error{Kind: replicator.KindDomainOff, Err: errors.New("it is off")})
		time.Sleep(5 * time.Minute)
		s.post.expect(t, "after it failed for another reason", "chat: failed vm1")
		w.failing("vm1", nil)
		time.Sleep(5 * time.Minute)
		over := s.post.expect(t, "after a good sync", "chat: recovered vm1")[0]
		if !slices.Equal(over.After, []config.Event{config.RPOBroken, config.Failed}) || !over.Since.Equal(first.Since) || over.Error != nil || over.Age > 60 {
			t.Errorf("%+v", over)
		}
		time.Sleep(time.Hour)
		s.post.expect(t, "while all is well again")
		w.failing("vm1", unreachable())
		time.Sleep(30 * time.Minute)
		s.post.expect(t, "when it fails anew", "chat: failed vm1", "chat: rpo_broken vm1")
	})
}

func TestFailuresThatAreNobodysBusinessAreNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, tellHead+"machines: [{name: vm1, every: 10m, max_age: 1d}]\n")
		time.Sleep(time.Minute)
		w.failing("vm1", &replicator.Error{Kind: replicator.KindBusy, Err: errors.New("another run holds it")})
		time.Sleep(time.Hour)
		if s.status("vm1").Failures == 0 {
			t.Error("it did not fail")
		}
		w.failing("vm1", nil)
		time.Sleep(time.Hour)
		s.post.expect(t, "busy for an hour")
		w.set("hosta", func() { w.took = time.Hour })
		time.Sleep(15 * time.Minute)
		s.end() // in the middle of a sync
		s.post.expect(t, "after the service's end")
	})
}

func TestRestartTellsNothingTwiceAndLosesNoRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, file := newWorld(), historyFile(t)
		w.has("hosta", "vm1")
		const text = tellHead + "machines: [{name: vm1, every: 10m, max_age: 15m}]\n"
		s := serveAt(t, w, text, file)
		time.Sleep(time.Minute)
		w.failing("vm1", unreachable())
		time.Sleep(20 * time.Minute)
		s.post.expect(t, "before the restart", "chat: failed vm1", "chat: rpo_broken vm1")
		s.end()
		s = serveAt(t, w, text, file)
		time.Sleep(20 * time.Minute)
		s.end()
		s.post.expect(t, "after the restart")
		w.failing("vm1", nil)
		s = serveAt(t, w, text, file)
		time.Sleep(5 * time.Minute)
		s.post.expect(t, "after a good sync", "chat: recovered vm1")
		s.end()
		s = serveAt(t, w, text, file)
		time.Sleep(5 * time.Minute)
		s.post.expect(t, "after another restart")
	})
}

func TestWhatCouldNotBeDeliveredIsLoggedAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, tellHead+"machines: [{name: vm1, every: 10m}]\n")
		s.post.fails, s.post.takes = errors.New("connection refused"), 3*time.Second
		w.failing("vm1", unreachable())
		time.Sleep(time.Minute)
		began := time.Now()
		s.end()
		if took := time.Since(began); took < 3*time.Second || took > 10*time.Second {
			t.Errorf("last words took %s", took)
		}
		if log := s.log.String(); !strings.Contains(log, "notification failed: connection refused") || !strings.Contains(log, `given up: the service ends`) ||
			!strings.Contains(log, "DOMAIN=vm1 SOURCE=hosta event=failed") {
			t.Error(log)
		}
	})
}

func TestSourceThatIsDownIsToldInFewMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		var names []string
		for i := range 50 {
			names = append(names, fmt.Sprintf("vm%02d", i))
		}
		w.has("hosta", names...)
		w.has("hostb", "other")
		s := serve(t, w, tellHead+"concurrency: {total: 50, per_source: 50}\njitter: 5m\nmachines: [{name: '*', every: 10m, max_age: 20m}]\n")
		time.Sleep(25 * time.Minute)
		s.post.expect(t, "while all is well")
		w.set("hosta", func() { w.down["hosta"] = true })
		time.Sleep(time.Hour)
		count := map[string]int{}
		messages, news := s.post.all()
		for _, n := range news {
			count[string(n.Event)]++
			if n.Source != "hosta" || n.Error == nil || n.Error.Kind != replicator.KindUnreachable {
				t.Errorf("%+v", n)
			}
		}
		if count["failed"] != 50 || count["rpo_broken"] != 50 || len(messages) > 12 {
			t.Errorf("%v in %d messages", count, len(messages))
		}
		w.set("hosta", func() { w.down["hosta"] = false })
		time.Sleep(30 * time.Minute)
		if messages, news = s.post.all(); len(news) != 50 || len(messages) > 3 {
			t.Errorf("%q", messages)
		}
		for _, n := range news {
			if n.Event != config.Recovered || n.Domain == "other" {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestShortOutageIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, tellHead+"machines: [{name: vm1, every: 1m, max_age: 10m}]\n")
		time.Sleep(90 * time.Second)
		w.set("hosta", func() { w.down["hosta"] = true })
		time.Sleep(50 * time.Second) // a run is due after 30
		w.set("hosta", func() { w.down["hosta"] = false })
		time.Sleep(10 * time.Minute)
		s.post.expect(t, "a short outage")
	})
}

func TestPausedMachineIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1")
		s := serve(t, w, tellHead+"machines: [{name: vm1, every: 1m}]\n")
		time.Sleep(10 * time.Second)
		if _, err := s.Pause(t.Context(), "", "vm1", ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s.post.expect(t, "an hour without a sync")
		w.failing("vm1", unreachable())
		if _, err := s.Resume(t.Context(), "", "vm1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.post.expect(t, "resumed", "chat: rpo_broken vm1, failed vm1")
	})
}

func TestMachineWithoutAReplicaIsToldOfWhenItShouldHaveOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "first", "waits")
		w.took = 3 * time.Hour
		s := serve(t, w, tellHead+"concurrency: {total: 1}\nmachines: [{name: first, every: 1m, max_age: 1d}, {name: waits, every: 1m}]\n")
		time.Sleep(59 * time.Minute)
		s.post.expect(t, "in the first hour")
		time.Sleep(3 * time.Minute)
		for _, n := range s.post.expect(t, "then", "chat: rpo_broken waits") {
			if n.Message != "there is no replica yet" || n.Age != 0 || !n.Fresh.IsZero() {
				t.Errorf("%+v", n)
			}
		}
	})
}

func TestWhoIsToldIsAsTheConfigurationSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.has("hosta", "vm1", "vm2", "vm3")
		for _, n := range []string{"vm1", "vm2", "vm3"} {
			w.failing(n, unreachable())
		}
		const machines = "machines: [{name: vm1, every: 1h, notify: [chat, mail]}, {name: vm2, every: 1h}, {name: vm3, every: 1h, notify: []}]\n"
		s := serve(t, w, head+"notifications: {chat: {webhook: 'http://chat'}, mail: {webhook: 'http://mail', events: rpo_broken}, page: {command: [/bin/page], events: failed}}\n"+machines)
		time.Sleep(time.Minute)
		messages, _ := s.post.all()
		slices.Sort(messages)
		if text := strings.Replace(strings.Join(messages, "; "), "failed vm2, failed vm1", "failed vm1, failed vm2", 1); text != "chat: failed vm1, failed vm2; page: failed vm2" {
			t.Errorf("at first: %s", text)
		}
		s.text = strings.Replace(s.text, "notify: []", "notify: chat", 1)
		if err := s.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		s.post.expect(t, "after a reload", "chat: failed vm3")
		s.end()
		if log := s.log.String(); strings.Contains(log, "not carried out") {
			t.Error(log)
		}
	})
}
