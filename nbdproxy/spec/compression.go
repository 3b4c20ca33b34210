package spec

import (
	"fmt"
	"strconv"
	"strings"
)

// Mode is a way to compress.
type Mode string

// Modes. Each leaves payloads that do not shrink as they are.
const (
	ModeAuto Mode = "auto" // as hard as makes the stream fastest
	ModeNone Mode = "none"
	ModeS2   Mode = "s2"
	ModeZstd Mode = "zstd"
)

// Levels of zstd, as its command line tool counts them. The encoder knows four
// degrees; each level stands for the nearest.
const (
	minLevel     = 1
	maxLevel     = 22
	defaultLevel = 3
)

// Compression is the sender's wish for compression. The zero value is [ModeAuto].
type Compression struct {
	Mode  Mode
	Level int // of ModeZstd, 1 to 22
}

// ParseCompression reads "auto", "none", "s2", "zstd" or "zstd:LEVEL"; the empty
// string is "auto".
func ParseCompression(s string) (Compression, error) {
	switch m := Mode(s); m {
	case "":
		return Compression{Mode: ModeAuto}, nil
	case ModeAuto, ModeNone, ModeS2:
		return Compression{Mode: m}, nil
	case ModeZstd:
		return Compression{Mode: m, Level: defaultLevel}, nil
	}
	if level, ok := strings.CutPrefix(s, "zstd:"); ok {
		if n, err := strconv.Atoi(level); err == nil && n >= minLevel && n <= maxLevel {
			return Compression{Mode: ModeZstd, Level: n}, nil
		}
		return Compression{}, fmt.Errorf("unknown zstd level %q: use %d to %d", level, minLevel, maxLevel)
	}
	return Compression{}, fmt.Errorf("unknown compression %q: use auto, none, s2, zstd or zstd:LEVEL", s)
}
