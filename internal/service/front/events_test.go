package front

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"vmsync/internal/api"
	"vmsync/internal/history"
)

func TestEventsOverARealSocket(t *testing.T) {
	e := ends{make(chan struct{})}
	c, _, _ := serve(t, e)
	ctx, stop := context.WithCancel(t.Context())
	heard, ended := make(chan api.Event, 100), make(chan error, 1)
	go func() { ended <- c.Events(ctx, 100, "", func(e api.Event) { heard <- e }) }()
	next := func(what, machine string) (e api.Event) {
		t.Helper()
		for {
			select {
			case e = <-heard:
				if e.Event == what && e.Machine == machine {
					return e
				}
			case <-time.After(10 * time.Second):
				t.Fatalf("never heard: %s %s", what, machine)
			}
		}
	}
	if e := next(api.EventRunBegan, "vm ü1"); e.Source != "hosta" || e.Run == nil || e.Run.Outcome != history.Running || e.Time.IsZero() {
		t.Errorf("%+v", e)
	}
	close(e.hold)
	if e := next(api.EventRunEnded, "vm ü1"); e.Run.Outcome != history.Succeeded || e.Run.State != "s1" || e.Run.Changed != 7 {
		t.Errorf("%+v", e.Run)
	}
	if _, err := c.Pause(ctx, "vm ü1", "roof"); err != nil {
		t.Fatal(err)
	}
	if e := next(api.EventPaused, "vm ü1"); e.Reason != "roof" {
		t.Errorf("%+v", e)
	}
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	reloaded := next(api.EventReloaded, "")
	if _, err := c.Resume(ctx, "vm ü1"); err != nil {
		t.Fatal(err)
	}
	next(api.EventResumed, "vm ü1")
	// Another listener goes on where the first was.
	again, done := context.WithCancel(ctx)
	if err := c.Events(again, 100, reloaded.ID, func(e api.Event) {
		if e.Event != api.EventResumed {
			t.Errorf("heard again: %+v", e)
		}
		done()
	}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}

	runs, err := c.LastRuns(ctx, 1)
	if err != nil || len(runs) != 3 || runs[0].Machine != "hosta/both" {
		t.Errorf("%+v, %v", runs, err)
	}
	_, err = c.LastRuns(ctx, 101)
	refused(t, err, api.KindBadRequest)
	refused(t, c.Events(ctx, -1, "", nil), api.KindBadRequest)

	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// TestEventsEndWithTheService has whoever listens be told at once, and not hold the service
// up.
func TestEventsEndWithTheService(t *testing.T) {
	ended := make(chan error, 1)
	var began time.Time
	t.Run("service", func(t *testing.T) {
		e := ends{make(chan struct{})}
		close(e.hold)
		c, _, _ := serve(t, e)
		listening := make(chan struct{}, 100)
		go func() {
			ended <- c.Events(context.Background(), 100, "", func(api.Event) { listening <- struct{}{} })
		}()
		<-listening
		began = time.Now()
	})
	if err := <-ended; !errors.Is(err, io.EOF) || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s to end", took)
	}
}

// TestListeningBeginsWithASign reads the stream itself: something comes at once, before
// anything happens.
func TestListeningBeginsWithASign(t *testing.T) {
	e := ends{make(chan struct{})}
	close(e.hold)
	_, _, socket := serve(t, e)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://vmsync/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b := make([]byte, 4096)
	n, err := resp.Body.Read(b)
	if err != nil || !strings.HasPrefix(string(b[:n]), `{"event":"heartbeat","time":"`) || resp.Header.Get("Content-Type") != "application/x-ndjson" {
		t.Errorf("%q, %v, %v", b[:n], err, resp.Header)
	}
}
