package stream

import (
	"os"
	"strings"
	"testing"

	"github.com/zeebo/xxh3"

	"vmsync/nbdproxy/spec"
)

func TestDocumentsHeaderIsAccepted(t *testing.T) {
	doc, err := os.ReadFile("../../docs/STREAM.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, ok := strings.Cut(string(doc), "```json\n")
	example, _, _ = strings.Cut(example, "```")
	h, err := parseHeader([]byte(example))
	if !ok || err != nil || len(h.Disks) != 2 || h.State == nil {
		t.Fatalf("header %+v, error %v", h, err)
	}
}

// TestFormatIsUnchanged fails when the bytes of version 2 change, which needs
// another version.
func TestFormatIsUnchanged(t *testing.T) {
	b := testStream(t, spec.ModeNone)
	if n, h := len(b), xxh3.Hash(b); n != 1836 || h != 0x3c9bf65ae0fe9df1 {
		t.Errorf("%d bytes with hash %#x", n, h)
	}
}
