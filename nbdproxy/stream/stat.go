package stream

// Stat tells how a frame is written.
type Stat struct {
	Codec  Codec
	Raw    int64 // bytes of payload, uncompressed
	Stored int64 // bytes of payload as they are in the stream
	Size   int64 // bytes that the whole frame takes in the stream
}

// Stat tells how the frame that [Decoder.Next] filled last is written; after its
// io.EOF, how the end mark is.
func (f *Frame) Stat() Stat {
	h := &f.head
	return Stat{Codec: h.codec, Raw: int64(h.raw), Stored: int64(h.stored),
		Size: frameHeaderSize + int64(h.extents)*extentSize + int64(h.stored)}
}
