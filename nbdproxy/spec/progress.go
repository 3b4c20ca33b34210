package spec

// Progress is how far one disk is.
type Progress struct {
	Disk string `json:"disk"`
	Size int64  `json:"size"` // bytes of the disk
	// Scanned is how far the search for changes is, in bytes of the disk, and Found
	// the bytes of changed extents that it came across. Of serve and hash only.
	Scanned int64 `json:"scanned,omitempty"`
	Found   int64 `json:"found,omitempty"`
	Total   int64 `json:"total,omitempty"` // bytes of changed extents in all; 0 while unknown
	// Done is the bytes of changed extents that serve has dealt with or apply has written.
	// Zero are those of them that are zero extents, and Same those that serve with Known
	// compared and did not send; the rest is data. Of hash, Done is what was read, and
	// Found and Total what is to be.
	Done int64 `json:"done,omitempty"`
	Zero int64 `json:"zero,omitempty"`
	Same int64 `json:"same,omitempty"`
	// Traffic is that of the whole stream, of all disks.
	Traffic Traffic `json:"traffic"`
}

// Traffic is what a stream has carried.
type Traffic struct {
	Wire       int64 `json:"wire"`        // bytes, everything included
	ZeroFrames int64 `json:"zero_frames"` // frames of zero extents
	// Data frames by codec.
	None CodecTraffic `json:"none"`
	S2   CodecTraffic `json:"s2"`
	Zstd CodecTraffic `json:"zstd"`
}

// CodecTraffic counts the data frames of one codec.
type CodecTraffic struct {
	Frames int64 `json:"frames"`
	Raw    int64 `json:"raw"`    // bytes of payload, uncompressed
	Stored int64 `json:"stored"` // bytes of payload, as they were sent
}
