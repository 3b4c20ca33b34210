package front

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/config"
	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/internal/schedule"
	"vmsync/internal/service"
	"vmsync/replicator"
)

// ends have two machines on two sources each, vm1 and both, and sync them at once; hold
// has syncs wait.
type ends struct{ hold chan struct{} }

func (ends) Watch(ctx context.Context, source config.Host, _ time.Duration, _ <-chan service.Ask, tell func([]replicator.SourceDomain)) error {
	all := []replicator.SourceDomain{{Name: "both", Running: true}}
	if source.Name == "hosta" {
		all = append(all, replicator.SourceDomain{Name: "vm ü1", Running: true})
	}
	tell(all)
	<-ctx.Done()
	return ctx.Err()
}

func (e ends) Sync(ctx context.Context, job service.Job, out event.Sink) (replicator.Synced, error) {
	out.Emit(event.PhaseStarted{Phase: event.PhaseInspect})
	select {
	case <-e.hold:
	case <-ctx.Done():
		return replicator.Synced{}, context.Cause(ctx)
	}
	if job.Request.Options.Full {
		return replicator.Synced{}, &replicator.Error{Kind: replicator.KindNoSpace, Domain: job.Request.Domain, Disk: "vda", Op: "write", Hint: "free some", Err: errors.New("no space")}
	}
	return replicator.Synced{Summary: &event.Summary{Run: job.Request.Run, Domain: job.Request.Domain, State: "s1", Kind: event.KindFull, ChangedBytes: 7}}, nil
}

// serve runs a service and its API, and returns a client, a switch that makes its
// configuration unsound, and the socket's path.
func serve(t *testing.T, e service.Ends) (*api.Client, *atomic.Bool, string) {
	t.Helper()
	const text = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system', hostb: 'qemu+ssh://root@hostb/system'}\n" +
		"defaults: {target_domain: '{domain}-{source}', every: 1h}\nmachines: [{name: '*'}]\n"
	bad := &atomic.Bool{}
	load := func() (*config.Config, error) {
		if bad.Load() {
			return config.Parse("test.yaml", []byte("version: 2\n"))
		}
		return config.Parse("test.yaml", []byte(text))
	}
	c, err := load()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h, _, err := history.Open(filepath.Join(dir, "history.db"), history.Limits{Runs: 100, Age: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := service.New(service.Options{Config: c, Load: load, History: h, Ends: e, Version: "1.2.3", Path: "test.yaml"})
	socket := filepath.Join(dir, "run", "vmsync.sock")
	l, access, err := Listen(socket, "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	apiCtx, stopAPI := context.WithCancel(context.Background())
	ran, served := make(chan error, 1), make(chan error, 1)
	go func() { ran <- s.Run(ctx) }()
	go func() {
		served <- Serve(apiCtx, l, access, &Handler{Service: s, Log: slog.New(slog.DiscardHandler)})
	}()
	t.Cleanup(func() {
		stop()
		if err := <-ran; err != nil {
			t.Error(err)
		}
		stopAPI()
		if err := <-served; err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); err == nil {
			t.Error("the socket is left")
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return api.NewClient(socket), bad, socket
}

// heard keeps events.
type heard struct{ all []event.Event }

func (h *heard) Emit(e event.Event) { h.all = append(h.all, e) }

func wait(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never happened: " + what)
		}
	}
}

func TestEverythingThereIsOverARealSocket(t *testing.T) {
	e := ends{make(chan struct{})}
	c, bad, socket := serve(t, e)
	ctx := t.Context()
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	var st *api.Status
	wait(t, "three machines are synced", func() bool {
		var err error
		if st, err = c.Status(ctx); err != nil {
			t.Fatal(err)
		}
		syncing := 0
		for _, m := range st.Machines {
			if m.Doing == api.Syncing && m.Running.Phase == "inspect" {
				syncing++
			}
		}
		return syncing == 3
	})
	if st.Version != "1.2.3" || len(st.Sources) != 2 || st.Sources[0].Listed.IsZero() || st.Machines[0].Name != "both" || !st.Machines[0].Broken() {
		t.Errorf("%+v", st)
	}
	close(e.hold)
	wait(t, "it is synced", func() bool {
		m, err := c.Machine(ctx, "vm ü1")
		return err == nil && m.Health == schedule.Healthy && m.Last.State == "s1" && m.Running == nil
	})
	out := &heard{}
	if err := c.Sync(ctx, "hosta/vm ü1", api.SyncRequest{}, out); err != nil {
		t.Fatal(err)
	}
	run, ok := out.all[0].(event.Run)
	if last, good := out.all[len(out.all)-1].(event.Summary); !ok || !good || last.State != "s1" || last.Run != run.ID || len(run.ID) != 12 {
		t.Errorf("%+v", out.all)
	}
	runs, err := c.Runs(ctx, "vm ü1", 1)
	if err != nil || len(runs) != 1 || runs[0].ID != run.ID || runs[0].Trigger != "request" {
		t.Errorf("%+v, %v", runs, err)
	}
	out = &heard{}
	if err := c.Sync(ctx, "vm ü1", api.SyncRequest{Full: true}, out); err != nil {
		t.Fatal(err)
	}
	if run, ok = out.all[0].(event.Run); !ok {
		t.Fatalf("%+v", out.all)
	}
	if got, want := out.all[len(out.all)-1], (event.Error{Run: run.ID, Kind: "no-space", Message: "write: no space", Domain: "vm ü1", Disk: "vda", Hint: "free some"}); got != want {
		t.Errorf("%+v", got)
	}
	for _, want := range []bool{true, false} {
		if changed, err := c.Pause(ctx, "vm ü1", "why not"); err != nil || changed != want {
			t.Errorf("%v, %v", changed, err)
		}
	}
	refused(t, c.Sync(ctx, "vm ü1", api.SyncRequest{}, out), api.KindPaused)
	if changed, err := c.Resume(ctx, "vm ü1"); err != nil || !changed {
		t.Errorf("%v, %v", changed, err)
	}
	if err := c.Reload(ctx); err != nil {
		t.Error(err)
	}
	bad.Store(true)
	refused(t, c.Reload(ctx), api.KindBadConfig)
	_, err = c.Machine(ctx, "nobody")
	refused(t, err, api.KindUnknownMachine)
	_, err = c.Machine(ctx, "both")
	refused(t, err, api.KindAmbiguous)
	if m, err := c.Machine(ctx, "hostb/both"); err != nil || m.TargetDomain != "both-hostb" {
		t.Errorf("%+v, %v", m, err)
	}
	_, err = c.Runs(ctx, "vm ü1", 0)
	refused(t, err, api.KindBadRequest)
	refused(t, c.Sync(ctx, "vm ü1", api.SyncRequest{Full: true, Resync: true}, out), api.KindBadRequest)
}

func refused(t *testing.T, err error, kind string) {
	t.Helper()
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Kind != kind {
		t.Errorf("got %v, want an error of kind %s", err, kind)
	}
}

func TestRequestsThatMakeNoSense(t *testing.T) {
	e := ends{make(chan struct{})}
	close(e.hold)
	c, _, socket := serve(t, e)
	wait(t, "the machines are known", func() bool {
		st, err := c.Status(t.Context())
		return err == nil && len(st.Machines) == 3
	})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	for name, c := range map[string]struct {
		method, path, body string
		want               int
	}{
		"another version": {"GET", "/v2/status", "", 400},
		"nothing there":   {"GET", "/", "", 400},
		"wrong method":    {"GET", "/v1/reload", "", 400},
		"no JSON":         {"POST", "/v1/machines/both/pause", "x", 400},
		"unknown key":     {"POST", "/v1/machines/both/sync?source=hosta", `{"ful":true}`, 400},
		"too long":        {"POST", "/v1/machines/both/pause", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 400},
		"no body":         {"POST", "/v1/machines/both/pause?source=hosta", "", 200},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://vmsync"+c.path, bytes.NewReader([]byte(c.body)))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.want || !bytes.HasPrefix(said, []byte("{")) {
			t.Errorf("%s: %d %s", name, resp.StatusCode, said)
		}
	}
}

func TestWhoMayUseTheAPI(t *testing.T) {
	groups := func(uid int) ([]string, error) {
		switch uid {
		case 1001:
			return []string{"1001", "500"}, nil
		case 1002:
			return []string{"1002", "5000"}, nil
		}
		return nil, errors.New("no such user")
	}
	for name, c := range map[string]struct {
		group, uid, gid int
		want            bool
	}{
		"root":                             {-1, 0, 0, true},
		"the service's own user":           {-1, 77, 77, true},
		"anybody":                          {-1, 1001, 500, false},
		"one whose group it is":            {500, 1003, 500, true},
		"one who is in it":                 {500, 1001, 1001, true},
		"one who is not":                   {500, 1002, 1002, false},
		"one whom nobody knows":            {500, 9999, 9999, false},
		"group 0 is a group like another":  {0, 1002, 1002, false},
		"root, whatever the group's rules": {500, 0, 0, true},
	} {
		err := (&Access{c.group}).judge(c.uid, c.gid, 77, groups)
		if (err == nil) != c.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSocketsOfTheDeadAreReplacedAndNoOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sock")
	l, _, err := Listen(path, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Listen(path, ""); err == nil || !strings.Contains(err.Error(), "another service") {
		t.Errorf("a second service: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	if l, _, err = Listen(path, ""); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Listen(path, ""); err == nil {
		t.Error("a file was replaced")
	}
	if _, _, err := Listen(filepath.Join(t.TempDir(), "sock"), "no-such-group-here"); err == nil || !strings.Contains(err.Error(), "groupadd") {
		t.Errorf("%v", err)
	}
	if _, err := api.NewClient(filepath.Join(t.TempDir(), "none")).Status(t.Context()); !errors.Is(err, api.ErrNotRunning) {
		t.Errorf("%v", err)
	}
}
