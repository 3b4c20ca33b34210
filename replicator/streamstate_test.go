package replicator

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const definition = "<domain type='kvm'><name>vm1</name><uuid>" + vmID + "</uuid><devices>" +
	"<disk type='file' device='disk'><source file='/a'/><target dev='vda' bus='virtio'/></disk>" +
	"<disk type='file' device='disk'><source file='/b'/><target dev='vdb' bus='virtio'/></disk>" +
	"<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk></devices></domain>"

func streamState(edit ...func(*StreamState)) *StreamState {
	s := &StreamState{Time: time.Date(2026, 11, 21, 7, 3, 1, 250e6, time.UTC), Consistency: ConsistencyFilesystem, FrozenSeconds: 0.15,
		Source: StreamSource{UUID: vmID, Host: "hosta", HostID: "a"}, DomainXML: definition, LeftOut: []string{"vdc"}}
	for _, e := range edit {
		e(s)
	}
	return s
}

func TestStreamStateComesBackAsItWas(t *testing.T) {
	want := streamState()
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseStreamState(b)
	if err != nil {
		t.Fatal(err)
	}
	want.Version = streamStateVersion
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.Frozen() != 150*time.Millisecond {
		t.Errorf("frozen for %v", got.Frozen())
	}
	if !got.defines("vda") || got.defines("sda") || got.defines("vd") {
		t.Error("the definition's disks are mistaken")
	}
}

func TestStreamStateCarriesTheFirmware(t *testing.T) {
	tpm, err := PackTPM([]TPMFile{{"tpm2/tpm2-00.permall", []byte("keys")}})
	if err != nil {
		t.Fatal(err)
	}
	random := make([]byte, maxStreamPacked+4096)
	rand.NewChaCha8([32]byte{1}).Read(random)
	want := streamState()
	warnings := want.SetFirmware(bytes.Repeat([]byte{0xff}, 540672), random)
	if len(warnings) != 1 || !strings.Contains(warnings[0], "TPM") || want.TPM != nil {
		t.Errorf("warnings %q", warnings)
	}
	if warnings := want.SetFirmware(want.NVRAM, tpm); warnings != nil {
		t.Errorf("warnings %q", warnings)
	}
	b, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseStreamState(b)
	if err != nil {
		t.Fatal(err)
	}
	want.Version = streamStateFirmware
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, edit := range map[string]func(*StreamState){
		"version without":  func(s *StreamState) { s.NVRAM, s.TPM = nil, nil },
		"firmware without": func(s *StreamState) { s.Version = streamStateVersion },
		"TPM out of place": func(s *StreamState) { s.TPM = []byte("x") },
	} {
		s := *want
		edit(&s)
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseStreamState(b); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
}

func TestStreamStateThatMakesNoSenseIsRefused(t *testing.T) {
	for name, edit := range map[string]func(*StreamState){
		"no time":             func(s *StreamState) { s.Time = time.Time{} },
		"time before Unix":    func(s *StreamState) { s.Time = time.Date(1969, 1, 1, 0, 0, 0, 0, time.UTC) },
		"time of five digits": func(s *StreamState) { s.Time = time.Date(9999, 12, 31, 23, 0, 0, 0, time.FixedZone("", -2*60*60)) },
		"no consistency":      func(s *StreamState) { s.Consistency = "" },
		"other consistency":   func(s *StreamState) { s.Consistency = "perfect" },
		"frozen negative":     func(s *StreamState) { s.FrozenSeconds = -1 },
		"frozen for years":    func(s *StreamState) { s.FrozenSeconds = 1e300 },
		"no UUID":             func(s *StreamState) { s.Source.UUID = "" },
		"UUID like a name":    func(s *StreamState) { s.Source.UUID = "vm2" },
		"UUID of other form":  func(s *StreamState) { s.Source.UUID = "{" + vmID + "}" },
		"UUID of another":     func(s *StreamState) { s.Source.UUID = strings.Replace(vmID, "5", "6", 1) },
		"no definition":       func(s *StreamState) { s.DomainXML = "" },
		"no XML":              func(s *StreamState) { s.DomainXML = "<domain" },
		"other XML":           func(s *StreamState) { s.DomainXML = "<pool/>" },
		"document type":       func(s *StreamState) { s.DomainXML = "<!DOCTYPE domain>" + definition },
		"host for a terminal": func(s *StreamState) { s.Source.Host = "a\x1b[2J" },
		"long host":           func(s *StreamState) { s.Source.HostID = strings.Repeat("a", maxStreamName+1) },
		"disk with a newline": func(s *StreamState) { s.LeftOut = []string{"vda\n"} },
	} {
		s := streamState(edit)
		if _, err := s.Encode(); err == nil {
			t.Errorf("%s: is written", name)
		}
		s.Version = streamStateVersion
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseStreamState(b); err == nil {
			t.Errorf("%s: is read", name)
		}
	}
	good, err := streamState().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{
		"other version": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":3,"new":0`), 1),
		"no version":    bytes.Replace(good, []byte(`"version":1,`), nil, 1),
		"unknown field": bytes.Replace(good, []byte(`"version":1`), []byte(`"version":1,"new":0`), 1),
		"two values":    append(bytes.Clone(good), "{}"...),
		"null":          []byte("null"),
		"empty":         nil,
	} {
		_, err := ParseStreamState(b)
		if err == nil {
			t.Errorf("%s: is read", name)
		}
		if name == "other version" && !strings.Contains(err.Error(), "version 3;") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDocumentedStateIsRead reads the example of docs/STREAM.md.
func TestDocumentedStateIsRead(t *testing.T) {
	doc, err := os.ReadFile("../docs/STREAM.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(doc), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	var h struct {
		State json.RawMessage `json:"state"`
	}
	if err := json.Unmarshal([]byte(example), &h); err != nil || !ok {
		t.Fatal(err)
	}
	s, err := ParseStreamState(h.State)
	if err != nil || s.Source.Host != "hosta" || s.Frozen() != 150*time.Millisecond {
		t.Errorf("%+v, %v", s, err)
	}
}

// FuzzStreamState reads anything as a state. What is read makes sense, and is read
// the same again when it is written.
func FuzzStreamState(f *testing.F) {
	good, err := streamState().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good))
	f.Add(bytes.Replace(good, []byte("2026-11-21T07:03:01.25Z"), []byte("9999-12-31T23:59:59.999999999+23:59"), 1))
	f.Add(bytes.Replace(good, []byte("2026-11-21T07:03:01.25Z"), []byte("9999-12-31T23:59:59-23:59"), 1))
	f.Add(bytes.Replace(good, []byte("0.15"), []byte("86400"), 1))
	f.Add(bytes.Replace(good, []byte("hosta"), []byte(`\ud800`), 1))
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"source":null,"left_out":[null]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseStreamState(b)
		if err != nil {
			return
		}
		if _, err := s.Time.UTC().MarshalJSON(); s.Frozen() < 0 || err != nil {
			t.Fatalf("%+v, %v", s, err)
		}
		again, err := s.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseStreamState(again)
		if err != nil {
			t.Fatal(err)
		}
		if !got.Time.Equal(s.Time) {
			t.Fatalf("%v became %v", s.Time, got.Time)
		}
		got.Time = s.Time
		if len(s.LeftOut) == 0 {
			s.LeftOut = nil
		}
		if diff := cmp.Diff(s, got); diff != "" {
			t.Fatal(diff)
		}
	})
}
