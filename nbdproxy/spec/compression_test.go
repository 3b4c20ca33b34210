package spec

import "testing"

func TestParseCompression(t *testing.T) {
	for in, want := range map[string]Compression{
		"": {Mode: ModeAuto}, "auto": {Mode: ModeAuto}, "none": {Mode: ModeNone}, "s2": {Mode: ModeS2},
		"zstd": {ModeZstd, 3}, "zstd:1": {ModeZstd, 1}, "zstd:22": {ModeZstd, 22},
	} {
		if got, err := ParseCompression(in); err != nil || got != want {
			t.Errorf("%q: got %+v, error %v", in, got, err)
		}
	}
	for _, in := range []string{"gzip", "zstd:", "zstd:0", "zstd:23", "zstd:x", "s2:1", "AUTO", "zstd:-1"} {
		if got, err := ParseCompression(in); err == nil {
			t.Errorf("%q: got %+v", in, got)
		}
	}
}
