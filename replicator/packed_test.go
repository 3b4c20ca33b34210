package replicator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestPackedSurvivesAHop(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(random)
	for name, want := range map[string]Packed{"none": nil, "little": []byte("x"), "a variable store": bytes.Repeat([]byte{0xff}, MaxNVRAM), "random": random} {
		t.Run(name, func(t *testing.T) {
			type message struct {
				F Packed `json:"f,omitempty"`
			}
			text, err := json.Marshal(message{want})
			if err != nil {
				t.Fatal(err)
			}
			var got message
			if err := json.Unmarshal(text, &got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.F, want) {
				t.Errorf("%d bytes came back of %d", len(got.F), len(want))
			}
			if len(want) == MaxNVRAM && len(text) > 64<<10 {
				t.Errorf("an empty store takes %d bytes", len(text))
			}
			if err := want.Portable(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPackedIsBounded(t *testing.T) {
	huge := make(Packed, maxPacked+1<<20)
	rand.NewChaCha8([32]byte{2}).Read(huge)
	if huge.Portable() == nil {
		t.Error("too much is portable")
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	bomb := enc.EncodeAll(make([]byte, MaxNVRAM+1), nil)
	for name, text := range map[string]string{
		"bomb":       `"` + base64.StdEncoding.EncodeToString(bomb) + `"`,
		"no frame":   `"eHl6"`,
		"no base64":  `"***"`,
		"no string":  `{}`,
		"many bytes": `"` + base64.StdEncoding.EncodeToString(make([]byte, maxPacked+1)) + `"`,
	} {
		var p Packed
		if err := json.Unmarshal([]byte(text), &p); err == nil || p != nil {
			t.Errorf("%s: %d bytes, %v", name, len(p), err)
		}
	}
}
