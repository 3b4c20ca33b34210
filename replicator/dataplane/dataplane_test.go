package dataplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
)

// The test binary plays a vmsync-nbd that says what the test wants said, so that
// every way in which the program can end is seen. The real one is tested end to end.
const (
	helperEnv = "DATAPLANE_TEST_SAYS"
	untilEnd  = "UNTIL-END" // go on until stdin closes
)

func TestMain(m *testing.M) {
	says, helper := os.LookupEnv(helperEnv)
	if !helper {
		os.Exit(m.Run())
	}
	in := bufio.NewReader(os.Stdin)
	doc, err := in.ReadString('\n')
	if err != nil || len(os.Args) < 2 || !strings.Contains(doc, `"domain":"web"`) {
		fmt.Println(`{"event":"failed","error":{"kind":"spec","message":"no document"}}`)
		os.Exit(1)
	}
	status := 0
	for _, line := range strings.Split(says, "\n") {
		switch line {
		case untilEnd:
			_, _ = in.ReadString('\n')
		case "EXIT-1":
			fmt.Fprintln(os.Stderr, "something broke")
			status = 1
		default:
			fmt.Println(line)
		}
	}
	os.Exit(status)
}

func session(t *testing.T, says ...string) *Session {
	t.Helper()
	return sessionOf(t, Serve, says...)
}

func sessionOf(t *testing.T, mode string, says ...string) *Session {
	t.Helper()
	t.Setenv(helperEnv, strings.Join(says, "\n"))
	s, err := Start(t.Context(), os.Args[0], mode, spec.Serve{Version: spec.Version, Domain: "web"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestResultsAndProgressArrive(t *testing.T) {
	s := session(t, `{"event":"ready"}`, `{"event":"progress","progress":{"disk":"vda","done":5,"total":9,"traffic":{"wire":3}}}`, "",
		`{"event":"done","traffic":{"wire":7},"disks":[{"name":"vda","data_bytes":9,"digest":"00ff"}]}`)
	if _, err := s.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	var seen []spec.Progress
	disks, traffic, err := s.Wait(t.Context(), func(p spec.Progress) { seen = append(seen, p) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]spec.DiskResult{{Name: "vda", DataBytes: 9, Digest: "00ff"}}, disks); diff != "" || traffic.Wire != 7 {
		t.Error(traffic, diff)
	}
	want := []spec.Progress{{Disk: "vda", Done: 5, Total: 9, Traffic: spec.Traffic{Wire: 3}}}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestHashIsNeverReady(t *testing.T) {
	const content = "00112233445566778899aabbccddeeff"
	disks, _, err := sessionOf(t, Hash, `{"event":"done","traffic":{},"disks":[{"name":"vda","data_bytes":9,"content":"`+content+`"}]}`).Wait(t.Context(), nil)
	if diff := cmp.Diff([]spec.DiskResult{{Name: "vda", DataBytes: 9, Content: content}}, disks); diff != "" || err != nil {
		t.Error(err, diff)
	}
	_, _, err = sessionOf(t, Hash, `{"event":"failed","error":{"kind":"export","disk":"vda","message":"it broke"}}`, "EXIT-1").Wait(t.Context(), nil)
	typed, ok := errors.AsType[*replicator.Error](err)
	if !ok || typed.Kind != replicator.KindExport || typed.Disk != "vda" || typed.Op != "hash the disks" {
		t.Errorf("got %v", err)
	}
}

func TestFailuresKeepTheirKind(t *testing.T) {
	for kind, want := range map[string]string{
		spec.KindExport: replicator.KindExport, spec.KindTarget: replicator.KindTarget, spec.KindNoSpace: replicator.KindNoSpace,
		spec.KindMismatch: replicator.KindStream, spec.KindStream: replicator.KindStream, spec.KindPeer: replicator.KindPeer,
		spec.KindStopped: replicator.KindCanceled, spec.KindSpec: replicator.KindRequest, "new": replicator.KindOther,
	} {
		s := session(t, `{"event":"ready"}`, `{"event":"failed","error":{"kind":"`+kind+`","disk":"vda","message":"it broke"}}`, "EXIT-1")
		_, _, err := s.Wait(t.Context(), nil)
		typed, ok := errors.AsType[*replicator.Error](err)
		if !ok || typed.Kind != want || typed.Disk != "vda" || typed.Err.Error() != "it broke" {
			t.Errorf("%s: got %v", kind, err)
		}
	}
}

func TestOnlyACleanEndCounts(t *testing.T) {
	const done = `{"event":"done","traffic":{"wire":7}}`
	for what, says := range map[string][]string{
		"no result":             {`{"event":"ready"}`},
		"status 1 after done":   {`{"event":"ready"}`, done, "EXIT-1"},
		"an unreadable event":   {`{"event":"ready"}`, "{", done},
		"failed after done":     {done, `{"event":"failed"}`},
		"a crash before ready":  {"EXIT-1"},
		"done without an event": {"done"},
		"done without figures":  {`{"event":"done"}`},
		"progress of nothing":   {`{"event":"progress"}`, done},
	} {
		_, _, err := session(t, says...).Wait(t.Context(), nil)
		if err == nil {
			t.Errorf("%s: passed", what)
		}
	}
}

func TestReadyFailsWithTheProgramsError(t *testing.T) {
	_, err := session(t, `{"event":"failed","error":{"kind":"export","message":"refused"}}`, "EXIT-1").Ready(t.Context())
	if replicator.KindOf(err) != replicator.KindExport {
		t.Errorf("got %v", err)
	}
	_, err = session(t, "EXIT-1").Ready(t.Context())
	if err == nil || !strings.Contains(err.Error(), "something broke") {
		t.Errorf("its last words are missing: %v", err)
	}
}

func TestContextEndsTheWaitAndNotTheSession(t *testing.T) {
	s := session(t, untilEnd, `{"event":"ready"}`, `{"event":"done"}`)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Ready(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Ready: %v", err)
	}
	if _, _, err := s.Wait(ctx, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait: %v", err)
	}
	select {
	case <-s.process.Done():
		t.Error("the session ended")
	default:
	}
}

func TestStopEndsTheProgram(t *testing.T) {
	s := session(t, untilEnd)
	s.Stop()
	s.Stop()
	select {
	case <-s.process.Done():
	default:
		t.Error("it still runs")
	}
}

func TestMissingProgramIsSaid(t *testing.T) {
	_, err := Start(t.Context(), "/nonexistent/vmsync-nbd", Serve, spec.Serve{})
	if replicator.KindOf(err) != replicator.KindProgramMissing {
		t.Errorf("got %v", err)
	}
}
