package e2e

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
	"vmsync/replicator"
)

// held is what a replica on hostb consists of.
func held(t *testing.T, replica string) string {
	t.Helper()
	out, err := hostb.Run(t.Context(), "sh", "-c", "cd "+storeDir+" && find "+replica+" -type f | sort | xargs sha256sum")
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestStreamThatDoesNotFitIsRefusedAndChangesNothing(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	dirty(t, m, "vda", 0, 2*mib, 1)
	first := send(t, m, "1").Checkpoint
	dirty(t, m, "vda", mib, mib, 2)
	second := send(t, m, "2", "--since", first).Checkpoint
	dirty(t, m, "vda", 3*mib, mib, 3)
	send(t, m, "3", "--since", second)
	send(t, m, "other")
	for _, f := range []string{"1", "2", "3", "other"} {
		carry(t, f)
	}

	failed(t, tryReceive(t, "2"), 1, "parent-missing", m.Name(), "")
	if exists(t, hostb, storeDir+"/"+m.Name()) {
		t.Error("a folder for a stream that was refused")
	}
	receive(t, "1")
	was := held(t, m.Name())
	for _, c := range []struct{ file, kind, says string }{
		{"1", "already-held", "already has it"},
		{"3", "parent-missing", second},
		{"other", "other-replica", "another replica"},
	} {
		e := failed(t, tryReceive(t, c.file), 1, c.kind, m.Name(), "")
		if !strings.Contains(e.Message, c.says) {
			t.Errorf("%s: %q", c.file, e.Message)
		}
		if got := held(t, m.Name()); got != was {
			t.Fatalf("after %s the replica is\n%s, was\n%s", c.file, got, was)
		}
	}
	t.Cleanup(func() { removeReplica(t, "other-name") })
	succeeded(t, tryReceive(t, "other", "--target-domain", "other-name"))
	receive(t, "2")
	receive(t, "3")
	sameAsSource(t, m, "vda")
	failed(t, tryReceive(t, "2"), 1, "already-held", m.Name(), "")
	noLitter(t, m)
}

func TestDamagedStreamIsRefusedAndChangesNothing(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	randomData(t, m, "vda", 0, 4*mib)
	first := send(t, m, "1").Checkpoint
	randomData(t, m, "vda", 8*mib, 4*mib)
	send(t, m, "2", "--since", first)
	full, changes := carry(t, "1"), carry(t, "2")
	broken := func(good []byte) map[string][]byte {
		flip := func(at int) []byte {
			b := slices.Clone(good)
			b[at] ^= 0x10
			return b
		}
		return map[string][]byte{
			"nothing": nil, "half a header": good[:100], "a header": good[:4000], "half": good[:len(good)/2], "all but a byte": good[:len(good)-1],
			"a byte more": append(slices.Clone(good), 0), "flipped in the header": flip(500), "flipped in the data": flip(len(good) / 2),
			"flipped in the end": flip(len(good) - 5), "twice": append(slices.Clone(good), good...), "text": []byte(strings.Repeat("not a stream\n", 100)),
		}
	}
	try := func(t *testing.T, content []byte) {
		t.Helper()
		put(t, "bad", content)
		o := tryReceive(t, "bad")
		if e := o.find("error"); o.code != 1 || e.Kind != "stream" || e.Hint == "" {
			t.Errorf("exit code %d, %+v", o.code, e)
		}
		if _, err := hostb.Run(t.Context(), "vmsync", "stream", "verify", streams+"/bad"); err == nil {
			t.Error("verify finds it sound")
		}
		noLitter(t, m)
	}
	for what, content := range broken(full) {
		t.Run("full, "+what, func(t *testing.T) {
			try(t, content)
			if exists(t, hostb, storeDir+"/"+m.Name()) {
				t.Error("something is left in the store")
			}
			if out, err := hostb.Run(t.Context(), "virsh", "list", "--all", "--name"); err != nil || strings.Contains(out, m.Name()) {
				t.Errorf("a domain is defined: %v, %q", err, out)
			}
		})
	}
	receive(t, "1")
	was := manifest(t, m.Name())
	images := listDir(t, hostb, storeDir+"/"+m.Name()+"/disks")
	for what, content := range broken(changes) {
		t.Run("changes, "+what, func(t *testing.T) {
			try(t, content)
			if got := manifest(t, m.Name()); got.Head().ID != was.Head().ID || len(got.States) != 1 {
				t.Errorf("states %+v", got.States)
			}
			if got := listDir(t, hostb, storeDir+"/"+m.Name()+"/disks"); !slices.Equal(got, images) {
				t.Errorf("images %v, were %v", got, images)
			}
		})
	}
	receive(t, "2")
	sameAsSource(t, m, "vda")
}

// TestReceiveKilledInTheMiddle kills the target's agent under a first stream. The
// next stream, of another pair, must find its place.
func TestReceiveKilledInTheMiddle(t *testing.T) {
	m := busyMachine(t)
	send(t, m, "1")
	send(t, m, "other")
	carry(t, "1")
	r := startScript(t, hostb, "{ head -c 8000000 "+streams+"/1; exec sleep 1000; } | vmsync receive --json")
	eventually(t, "two megabytes have arrived", func() bool { return stored(t, m) > 2*mib })
	killAll(t, hostb, "vmsync agent")
	killAll(t, hostb, "sleep 1000")
	if o := r.wait(); o.code == 0 {
		t.Fatalf("%+v", o.events)
	}
	if mf := manifest(t, m.Name()); mf != nil && mf.Head() != nil {
		t.Fatalf("a state is listed: %+v", mf.Head())
	}
	// One that fails leaves no pair behind for a replica that has none yet.
	was := manifest(t, m.Name()).Pair
	other := carry(t, "other")
	put(t, "half", other[:len(other)/2])
	failed(t, tryReceive(t, "half"), 1, "stream", m.Name(), "")
	if got := manifest(t, m.Name()); got.Pair != was || len(got.States) > 0 {
		t.Errorf("pair %s, was %s; states %+v", got.Pair, was, got.States)
	}
	if s := receive(t, "other"); s.Kind != "full" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
	noLitter(t, m)
	if _, err := os.Stat(hostb.Path("/run/vmsync/target")); err == nil {
		if left := listFiles(t, hostb, "/run/vmsync/target"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}

// TestHostileStreamCannotLeaveTheStore receives sound streams whose names are meant
// to become paths.
func TestHostileStreamCannotLeaveTheStore(t *testing.T) {
	const id = "11111111-2222-3333-4444-555555555555"
	before := listing(t)
	for name, c := range map[string]struct{ domain, disk, kind string }{
		"disk":           {"hostile", "../../../../x", "request"},
		"disk's folder":  {"hostile", "x/vda", "request"},
		"domain":         {"../x", "vda", "store"},
		"domain's root":  {"..", "vda", "store"},
		"domain's files": {"hostile\nx", "vda", "store"},
	} {
		t.Run(name, func(t *testing.T) {
			state := replicator.StreamState{Time: time.Now(), Consistency: replicator.ConsistencyCrash, Source: replicator.StreamSource{UUID: id},
				DomainXML: "<domain><uuid>" + id + "</uuid><devices><disk><target dev='" + c.disk + "'/></disk></devices></domain>"}
			object, err := state.Encode()
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			enc, err := stream.NewEncoder(stream.Header{Domain: c.domain, Checkpoint: "vmsync-0a0b0c0d-1", State: object,
				Disks: []stream.Disk{{Name: c.disk, Size: mib}}}, spec.Compression{Mode: spec.ModeNone}, &b)
			if err == nil {
				err = enc.Zero(0, []stream.Extent{{Offset: 0, Length: mib}})
			}
			if err == nil {
				_, err = enc.EndDisk(0)
			}
			if err == nil {
				err = enc.End()
			}
			if err != nil {
				t.Fatal(err)
			}
			put(t, "hostile", b.Bytes())
			o := tryReceive(t, "hostile")
			if e := o.find("error"); o.code != 1 || e.Kind != c.kind {
				t.Errorf("exit code %d, %+v", o.code, e)
			}
			if after := listing(t); after != before {
				t.Errorf("files were\n%s, are\n%s", before, after)
			}
		})
	}
}

// listing is what is in and around the store on hostb.
func listing(t *testing.T) string {
	t.Helper()
	out, err := hostb.Run(t.Context(), "sh", "-c", "mkdir -p "+storeDir+" /run/vmsync/target; ls -d /* /var/* /var/lib/* "+storeDir+"/* /run/vmsync/target/* 2>&1")
	if err != nil && out == "" {
		t.Fatal(err)
	}
	return out
}
