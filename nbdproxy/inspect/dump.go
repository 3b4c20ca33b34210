package inspect

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"vmsync/nbdproxy/stream"
)

// Options say what Dump and Verify write.
type Options struct {
	JSON    bool // one object per line
	Extents bool // Dump lists each extent
}

// Dump writes what is in a stream to out: its header, a line for each frame, a
// summary of each disk if the stream is sound, and last whether it is. An error that
// is an [*Error] is about the stream, and out says it; any other is about out.
func Dump(r io.Reader, out io.Writer, o Options) error {
	w := bufio.NewWriterSize(out, 64<<10)
	var v Visitor = &textDump{w: w, extents: o.Extents}
	if o.JSON {
		v = &jsonDump{w: w, extents: o.Extents}
	}
	return conclude(r, w, v, true, o.JSON)
}

// Verify writes one line to out that says whether a stream is sound. Its error is
// that of [Dump].
func Verify(r io.Reader, out io.Writer, o Options) error {
	return conclude(r, bufio.NewWriter(out), nil, false, o.JSON)
}

// conclude scans and writes what that comes to.
func conclude(r io.Reader, w *bufio.Writer, v Visitor, disks, asJSON bool) error {
	report, err := Scan(r, v)
	if _, about := errors.AsType[*Error](err); err != nil && !about {
		return err
	}
	var written error
	switch {
	case asJSON:
		written = writeResult(w, report, disks, err)
	case err == nil && disks:
		written = writeSummary(w, report)
	}
	if !asJSON && written == nil {
		_, written = fmt.Fprintln(w, verdict(report, err))
	}
	if written == nil {
		written = w.Flush()
	}
	return errors.Join(err, written)
}

// textDump writes for people.
type textDump struct {
	w       *bufio.Writer
	extents bool
}

// Header implements Visitor.
func (t *textDump) Header(h *stream.Header, size int64) error {
	parent := "none"
	if h.Parent != "" {
		parent = plain(h.Parent)
	}
	state := "none"
	if h.State != nil {
		state = fmt.Sprintf("%d bytes, see --json", len(h.State))
	}
	fmt.Fprintf(t.w, "stream of version %d, header of %d bytes\n", stream.Version, size)
	fmt.Fprintf(t.w, "domain      %s\ncheckpoint  %s\nparent      %s\nstate       %s\n", plain(h.Domain), plain(h.Checkpoint), parent, state)
	for _, d := range h.Disks {
		fmt.Fprintf(t.w, "disk        %s, %d bytes, %s\n", plain(d.Name), d.Size, kindOf(d))
	}
	_, err := fmt.Fprintf(t.w, "\n%8s %15s  %-8s %-4s  %-8s %7s %8s %8s %15s %15s\n",
		"frame", "at byte", "type", "code", "disk", "extents", "raw", "stored", "first", "last")
	return err
}

func kindOf(d stream.Disk) string {
	if d.Incremental {
		return "incremental"
	}
	return "full"
}

// Frame implements Visitor.
func (t *textDump) Frame(f *Frame) error {
	line := fmt.Sprintf("%8d %15d  %-8s", f.Number, f.Offset, f.Kind)
	switch f.Kind {
	case KindData, KindZero:
		code := "-"
		if f.Kind == KindData {
			code = codecName(f.Stat.Codec)
		}
		first, last := span(f.Extents)
		line += fmt.Sprintf(" %-4s  %-8s %7d %8d %8d %15d %15d", code, plain(f.Disk), len(f.Extents), f.Stat.Raw, f.Stat.Stored, first, last)
	case KindDiskEnd:
		line += fmt.Sprintf(" %-4s  %-8s", "-", plain(f.Disk))
	}
	if _, err := fmt.Fprintln(t.w, strings.TrimRight(line, " ")); err != nil || !t.extents {
		return err
	}
	for _, e := range f.Extents {
		if _, err := fmt.Fprintf(t.w, "%75s %15d %15d\n", "", e.Offset, e.End()-1); err != nil {
			return err
		}
	}
	return nil
}

// writeSummary sums up each disk.
func writeSummary(w *bufio.Writer, r *Report) error {
	fmt.Fprintln(w)
	for _, d := range r.Disks {
		var data int64
		var by []string
		for _, c := range codecs {
			if n := d.DataFrames[c.codec]; n > 0 {
				data += n
				by = append(by, fmt.Sprintf("%d %s", n, c.name))
			}
		}
		frames := count(data, "data frame")
		if len(by) > 0 {
			frames += " (" + strings.Join(by, ", ") + ")"
		}
		if _, err := fmt.Fprintf(w, "disk %s: %s, %s; %d bytes of data stored as %d (%s), %d of zeros; digest %s\n",
			plain(d.Name), frames, count(d.ZeroFrames, "zero frame"), d.Sum.DataBytes, d.Stored,
			percent(d.Stored, d.Sum.DataBytes), d.Sum.ZeroBytes, digest(d.Sum)); err != nil {
			return err
		}
	}
	return nil
}

// verdict says in one line whether a stream is sound.
func verdict(r *Report, err error) string {
	switch {
	case errors.Is(err, stream.ErrTruncated), errors.Is(err, stream.ErrInvalid):
		return "not sound: " + err.Error()
	case err != nil:
		return "not readable: " + err.Error()
	}
	h := r.Header
	what := "full"
	if h.Parent != "" {
		what = "on " + plain(h.Parent)
	}
	return fmt.Sprintf("sound: %s at %s, %s; %s, %s, %d bytes", plain(h.Domain), plain(h.Checkpoint), what,
		count(int64(len(h.Disks)), "disk"), count(r.Frames, "frame"), r.Size)
}

func count(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
