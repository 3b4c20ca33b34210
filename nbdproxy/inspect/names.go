package inspect

import (
	"fmt"
	"strconv"
	"strings"

	"vmsync/nbdproxy/stream"
)

// codecs are the names of the codecs, in the order in which they are listed.
var codecs = []struct {
	codec stream.Codec
	name  string
}{{stream.CodecNone, "none"}, {stream.CodecS2, "s2"}, {stream.CodecZstd, "zstd"}}

func codecName(c stream.Codec) string {
	for _, k := range codecs {
		if k.codec == c {
			return k.name
		}
	}
	return fmt.Sprintf("codec %d", c)
}

// plain is a name as it can be shown: one that could be mistaken for something else,
// or that a terminal would obey, is quoted.
func plain(name string) string {
	odd := func(c rune) bool { return c <= ' ' || c > '~' || c == '"' || c == '\\' || c == ',' }
	if name == "" || strings.ContainsFunc(name, odd) {
		return strconv.QuoteToASCII(name)
	}
	return name
}

func digest(sum stream.DiskSum) string { return fmt.Sprintf("%016x", sum.Digest) }

// percent is how much a part is of the whole.
func percent(part, whole int64) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(part)/float64(whole))
}

// span is the first and the last byte that extents cover.
func span(extents []stream.Extent) (first, last int64) {
	return extents[0].Offset, extents[len(extents)-1].End() - 1
}
