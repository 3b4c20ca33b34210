package stream

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"vmsync/nbdproxy/spec"
)

func TestHeaderIsReadAndNotAByteMore(t *testing.T) {
	want := testHeader()
	want.State = json.RawMessage(`{"any":["thing",1]}`)
	raw, _, err := want.marshal()
	if err != nil {
		t.Fatal(err)
	}
	r := strings.NewReader(string(raw) + "the first frame")
	got, as, err := ReadHeader(iotest.OneByteReader(r))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&want, got); diff != "" {
		t.Error(diff)
	}
	if rest, _ := io.ReadAll(r); !bytes.Equal(as, raw) || string(rest) != "the first frame" {
		t.Errorf("came as %d bytes of %d, left %q", len(as), len(raw), rest)
	}
	// What was taken out can be put back: the stream is as it was.
	var b bytes.Buffer
	e, err := NewEncoder(Header{Domain: "d", Checkpoint: "c", Disks: []Disk{{Name: "vda", Size: 1}}, State: want.State}, spec.Compression{Mode: spec.ModeNone}, &b)
	if err == nil {
		err = errors.Join(e.Zero(0, []Extent{{0, 1}}), func() error { _, err := e.EndDisk(0); return err }(), e.End())
	}
	if err != nil {
		t.Fatal(err)
	}
	_, as, err = ReadHeader(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := decode(io.MultiReader(bytes.NewReader(as), &b)); err != nil {
		t.Error(err)
	}
}

func TestHeaderCutAtEveryByteIsTruncated(t *testing.T) {
	h := testHeader()
	raw, _, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range raw {
		if _, _, err := ReadHeader(bytes.NewReader(raw[:n])); !errors.Is(err, ErrTruncated) {
			t.Fatalf("%d of %d bytes: error %v", n, len(raw), err)
		}
	}
}

func TestHeaderWithAFlippedBitIsInvalid(t *testing.T) {
	h := testHeader()
	raw, _, err := h.marshal()
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		b := slices.Clone(raw)
		b[i] ^= 1 << (i % 8)
		_, _, err := ReadHeader(bytes.NewReader(b))
		// A length that has grown reaches beyond the end.
		if lengthened := i >= 12 && i < 16 && errors.Is(err, ErrTruncated); !errors.Is(err, ErrInvalid) && !lengthened {
			t.Fatalf("byte %d: error %v", i, err)
		}
	}
}

func TestHeaderTooLongIsNotWritten(t *testing.T) {
	h := testHeader()
	h.State = json.RawMessage(`{"x":"` + strings.Repeat("x", MaxHeader) + `"}`)
	if _, err := NewEncoder(h, spec.Compression{Mode: spec.ModeNone}, io.Discard); err == nil {
		t.Error("written")
	}
	h.State = json.RawMessage(`{"x":`)
	if _, err := NewEncoder(h, spec.Compression{Mode: spec.ModeNone}, io.Discard); err == nil {
		t.Error("a state that is no JSON is written")
	}
}

// FuzzHeader reads anything as a header: as it is, and as a document with the right
// length and checksum, so that the fuzzer gets behind these.
func FuzzHeader(f *testing.F) {
	h := testHeader()
	raw, _, err := h.marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[prefaceSize:])
	for _, doc := range []string{
		"", "{", "null", "[]", `{"domain":"d"}`,
		`{"domain":"d","checkpoint":"c","disks":[{"name":"vda","size":512}],"state":{"version":1,"domain_xml":"<domain/>"}}`,
		`{"domain":"d","checkpoint":"c","disks":[{"name":"vda","size":512}],"state":null}`,
		`{"domain":"\ud800","checkpoint":"c","parent":"p","disks":[{"name":"vda","size":1e3,"incremental":true}]} `,
		`{"DOMAIN":"d","domain":"e","checkpoint":"c","disks":[{"name":"vda","size":-1}]}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		readAnyHeader(t, in)
		sealed, _ := seal(Version, uint32(len(in)), string(in))
		readAnyHeader(t, sealed)
	})
}

// readAnyHeader checks what must hold whatever is read.
func readAnyHeader(t *testing.T, in []byte) {
	t.Helper()
	r := bytes.NewReader(in)
	h, raw, err := ReadHeader(r)
	if err != nil {
		refused(t, err)
		return
	}
	if !bytes.Equal(raw, in[:len(in)-r.Len()]) {
		t.Fatal("the header's bytes are not those that were read")
	}
	again, _, err := h.marshal()
	if err != nil {
		// Escapes may make it longer than is allowed, and nothing else can be wrong.
		if err := h.Validate(); err != nil {
			t.Fatal(err)
		}
		return
	}
	g, _, err := ReadHeader(bytes.NewReader(again))
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	if h.State != nil && (json.Unmarshal(h.State, &a) != nil || json.Unmarshal(g.State, &b) != nil) {
		t.Fatal("a state that is no JSON was read")
	}
	h.State, g.State = nil, nil
	if !cmp.Equal(a, b) || !cmp.Equal(h, g) {
		t.Fatalf("read %+v, wrote it, read %+v", h, g)
	}
}
