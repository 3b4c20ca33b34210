package e2e

import (
	"path"
	"slices"
	"strings"
	"testing"

	"vmsync/tests/lab"
)

func TestStreamsByCourierThenASync(t *testing.T) {
	m := machine(t, qcow2("vda", 256*mib), qcow2("vdb", 64*mib+512))
	dirty(t, m, "vda", 0, 32*mib, 0x5a)
	dirty(t, m, "vdb", 64*mib, 512, 0x5b)
	s := send(t, m, "1")
	if s.Kind != "full" || s.data() != 32*mib+64*kib && s.data() != 32*mib+512 {
		t.Errorf("%+v", s)
	}
	carry(t, "1")
	r := receive(t, "1")
	if r.Kind != "full" || r.Checkpoint != s.Checkpoint || r.SentBytes != s.SentBytes || r.ChangedBytes != s.ChangedBytes {
		t.Errorf("sent %+v, received %+v", s, r)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
	noLitter(t, m)
	if st := head(t, m.Name()); !strings.HasPrefix(s.Checkpoint, "vmsync-"+manifest(t, m.Name()).Pair) || st.Checkpoint != s.Checkpoint || st.Consistency != s.Consistency {
		t.Errorf("sent %+v, holds %+v", s, st)
	}
	if src := manifest(t, m.Name()).Source; src.Domain != m.Name() || src.UUID != uuidOf(t, m) || src.Host != "hosta" {
		t.Errorf("source %+v", src)
	}

	// Data, zeros and discards; nothing; then data over zeros. All are sent before any
	// is received.
	first := s.Checkpoint
	dirty(t, m, "vda", 0, 8*mib, lab.Zero)
	dirty(t, m, "vda", 8*mib, 8*mib, lab.Discard)
	dirty(t, m, "vda", 100*mib, mib, 0x01)
	s = send(t, m, "2", "--since", first)
	if s.Kind != "incremental" || s.ChangedBytes != 17*mib || s.ZeroBytes != 16*mib {
		t.Errorf("%+v", s)
	}
	second := s.Checkpoint
	if got := checkpoints(t, m); !slices.Equal(got, []string{first, second}) {
		t.Errorf("checkpoints %v, want %s and %s", got, first, second)
	}
	s = send(t, m, "3", "--since", second)
	if s.ChangedBytes != 0 {
		t.Errorf("%+v", s)
	}
	third := s.Checkpoint
	// Who has the second needs the first no more.
	if got := checkpoints(t, m); !slices.Equal(got, []string{second, third}) {
		t.Errorf("checkpoints %v, want %s and %s", got, second, third)
	}
	dirty(t, m, "vda", 4*mib, 8*mib, 0x02)
	s = send(t, m, "4", "--since", third)
	now := copyOf(t, m, "vda")
	dirty(t, m, "vda", 200*mib, 3*mib, 0x03) // which no stream has
	for i, file := range []string{"2", "3", "4"} {
		carry(t, file)
		if r := receive(t, file); r.Kind != "incremental" || i == 2 && r.Checkpoint != s.Checkpoint {
			t.Errorf("%+v", r)
		}
		onlyPlainImages(t, m.Name())
	}
	identical(t, "raw", now, topImage(t, m.Name(), "vda"))
	noLitter(t, m)

	// And now over the network, from where the courier left off.
	y := sync(t, m.Name())
	if y.Kind != "incremental" || y.ChangedBytes != 3*mib {
		t.Errorf("%+v", y)
	}
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
	nothingLeft(t, m)

	// Back to the courier.
	dirty(t, m, "vdb", 0, mib, 0x04)
	send(t, m, "5", "--since", head(t, m.Name()).Checkpoint)
	carry(t, "5")
	if r := receive(t, "5"); r.Kind != "incremental" || r.ChangedBytes != mib {
		t.Errorf("%+v", r)
	}
	sameAsSource(t, m, "vda", "vdb")
}

func TestReceivedReplicaOfALiveGuestBoots(t *testing.T) {
	m := guest(t, qcow2("vda", 128*mib))
	inGuest(t, m, "sh", "-c", "echo one > /mnt/vda/one && sync")
	s := send(t, m, "1")
	if s.Consistency != "filesystem" || s.Frozen <= 0 {
		t.Errorf("%+v", s)
	}
	thawed(t, m)
	inGuest(t, m, "sh", "-c", "echo two > /mnt/vda/two && sync")
	send(t, m, "2", "--since", s.Checkpoint)
	carry(t, "1")
	carry(t, "2")
	receive(t, "1")
	if r := receive(t, "2"); r.Consistency != "filesystem" || r.Frozen <= 0 {
		t.Errorf("%+v", r)
	}
	replica := hostb.Machine(m.Name())
	if err := replica.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := replica.WaitAgent(t.Context()); err != nil {
		t.Fatal(err)
	}
	if files := inGuest(t, replica, "sh", "-c", "cat /mnt/vda/one /mnt/vda/two"); files != "one\ntwo\n" {
		t.Errorf("%q", files)
	}
	// A replica that runs, or ran, is not overwritten by a stream either.
	thawed(t, m)
	send(t, m, "3", "--since", head(t, m.Name()).Checkpoint)
	carry(t, "3")
	failed(t, tryReceive(t, "3"), 1, "replica-active", m.Name(), "")
	inGuest(t, replica, "sh", "-c", "echo precious > /mnt/vda/precious; sync")
	if err := replica.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed(t, tryReceive(t, "3"), 1, "replica-used", m.Name(), "vda")
	noLitter(t, m)
}

func TestOnePipeBetweenTwoHosts(t *testing.T) {
	m := busyMachine(t)
	pipe := func(args string) outcome {
		return startScript(t, hosta, "set -o pipefail; vmsync send "+m.Name()+" "+args+" 2>/dev/null | ssh root@hostb vmsync receive --json").wait()
	}
	s := succeeded(t, pipe(""))
	if s.Kind != "full" || s.Checkpoint == "" {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	dirty(t, m, "vda", 0, mib, 7)
	if s = succeeded(t, pipe("--since "+s.Checkpoint)); s.Kind != "incremental" || s.ChangedBytes != mib {
		t.Errorf("%+v", s)
	}
	sameAsSource(t, m, "vda", "vdb")
	noLitter(t, m)

	// The pipe breaks in its middle: neither side is left with anything.
	before, was := checkpoints(t, m), head(t, m.Name()).ID
	randomData(t, m, "vda", 100*mib, 24*mib)
	slowly(t)
	images := stored(t, m)
	r := startScript(t, hosta, "vmsync send "+m.Name()+" --since "+s.Checkpoint+" 2>/dev/null | ssh root@hostb vmsync receive --json")
	eventually(t, "two megabytes have arrived", func() bool { return stored(t, m) > images+2*mib })
	killAll(t, hosta, "ssh root@hostb")
	r.wait()
	setLink(t, hosta, lab.Link{})
	eventually(t, "the checkpoint is gone", func() bool { return slices.Equal(checkpoints(t, m), before) })
	noLitter(t, m)
	if got := head(t, m.Name()).ID; got != was {
		t.Errorf("head went from %s to %s", was, got)
	}
	succeeded(t, pipe("--since "+s.Checkpoint))
	sameAsSource(t, m, "vda", "vdb")
	onlyPlainImages(t, m.Name())
}

func TestSendAndReceiveFromAThirdMachine(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib))
	withStreams(t, op_)
	file := path.Join(streams, "1")
	dirty(t, m, "vda", 0, 4*mib, 1)
	o := startScript(t, op_, "vmsync send "+m.Name()+" --json --source-uri "+uriA+" 2>&1 >"+file).wait()
	if o.code != 0 || o.find("summary").Kind != "full" {
		t.Fatalf("%d, %s, %+v", o.code, o.stderr, o.events)
	}
	r := startScript(t, op_, "vmsync receive --json --target-uri "+uriB+" <"+file).wait()
	s := succeeded(t, r)
	if s.Checkpoint != o.find("summary").Checkpoint {
		t.Errorf("%+v", s)
	}
	for _, end := range []struct {
		ran  outcome
		host *lab.Host
		did  string
	}{{o, hosta, "backup begun"}, {r, hostb, "state stored"}} {
		run := end.ran.find("run")
		if len(run.Run) != 12 || run.Domain != m.Name() || end.ran.find("summary").Run != run.Run || !strings.Contains(on(t, end.host, "journalctl", "--no-pager", "RUN="+run.Run), end.did) {
			t.Errorf("the run on %s: %+v", end.host.Name(), run)
		}
	}
	sameAsSource(t, m, "vda")
	noLitter(t, m)
	if s := sync(t, m.Name()); s.Kind != "incremental" || s.ChangedBytes != 0 {
		t.Errorf("%+v", s)
	}
}

func TestLostBitmapMeansAFullStreamForTheSameReplica(t *testing.T) {
	m := machine(t, qcow2("vda", 128*mib))
	dirty(t, m, "vda", 0, 8*mib, 1)
	first := send(t, m, "1").Checkpoint
	carry(t, "1")
	receive(t, "1")
	if err := m.Destroy(t.Context()); err != nil {
		t.Fatal(err)
	}
	image, err := m.DiskPath(t.Context(), "vda")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hosta.Run(t.Context(), "qemu-img", "bitmap", "--remove", image, first); err != nil {
		t.Fatal(err)
	}
	if err := m.StartPaused(t.Context()); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vda", 0, 4*mib, lab.Zero)
	o := trySend(t, m, "2", "--since", first)
	if s := o.find("summary"); o.code != 0 || s.Kind != "full" || !strings.Contains(o.messages("warning"), first) {
		t.Fatalf("%d, %+v, %q", o.code, s, o.messages("warning"))
	}
	carry(t, "2")
	if r := receive(t, "2"); r.Kind != "full" {
		t.Errorf("%+v", r)
	}
	sameAsSource(t, m, "vda")
	onlyPlainImages(t, m.Name())
	noLitter(t, m)
	if s := sync(t, m.Name()); s.Kind != "incremental" {
		t.Errorf("%+v", s)
	}
	nothingLeft(t, m)
}

func TestResizedDiskIsSentInFull(t *testing.T) {
	m := machine(t, qcow2("vda", 64*mib), qcow2("vdb", 64*mib))
	dirty(t, m, "vda", 0, 4*mib, 1)
	first := send(t, m, "1").Checkpoint
	carry(t, "1")
	receive(t, "1")
	if _, err := hosta.Run(t.Context(), "virsh", "blockresize", m.Name(), "vda", "96M"); err != nil {
		t.Fatal(err)
	}
	dirty(t, m, "vda", 80*mib, mib, 2)
	send(t, m, "2", "--since", first)
	carry(t, "2")
	e := failed(t, tryReceive(t, "2"), 1, "parent-missing", m.Name(), "vda")
	_, advice, ok := strings.Cut(e.Hint, "vmsync send "+m.Name()+" ")
	if !ok {
		t.Fatalf("%+v", e)
	}
	if s := send(t, m, "3", strings.Fields(advice)...); s.Kind != "full" {
		t.Errorf("%+v", s)
	}
	carry(t, "3")
	receive(t, "3")
	sameAsSource(t, m, "vda", "vdb")
	noLitter(t, m)
}
