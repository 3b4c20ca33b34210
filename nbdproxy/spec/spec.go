// Package spec is the contract between an agent and the vmsync-nbd it starts:
// one JSON document in, one JSON object per line out.
//
// The agent writes a [Serve], [Apply] or [Hash] document as the first line of
// vmsync-nbd's stdin and keeps stdin open; its end tells vmsync-nbd to stop.
// vmsync-nbd writes [Event] lines to stdout and its log to stderr, and exits 0
// only after an [EventDone]. The package is plain data: it must never open,
// read or run anything.
package spec

import (
	"encoding/json"
	"time"

	"vmsync/internal/pin"
)

// Version is the version of the documents in this package. vmsync-nbd refuses
// any other, so that two programs of different releases never guess.
const Version = 3

// Serve tells `vmsync-nbd serve` what to read and where to offer the stream.
type Serve struct {
	Version    int    `json:"version"`
	Domain     string `json:"domain"`
	Checkpoint string `json:"checkpoint"`
	// Parent is the checkpoint the stream is incremental to; empty when every
	// disk is full.
	Parent string `json:"parent,omitempty"`
	// Listen is the path of the unix socket (created mode 0600) on which exactly
	// one client gets the stream, over as many connections as Lanes says. With NBD it
	// may be empty, for no stream.
	Listen string `json:"listen,omitempty"`
	// Connect, if given, is tried first; Listen is for when that fails.
	Connect  *Connect    `json:"connect,omitempty"`
	Lanes    int         `json:"lanes,omitempty"`    // connections that carry the stream, 1 to 16; 0 is 1
	Compress string      `json:"compress,omitempty"` // "auto" (default), "none", "s2", "zstd" or "zstd:LEVEL"
	Rate     int64       `json:"rate,omitempty"`     // bytes of stream per second; 0 is no limit
	NBD      *NBD        `json:"nbd,omitempty"`      // offer the exports to NBD clients, too
	Disks    []ServeDisk `json:"disks"`
	// State goes into the stream's header as it is, a JSON object; absent for none.
	State json.RawMessage `json:"state,omitempty"`
}

// Connect is where a receiver listens for TLS connections, and how both know each
// other.
type Connect struct {
	Addresses   []string     `json:"addresses"`   // host:port, tried in this order
	Certificate string       `json:"certificate"` // the receiver's, in PEM
	Identity    pin.Identity `json:"identity"`    // the sender's own
}

// Direct asks a receiver to listen for TLS connections as well.
type Direct struct {
	Addresses   []string `json:"addresses"`   // of this host, without a port; the first that can be had
	Certificate string   `json:"certificate"` // the sender's, in PEM
}

// ServeDisk is one export to read.
type ServeDisk struct {
	Name   string `json:"name"`   // target device, e.g. "vda"
	Socket string `json:"socket"` // unix socket of the NBD server
	Export string `json:"export"`
	// Bitmap names the dirty bitmap to ask for ("backup-vda" for the meta context
	// "qemu:dirty-bitmap:backup-vda"). Empty means the disk is sent in full, or with
	// Known looked at in full.
	Bitmap string `json:"bitmap,omitempty"`
	Size   int64  `json:"size"` // bytes; the export must have exactly this size
	// Known is the path of a block index (docs/INDEX.md) of what the receiver has
	// already, without a parent: a block that is absent is zeros there. Blocks that are
	// the same on this disk are not sent, neither as data nor as zeros, and zeros are
	// sent where the receiver has others. To the stream the disk is incremental, with or
	// without a bitmap. Empty for nothing.
	Known string `json:"known,omitempty"`
	// KnownPart says that of a block which is absent from Known nothing is known. Zeros are
	// then sent in any case. With a bitmap only.
	KnownPart bool `json:"known_part,omitempty"`
}

// Apply tells `vmsync-nbd apply` what stream to expect and where to write it.
// A stream whose header differs in any of these values is refused before
// anything is written.
type Apply struct {
	Version    int     `json:"version"`
	Domain     string  `json:"domain"`
	Checkpoint string  `json:"checkpoint"`
	Parent     string  `json:"parent,omitempty"`
	Listen     string  `json:"listen"`           // as in Serve; exactly one client brings the stream
	Direct     *Direct `json:"direct,omitempty"` // where else it may come from
	Lanes      int     `json:"lanes,omitempty"`  // as in Serve
	// Patience is how long to wait for the stream's connections; 0 is a minute.
	Patience time.Duration `json:"patience,omitempty"`
	Disks    []ApplyDisk   `json:"disks"`
}

// ApplyDisk is one NBD server to write to.
type ApplyDisk struct {
	Name   string `json:"name"`
	Socket string `json:"socket"`
	Export string `json:"export"`
	// Incremental says what the stream must be for this disk. A full disk's target
	// must read as zeros throughout, so its zero extents are not written.
	Incremental bool  `json:"incremental"`
	Size        int64 `json:"size"` // bytes
	// Index is the path of the block index (docs/INDEX.md) to make of the image that
	// is written: of the blocks that the stream touches. Empty for none. Without Done it
	// is worthless.
	Index string `json:"index,omitempty"`
	// Parents are the block indexes of the images that the image is built on, base
	// first. Without any, what is not written reads as zeros.
	Parents []string `json:"parents,omitempty"`
	// ParentContent is the Content of the disk that Parents read as, if it is known.
	// Computing the new one then takes time for what has changed only.
	ParentContent string `json:"parent_content,omitempty"`
	// Resume says that the file at Index exists and that the image holds what it says. It
	// is kept, and what the stream touches is overwritten.
	Resume bool `json:"resume,omitempty"`
}

// Hash tells `vmsync-nbd hash` what to read and where to write its block indexes.
type Hash struct {
	Version int        `json:"version"`
	Disks   []HashDisk `json:"disks"`
}

// HashDisk is one export to make a block index (docs/INDEX.md) of.
type HashDisk struct {
	Name   string `json:"name"`
	Socket string `json:"socket"` // unix socket of the NBD server
	Export string `json:"export"`
	Size   int64  `json:"size"` // bytes; the export must have exactly this size
	// Bitmap names a dirty bitmap, as in ServeDisk. Blocks that are dirty in it, wholly
	// or in part, are left out, and those of zeros that are not are entries. Empty for none.
	Bitmap string `json:"bitmap,omitempty"`
	// Top takes in only what the image itself holds and none of its backing files
	// does: of the meta context "qemu:allocation-depth" the ranges of depth 1, for
	// which qemu-nbd has to be started with -A. Zeros that it holds are entries then.
	Top bool `json:"top,omitempty"`
	// Below, of Top, is the size in bytes of the disk that the backing file reads as; 0 for
	// this disk's own. If the smaller one of two sizes is no whole number of blocks, the block
	// that it ends in is taken in as well: what the backing file's index says of it is
	// about a block of another length.
	Below int64  `json:"below,omitempty"`
	Out   string `json:"out"` // path of the index; the file must not exist
}

// Kinds of events. Ready comes once, when the socket listens; of hash it does not come.
// Progress comes at most four times a second for each disk, and once more when the
// transfer ends; then Done or Failed, once, last.
const (
	EventReady    = "ready"
	EventProgress = "progress"
	EventDone     = "done"
	EventFailed   = "failed"
)

// Event is one line of vmsync-nbd's output.
type Event struct {
	Event string `json:"event"`

	// Of Ready. Serve says whether Connect led to connections, or why it did not. Apply
	// says where it listens as Direct asked for and with what certificate, or why it
	// does not.
	Connected   bool   `json:"connected,omitempty"`
	Address     string `json:"address,omitempty"`     // host:port
	Certificate string `json:"certificate,omitempty"` // in PEM
	Why         string `json:"why,omitempty"`
	// NBD are the addresses at which Serve's NBD server listens.
	NBD []string `json:"nbd,omitempty"`

	Progress *Progress `json:"progress,omitempty"` // of Progress

	// Of Done.
	Disks   []DiskResult `json:"disks,omitempty"`
	Traffic *Traffic     `json:"traffic,omitempty"`

	Error *Error `json:"error,omitempty"` // of Failed
}

// DiskResult sums up one disk of a finished stream. Both ends compute it on
// their own; a run counts only if they agree on all but Content.
type DiskResult struct {
	Name      string `json:"name"`
	DataBytes int64  `json:"data_bytes"` // sent as data
	ZeroBytes int64  `json:"zero_bytes"` // sent as zero ranges
	Digest    string `json:"digest"`     // of the stream: 16 hex digits; see docs/STREAM.md
	// Content is the digest of the disk's whole content, 32 hex digits; see
	// docs/INDEX.md. Of apply with Index, of hash without Bitmap and Top, and of serve
	// with Known and without Bitmap; empty otherwise.
	Content string `json:"content,omitempty"`
}

// Error kinds that an agent decides on; anything else is KindOther.
const (
	KindOther    = "other"
	KindExport   = "export"   // the NBD server being read failed or went away
	KindTarget   = "target"   // the NBD server being written failed or went away, or an index failed
	KindNoSpace  = "no-space" // the target's file system, or that of its index, is full
	KindStream   = "stream"   // the stream is damaged, hostile or of another version
	KindPeer     = "peer"     // the connection that carries the stream broke
	KindMismatch = "mismatch" // the stream is not the one that was asked for
	KindSpec     = "spec"     // the document on stdin is wrong
	KindStopped  = "stopped"  // stdin closed: the agent is gone or cancelled
)

// Error is a failure as vmsync-nbd saw it.
type Error struct {
	Kind    string `json:"kind"`
	Disk    string `json:"disk,omitempty"`
	Message string `json:"message"`
}
