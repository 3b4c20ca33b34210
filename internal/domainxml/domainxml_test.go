package domainxml

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func load(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func parse(t *testing.T, s string) *Document {
	t.Helper()
	d, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func write(t *testing.T, d *Document) string {
	t.Helper()
	s, err := d.String()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// tokens returns everything a parser sees, in order.
func tokens(t *testing.T, s string) []string {
	t.Helper()
	var all []string
	dec := xml.NewDecoder(strings.NewReader(s))
	for {
		tok, err := dec.RawToken()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%T %q", tok, fmt.Sprintf("%s", tok)))
	}
}

func TestUntouchedDocumentIsUnchanged(t *testing.T) {
	for _, name := range []string{"full.xml", "libvirt.xml"} {
		in := load(t, name)
		out := write(t, parse(t, in))
		if diff := cmp.Diff(tokens(t, in), tokens(t, out)); diff != "" {
			t.Errorf("%s changed:\n%s", name, diff)
		}
	}
}

func TestUntouchedDocumentKeepsItsBytes(t *testing.T) {
	in := load(t, "full.xml") // written with the quotes that String uses
	if diff := cmp.Diff(in, write(t, parse(t, in))); diff != "" {
		t.Error(diff)
	}
}

func TestReplicaEditsChangeNothingElse(t *testing.T) {
	d := parse(t, load(t, "full.xml"))
	d.SetName("web-replica")
	d.SetUUID("00000000-2222-3333-4444-555555555555")
	for name, path := range map[string]string{"vda": "/srv/r/vda <1>.qcow2", "vdaa": "/srv/r/vdaa.qcow2"} {
		if err := d.UseImage(name, path); err != nil {
			t.Fatal(err)
		}
	}
	d.RemoveDisk("sdb")
	d.RemoveDisk("no such disk")
	if err := d.Eject("sdc"); err != nil {
		t.Fatal(err)
	}
	old, ok := d.SetNVRAM("/srv/r/nvram.fd")
	if !ok || old != "/var/lib/libvirt/qemu/nvram/web_VARS.fd" || d.NVRAM() != "/srv/r/nvram.fd" {
		t.Errorf("NVRAM: old %q, now %q", old, d.NVRAM())
	}
	d.SetMark(Mark{Role: "replica", Pair: "0a1b2c3d", Store: "/srv/r", SourceHost: "hosta", Checkpoint: "vmsync-0a1b2c3d-7", Time: time.Date(2026, 11, 21, 7, 3, 1, 5, time.FixedZone("", 3600))})

	got := write(t, d)
	if *update {
		if err := os.WriteFile("testdata/full.replica.xml", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(load(t, "full.replica.xml"), got); diff != "" {
		t.Error(diff)
	}
}

func TestMarkIsReadBackAndReplaced(t *testing.T) {
	for _, in := range []string{
		load(t, "full.xml"),
		"<domain><name>x</name></domain>",
		"<domain>\n  <name>x</name>\n  <os/>\n</domain>",
		"<domain><metadata/></domain>",
		"<domain><metadata>\n  <replica xmlns='" + MarkNamespace + "' role='old'/><!-- c --></metadata></domain>",
	} {
		d := parse(t, in)
		want := Mark{Role: "replica", Pair: "0a1b2c3d", Store: "/a b/'c'", SourceHost: "h<1>", Checkpoint: "vmsync-0a1b2c3d-1", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
		d.SetMark(Mark{Role: "replica"})
		d.SetMark(want)
		d = parse(t, write(t, d))
		got, ok := d.Mark()
		if !ok || got != want {
			t.Errorf("%q: got %+v %v", in, got, ok)
		}
		d.RemoveMark()
		if _, ok := d.Mark(); ok {
			t.Errorf("%q: there was a second mark", in)
		}
	}
}

func TestRemovedMarkLeavesTheOriginal(t *testing.T) {
	for _, in := range []string{load(t, "full.xml"), "<domain>\n  <name>x</name>\n  <os></os>\n</domain>"} {
		d := parse(t, in)
		d.SetMark(Mark{Role: "replica"})
		d.RemoveMark()
		if diff := cmp.Diff(tokens(t, in), tokens(t, write(t, d))); diff != "" {
			t.Error(diff)
		}
	}
}

func TestDisksAreRead(t *testing.T) {
	want := []Disk{
		{Name: "vda", Bus: "virtio", Device: "disk", Type: "file", Format: "qcow2", Path: "/var/lib/libvirt/images/web disk's.qcow2", Serial: "SER & 1", HasSource: true, Encrypted: true},
		{Name: "vdaa", Bus: "virtio", Device: "disk", Type: "network", Format: "raw", HasSource: true},
		{Name: "sdb", Bus: "scsi", Device: "disk", Type: "block", Path: "/dev/vg/data", HasSource: true, ReadOnly: true},
		{Name: "sdc", Bus: "sata", Device: "cdrom", Type: "volume", Format: "raw", HasSource: true, ReadOnly: true},
		{Name: "fda", Bus: "fdc", Device: "floppy", Type: "file"},
	}
	if diff := cmp.Diff(want, parse(t, load(t, "full.xml")).Disks()); diff != "" {
		t.Error(diff)
	}
}

func TestUUIDIsReplacedRemovedAndAdded(t *testing.T) {
	d := parse(t, load(t, "full.xml"))
	d.SetUUID("")
	if out := write(t, d); d.UUID() != "" || strings.Contains(out, "11111111") || strings.Contains(out, `name="uuid"`) {
		t.Errorf("the UUID is still there:\n%s", out)
	}
	d.SetUUID("22222222-2222-3333-4444-555555555555")
	if out := write(t, d); !strings.Contains(out, "</name>\n  <uuid>22222222-2222-3333-4444-555555555555</uuid>\n  <genid>") {
		t.Errorf("the UUID was not added in its place:\n%s", out)
	}
}

func TestNVRAMWithASourceElement(t *testing.T) {
	d := parse(t, "<domain><os><nvram type='block' template='t'><source dev='/dev/x'/></nvram></os></domain>")
	if old, ok := d.SetNVRAM("/n"); !ok || old != "" {
		t.Errorf("old %q %v", old, ok)
	}
	if got, want := write(t, d), `<domain><os><nvram type="file" template="t"><source file="/n"/></nvram></os></domain>`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if _, ok := parse(t, "<domain><os/></domain>").SetNVRAM("/n"); ok {
		t.Error("an NVRAM was invented")
	}
}

func TestFixedDiskIsNotEjected(t *testing.T) {
	d := parse(t, load(t, "full.xml"))
	if err := d.Eject("vda"); err == nil {
		t.Error("vda was ejected")
	}
	if err := d.Eject("vdz"); err == nil {
		t.Error("a missing disk was ejected")
	}
	if err := d.UseImage("vdz", "/x"); err == nil {
		t.Error("a missing disk got an image")
	}
}

func TestHostileXMLIsRefused(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         "",
		"cut":           "<domain><name>x</name>",
		"other root":    "<network/>",
		"prefixed root": "<a:domain xmlns:a='b'/>",
		"entities":      "<!DOCTYPE domain [<!ENTITY a 'b'>]><domain><name>&a;</name></domain>",
		"document type": "<!DOCTYPE domain SYSTEM 'x'><domain/>",
		"huge":          "<domain>" + strings.Repeat(" ", MaxSize) + "</domain>",
		"two roots":     "<domain/><domain/>",
	} {
		if _, err := Parse(in); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func FuzzEditsDoNotPanic(f *testing.F) {
	f.Add("<domain><os><nvram/></os><devices><disk><target dev='vda'/></disk></devices><metadata/></domain>")
	f.Fuzz(func(t *testing.T, in string) {
		d, err := Parse(in)
		if err != nil {
			return
		}
		for _, disk := range d.Disks() {
			_ = d.UseImage(disk.Name, "/x")
		}
		d.SetName("n")
		d.SetUUID("u")
		d.SetNVRAM("/n")
		d.SetMark(Mark{})
		out, err := d.String()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(out); err != nil {
			t.Fatalf("the result cannot be read: %v\n%s", err, out)
		}
	})
}
