package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"vmsync/internal/store"
	"vmsync/tests/lab"
)

const (
	uriA  = "qemu+ssh://root@hosta/system"
	uriB  = "qemu+ssh://root@hostb/system"
	local = "qemu:///system"

	storeDir = "/var/lib/vmsync"
)

// event is one line of `vmsync sync --json`.
type event struct {
	Event        string  `json:"event"`
	Run          string  `json:"run"`
	Phase        string  `json:"phase"`
	Message      string  `json:"message"`
	Kind         string  `json:"kind"`
	Domain       string  `json:"domain"`
	Disk         string  `json:"disk"`
	Hint         string  `json:"hint"`
	State        string  `json:"state"`
	Checkpoint   string  `json:"checkpoint"`
	Consistency  string  `json:"consistency"`
	ChangedBytes int64   `json:"changed_bytes"`
	ZeroBytes    int64   `json:"zero_bytes"`
	SentBytes    int64   `json:"sent_bytes"`
	Frozen       float64 `json:"frozen_seconds"`
	Duration     float64 `json:"duration_seconds"`

	// Of progress.
	DoneBytes    int64 `json:"done_bytes"`
	TotalBytes   int64 `json:"total_bytes"`
	WrittenBytes int64 `json:"written_bytes"`
	FoundBytes   int64 `json:"found_bytes"`
	ScannedBytes int64 `json:"scanned_bytes"`
	SizeBytes    int64 `json:"size_bytes"`

	// Of progress and summary.
	Frames int64            `json:"frames"`
	Ratio  float64          `json:"compression_ratio"`
	Codecs map[string]codec `json:"codecs"`

	// Of summary.
	Transfer  float64 `json:"transfer_seconds"`
	SentRate  float64 `json:"sent_bytes_per_second"`
	Transport string  `json:"transport"`
	NotDirect string  `json:"not_direct"`

	// Of verify and restore.
	Damaged        string `json:"damaged"`
	Verified       bool   `json:"verified"`
	DamagedStates  int    `json:"damaged_states"`
	ReadBytes      int64  `json:"read_bytes"`
	EqualBytes     int64  `json:"equal_bytes"`
	DifferentBytes int64  `json:"different_bytes"`
	FirstOffset    int64  `json:"first_offset"`
	Defined        string `json:"defined"`
}

type codec struct {
	Frames int64 `json:"frames"`
	Raw    int64 `json:"raw_bytes"`
	Stored int64 `json:"stored_bytes"`
}

// data is how many bytes of a summary are not zeros.
func (e event) data() int64 { return e.ChangedBytes - e.ZeroBytes }

// outcome is what one vmsync command did.
type outcome struct {
	code   int
	events []event
	stderr string
}

// find returns the last event of a name, or an empty one.
func (o outcome) find(name string) event {
	for i := len(o.events) - 1; i >= 0; i-- {
		if o.events[i].Event == name {
			return o.events[i]
		}
	}
	return event{}
}

// messages joins the texts of all events of a name.
func (o outcome) messages(name string) string {
	var all []string
	for _, e := range o.events {
		if e.Event == name {
			all = append(all, e.Message)
		}
	}
	return strings.Join(all, "\n")
}

// running is a vmsync command in progress.
type running struct {
	t              *testing.T
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
}

// start starts vmsync on a host.
func start(t *testing.T, h *lab.Host, args ...string) *running {
	t.Helper()
	r := &running{t: t, cmd: h.Command(t.Context(), append([]string{binDir + "vmsync"}, args...)...)}
	r.cmd.Stdout, r.cmd.Stderr = &r.stdout, &r.stderr
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return r
}

// wait waits for its end and reads its output.
func (r *running) wait() outcome {
	r.t.Helper()
	err := r.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		r.t.Fatal(err)
	}
	o := outcome{code: r.cmd.ProcessState.ExitCode(), stderr: r.stderr.String()}
	dec := json.NewDecoder(&r.stdout)
	for {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return o
		} else if err != nil {
			r.t.Fatalf("output is not JSON: %v\n%s", err, o.stderr)
		}
		o.events = append(o.events, e)
	}
}

// fromTarget is the command line of a sync run on the target.
func fromTarget(domain string, more ...string) []string {
	return append([]string{"sync", domain, "--source-uri", uriA, "--json"}, more...)
}

// trySync pulls a machine from hosta to hostb, run on hostb.
func trySync(t *testing.T, domain string, more ...string) outcome {
	t.Helper()
	return start(t, hostb, fromTarget(domain, more...)...).wait()
}

// sync is trySync that must succeed; it returns the summary.
func sync(t *testing.T, domain string, more ...string) event {
	t.Helper()
	return succeeded(t, trySync(t, domain, more...))
}

func succeeded(t *testing.T, o outcome) event {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s\n%+v", o.code, o.stderr, o.find("error"))
	}
	s := o.find("summary")
	if s.State == "" {
		t.Fatalf("no summary: %+v", o.events)
	}
	return s
}

// failed checks that a run failed with an error of a kind that names domain and
// disk, and says what to do.
func failed(t *testing.T, o outcome, code int, kind, domain, disk string) event {
	t.Helper()
	e := o.find("error")
	if o.code != code || e.Kind != kind || e.Domain != domain || e.Disk != disk {
		t.Fatalf("exit code %d, error %+v\n%s\nwant code %d, kind %s, domain %q, disk %q", o.code, e, o.stderr, code, kind, domain, disk)
	}
	if e.Hint == "" {
		t.Errorf("error does not say what to do next: %+v", e)
	}
	return e
}

// manifest reads a replica's manifest on hostb; nil if there is none.
func manifest(t *testing.T, replica string) *store.Manifest {
	t.Helper()
	return manifestIn(t, storeDir, replica)
}

func manifestIn(t *testing.T, dir, replica string) *store.Manifest {
	t.Helper()
	b, err := hostb.ReadFile(dir + "/" + replica + "/manifest.json")
	if err != nil {
		return nil
	}
	m := &store.Manifest{}
	if err := json.Unmarshal(b, m); err != nil {
		t.Fatal(err)
	}
	return m
}

// head is a replica's newest state.
func head(t *testing.T, replica string) *store.State {
	t.Helper()
	m := manifest(t, replica)
	if m == nil || m.Head() == nil {
		t.Fatalf("%s has no state", replica)
	}
	return m.Head()
}

// topImage is the path on the machine of the image that reads as a replica's disk.
func topImage(t *testing.T, replica, disk string) string {
	t.Helper()
	for _, d := range head(t, replica).Disks {
		if d.Name == disk {
			return hostb.Path(storeDir + "/" + replica + "/" + d.Image)
		}
	}
	t.Fatalf("replica %s has no disk %s", replica, disk)
	return ""
}
