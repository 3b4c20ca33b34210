package replicator

import "vmsync/nbdproxy/spec"

// Quiesce says whether the guest's file systems are to be frozen for the checkpoint.
type Quiesce string

// Ways to quiesce.
const (
	QuiescePreferred Quiesce = ""         // where the guest's agent answers
	QuiesceRequired  Quiesce = "required" // or else there is no state: KindNotFrozen
	QuiesceNo        Quiesce = "no"
)

// Consistency says what a state can promise to the guest's file systems.
type Consistency string

// Levels of consistency.
const (
	ConsistencyFilesystem Consistency = "filesystem" // frozen by the guest agent
	ConsistencyCrash      Consistency = "crash"      // as after a power cut
)

// Progress of one disk and of the stream, as one end sees it.
type Progress = spec.Progress

// DiskResult sums up one disk of a finished stream.
type DiskResult struct {
	Name      string `json:"name"`
	DataBytes int64  `json:"data_bytes"`
	ZeroBytes int64  `json:"zero_bytes"`
	Digest    string `json:"digest"`
	// Content is the digest of the disk's content where the end has computed it: nothing
	// that the ends have to agree on.
	Content string `json:"content,omitempty"`
}

// SameStream tells whether both ends saw the same of the stream.
func (r DiskResult) SameStream(o DiskResult) bool {
	r.Content, o.Content = "", ""
	return r == o
}

// StreamResult sums up a finished stream as one end saw it.
type StreamResult struct {
	Disks   []DiskResult `json:"disks"`
	Traffic spec.Traffic `json:"traffic"`
}

// ListenDirect is where a target is to listen, and for whom.
type ListenDirect struct {
	Addresses   []string `json:"addresses"`   // of the target, without a port; the first that can be had
	Certificate string   `json:"certificate"` // SourceView.Certificate
}

// DirectTarget is where a target listens for the source.
type DirectTarget struct {
	Address     string `json:"address"`     // host:port
	Certificate string `json:"certificate"` // what the target will prove itself with, in PEM
}

// KnownDisk is a disk of which the target holds something already: it has a block index
// of it (docs/INDEX.md).
type KnownDisk struct {
	Name string `json:"name"`
	// Partial says that of blocks which are not in the index nothing is known;
	// otherwise they are zeros.
	Partial bool `json:"partial,omitempty"`
	// Resumed says that this is what an earlier run has received.
	Resumed bool `json:"resumed,omitempty"`
}

// KnownRequest asks for a part of such an index.
type KnownRequest struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"` // bytes; where the last part ended
}

// KnownPart is a part of an index's file. What lies between the parts is zeros.
type KnownPart struct {
	Disk   string `json:"disk"`
	Offset int64  `json:"offset"` // bytes from the beginning of the file
	Data   []byte `json:"data"`
	Size   int64  `json:"size"` // of the whole file
	Next   int64  `json:"next"` // where to ask on; Size when this was the last part
}
