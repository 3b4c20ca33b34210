package stream

import "github.com/klauspost/compress"

// A payload is judged by a few samples spread over it, so that one that begins
// with a file's compressible header is not mistaken.
const (
	samples    = 4
	sampleSize = 16 << 10
)

// looksCompressible is a cheap guess whether compression can save a twentieth. It
// errs on the side of trying.
func looksCompressible(p []byte) bool {
	if len(p) <= samples*sampleSize {
		return true
	}
	step := (len(p) - sampleSize) / (samples - 1)
	for i := range samples {
		// Random bytes score up to 0.04 at this length; 0.1 is "likely compressible".
		if compress.Estimate(p[i*step:][:sampleSize]) > 0.06 {
			return true
		}
	}
	return false
}
