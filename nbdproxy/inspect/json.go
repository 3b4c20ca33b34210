package inspect

import (
	"bufio"
	"encoding/json"
	"errors"

	"vmsync/nbdproxy/stream"
)

// The objects of Dump and Verify with JSON, one a line, told apart by their type.
// Fields only ever get more: programs depend on them.
type (
	jsonHeader struct {
		Type    string         `json:"type"` // "header"
		Version int            `json:"version"`
		Bytes   int64          `json:"bytes"`
		Header  *stream.Header `json:"header"`
	}
	jsonFrame struct {
		Type    string       `json:"type"` // "frame"
		Frame   int64        `json:"frame"`
		Offset  int64        `json:"offset"`
		Kind    Kind         `json:"kind"`
		Codec   string       `json:"codec,omitempty"`
		Disk    string       `json:"disk,omitempty"`
		Extents int          `json:"extents,omitempty"`
		Raw     int64        `json:"raw_bytes"`
		Stored  int64        `json:"stored_bytes"`
		First   *int64       `json:"first,omitempty"` // offset on the disk of the first byte
		Last    *int64       `json:"last,omitempty"`  // and of the last
		List    []jsonExtent `json:"extent_list,omitempty"`
	}
	jsonExtent struct {
		Offset int64 `json:"offset"`
		Length int64 `json:"length"`
	}
	jsonDisk struct {
		Type        string           `json:"type"` // "disk"
		Disk        string           `json:"disk"`
		Size        int64            `json:"size"`
		Incremental bool             `json:"incremental"`
		DataFrames  map[string]int64 `json:"data_frames"` // by codec
		ZeroFrames  int64            `json:"zero_frames"`
		Data        int64            `json:"data_bytes"`
		Stored      int64            `json:"stored_bytes"`
		Zero        int64            `json:"zero_bytes"`
		Digest      string           `json:"digest"`
	}
	jsonResult struct {
		Type       string `json:"type"` // "result"
		Sound      bool   `json:"sound"`
		Domain     string `json:"domain,omitempty"`
		Checkpoint string `json:"checkpoint,omitempty"`
		Parent     string `json:"parent,omitempty"`
		Disks      int    `json:"disks,omitempty"`
		Frames     int64  `json:"frames,omitempty"`
		Bytes      int64  `json:"bytes,omitempty"`
		// Of a stream that is not sound.
		Kind    string `json:"kind,omitempty"` // "truncated", "invalid" or "unreadable"
		Message string `json:"message,omitempty"`
		Frame   int64  `json:"frame,omitempty"`  // absent for the header
		Offset  *int64 `json:"offset,omitempty"` // where that frame begins
	}
)

// jsonDump writes for programs.
type jsonDump struct {
	w       *bufio.Writer
	extents bool
}

func writeJSON(w *bufio.Writer, object any) error {
	line, err := json.Marshal(object)
	if err != nil {
		return err
	}
	_, err = w.Write(append(line, '\n'))
	return err
}

// Header implements Visitor.
func (j *jsonDump) Header(h *stream.Header, size int64) error {
	return writeJSON(j.w, jsonHeader{Type: "header", Version: stream.Version, Bytes: size, Header: h})
}

// Frame implements Visitor.
func (j *jsonDump) Frame(f *Frame) error {
	o := jsonFrame{Type: "frame", Frame: f.Number, Offset: f.Offset, Kind: f.Kind, Disk: f.Disk,
		Extents: len(f.Extents), Raw: f.Stat.Raw, Stored: f.Stat.Stored}
	if f.Kind == KindData {
		o.Codec = codecName(f.Stat.Codec)
	}
	if len(f.Extents) > 0 {
		first, last := span(f.Extents)
		o.First, o.Last = &first, &last
	}
	if j.extents {
		for _, e := range f.Extents {
			o.List = append(o.List, jsonExtent{e.Offset, e.Length})
		}
	}
	return writeJSON(j.w, o)
}

// writeResult ends the output: each disk of a stream that is sound, if they are
// asked for, and the result.
func writeResult(w *bufio.Writer, r *Report, disks bool, err error) error {
	if err != nil {
		return writeJSON(w, unsound(err))
	}
	for _, d := range r.Disks {
		if !disks {
			break
		}
		o := jsonDisk{Type: "disk", Disk: d.Name, Size: d.Size, Incremental: d.Incremental, DataFrames: map[string]int64{},
			ZeroFrames: d.ZeroFrames, Data: d.Sum.DataBytes, Stored: d.Stored, Zero: d.Sum.ZeroBytes, Digest: digest(d.Sum)}
		for c, n := range d.DataFrames {
			o.DataFrames[codecName(c)] = n
		}
		if err := writeJSON(w, o); err != nil {
			return err
		}
	}
	return writeJSON(w, jsonResult{Type: "result", Sound: true, Domain: r.Header.Domain, Checkpoint: r.Header.Checkpoint,
		Parent: r.Header.Parent, Disks: len(r.Disks), Frames: r.Frames, Bytes: r.Size})
}

// unsound is the result of a stream that is not sound.
func unsound(err error) jsonResult {
	o := jsonResult{Type: "result", Kind: "unreadable", Message: err.Error()}
	switch {
	case errors.Is(err, stream.ErrTruncated):
		o.Kind = "truncated"
	case errors.Is(err, stream.ErrInvalid):
		o.Kind = "invalid"
	}
	if e, ok := errors.AsType[*Error](err); ok {
		o.Frame, o.Offset = e.Frame, &e.Offset
	}
	return o
}
