package session

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"vmsync/nbdproxy/spec"
	"vmsync/nbdproxy/stream"
)

// parse reads a document into v. The version goes first: the fields of another one
// would only confuse.
func parse(doc []byte, v any) error {
	var head struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(doc, &head); err != nil {
		return specError(fmt.Errorf("the document on stdin is not JSON: %w", err))
	}
	if head.Version != spec.Version {
		return specError(fmt.Errorf("the document on stdin has version %d; this program knows version %d: use vmsync and vmsync-nbd of one release",
			head.Version, spec.Version))
	}
	d := json.NewDecoder(bytes.NewReader(doc))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return specError(fmt.Errorf("the document on stdin: %w", err))
	}
	if _, err := d.Token(); err != io.EOF {
		return specError(errors.New("the document on stdin: more than one JSON value"))
	}
	return nil
}

// checkPaths makes sure that sockets and files are named in a way that does not depend
// on the working directory.
func checkPaths(paths ...string) error {
	for _, p := range paths {
		if !filepath.IsAbs(p) {
			return specError(fmt.Errorf("path %q is not absolute", p))
		}
	}
	return nil
}

// serveHeader is the header of the stream that a document describes.
func serveHeader(s *spec.Serve) (stream.Header, error) {
	h := stream.Header{Domain: s.Domain, Checkpoint: s.Checkpoint, Parent: s.Parent, State: s.State}
	var paths []string
	if streams(s) {
		paths = append(paths, s.Listen)
	}
	for _, d := range s.Disks {
		h.Disks = append(h.Disks, stream.Disk{Name: d.Name, Size: d.Size, Incremental: d.Bitmap != "" || d.Known != ""})
		paths = append(paths, d.Socket)
		if d.Known != "" {
			paths = append(paths, d.Known)
		}
	}
	return h, check(h, paths)
}

// applyHeader is the header that a stream must have to fit a document.
func applyHeader(a *spec.Apply) (stream.Header, error) {
	h := stream.Header{Domain: a.Domain, Checkpoint: a.Checkpoint, Parent: a.Parent}
	paths := []string{a.Listen}
	for _, d := range a.Disks {
		h.Disks = append(h.Disks, stream.Disk{Name: d.Name, Size: d.Size, Incremental: d.Incremental})
		paths = append(paths, d.Socket)
	}
	return h, check(h, paths)
}

func check(h stream.Header, paths []string) error {
	if err := h.Validate(); err != nil {
		return specError(err)
	}
	return checkPaths(paths...)
}
