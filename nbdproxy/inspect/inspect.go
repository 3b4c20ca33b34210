// Package inspect reads a stream for people and programs that want to know what is
// in it, or whether it is sound, and not to apply it.
//
// Whatever is wrong with a stream it tells with the frame and the byte where that
// is. It trusts nothing in a stream, takes memory only within the format's limits,
// and must never write anything but what it found.
package inspect

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"runtime"

	"vmsync/nbdproxy/stream"
)

// Frame is a frame and where it stands.
type Frame struct {
	Number  int64 // the first frame is 1
	Offset  int64 // bytes of the stream before it
	Kind    Kind
	Disk    string // empty for the end mark
	Stat    stream.Stat
	Extents []stream.Extent // valid during the visit only
}

// Kind names what a frame is.
type Kind string

// Kinds of frames.
const (
	KindData    Kind = "data"
	KindZero    Kind = "zero"
	KindDiskEnd Kind = "disk-end"
	KindEnd     Kind = "end"
)

// Visitor is shown what is in a stream, in its order, by one goroutine. Frames are
// verified after the visit. An error of a visitor ends the scan and is returned as
// it is.
type Visitor interface {
	Header(h *stream.Header, size int64) error // size in bytes, preface included
	Frame(f *Frame) error
}

// Disk sums up one disk of a stream.
type Disk struct {
	stream.Disk
	Sum        stream.DiskSum
	Stored     int64                  // bytes that the payloads of its data frames take
	DataFrames map[stream.Codec]int64 // by codec
	ZeroFrames int64
}

// Report is what a scan found.
type Report struct {
	Header *stream.Header // nil if it could not be read
	Size   int64          // bytes of the stream up to the end of its last frame
	Frames int64          // those that were read, ends included
	Disks  []Disk
}

// Scan reads a stream to its end and verifies everything in it, with as many
// goroutines as there are processors; all of them have ended when it returns. visit
// may be nil. What is wrong with the stream is an [*Error], and of several things
// the one that comes first; the report then covers what was read.
func Scan(r io.Reader, visit Visitor) (*Report, error) {
	in := &counter{r: r}
	s := &scan{visit: visit, report: &Report{}}
	h, raw, err := stream.ReadHeader(in)
	if err != nil {
		return s.report, &Error{End: in.n, Err: err}
	}
	s.begin(h, int64(len(raw)))
	if visit != nil {
		if err := visit.Header(h, s.report.Size); err != nil {
			return s.report, err
		}
	}
	dec, err := stream.NewDecoder(io.MultiReader(bytes.NewReader(raw), in))
	if err != nil {
		return s.report, err
	}
	defer dec.Close()
	v := startVerifiers(runtime.GOMAXPROCS(0))
	err = s.read(dec, in, v)
	// A frame that was read before what ended the reading comes first.
	if bad := v.stop(); bad != nil {
		return s.report, bad
	}
	if err == nil {
		_, err = dec.Result()
	}
	return s.report, err
}

// scan is one scan on its way.
type scan struct {
	visit  Visitor
	report *Report
}

func (s *scan) begin(h *stream.Header, size int64) {
	s.report.Header, s.report.Size = h, size
	for _, d := range h.Disks {
		s.report.Disks = append(s.report.Disks, Disk{Disk: d, DataFrames: map[stream.Codec]int64{}})
	}
}

// read reads all frames and hands them to v.
func (s *scan) read(dec *stream.Decoder, in *counter, v *verifiers) error {
	for {
		f := v.free()
		if f == nil {
			return nil // one of the frames is bad
		}
		place := Error{Frame: s.report.Frames + 1, Offset: s.report.Size}
		err := dec.Lanes()[0].Next(f)
		if err != nil && err != io.EOF {
			place.End, place.Err = in.n, err
			return &place
		}
		info := s.note(f, err == io.EOF)
		if s.visit != nil {
			if err := s.visit.Frame(info); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		v.verify(f, place)
	}
}

// note counts a frame.
func (s *scan) note(f *stream.Frame, end bool) *Frame {
	stat := f.Stat()
	info := &Frame{Number: s.report.Frames + 1, Offset: s.report.Size, Kind: KindEnd, Stat: stat, Extents: f.Extents}
	s.report.Frames++
	s.report.Size += stat.Size
	if end {
		info.Extents = nil
		return info
	}
	d := &s.report.Disks[f.Disk]
	info.Disk = d.Name
	switch f.Kind {
	case stream.KindData:
		info.Kind = KindData
		d.DataFrames[stat.Codec]++
		d.Stored += stat.Stored
	case stream.KindZero:
		info.Kind = KindZero
		d.ZeroFrames++
	case stream.KindDiskEnd:
		info.Kind = KindDiskEnd
		d.Sum = f.Sum
	}
	return info
}

// Error says what is wrong with a stream, and where.
type Error struct {
	Frame  int64 // 0: the header
	Offset int64 // of that frame
	End    int64 // bytes that were read, for a stream that ends too early
	Err    error
}

// Error names the frame and the byte.
func (e *Error) Error() string {
	truncated := errors.Is(e.Err, stream.ErrTruncated)
	switch {
	case truncated && e.Frame == 0:
		return fmt.Sprintf("byte %d, in the header: %v", e.End, e.Err)
	case truncated && e.End == e.Offset:
		return fmt.Sprintf("byte %d, before frame %d: %v", e.End, e.Frame, e.Err)
	case truncated:
		return fmt.Sprintf("byte %d, in frame %d, which begins at byte %d: %v", e.End, e.Frame, e.Offset, e.Err)
	case e.Frame == 0:
		return fmt.Sprintf("header: %v", e.Err)
	}
	return fmt.Sprintf("frame %d, which begins at byte %d: %v", e.Frame, e.Offset, e.Err)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// counter counts what is read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}
