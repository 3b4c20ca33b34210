package nbdproxy

import (
	"encoding/binary"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// Replies are encoded into the job that they answer. Each is marked as the last of
// its request; the writer takes the mark off those that are not.

// simple makes the job's reply a simple one, with what follows it.
func (j *job) simple(code uint32, body []byte) {
	b := binary.BigEndian.AppendUint32(j.head[:0], protocol.TRANSMISSION_MAGIC_REPLY)
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint64(b, j.handle)
	j.headLen, j.body = len(b), body
}

// appendChunk appends the header of a chunk, the last one of its reply, with n bytes of payload.
func appendChunk(b []byte, typ uint16, handle uint64, n int) []byte {
	b = binary.BigEndian.AppendUint32(b, magicStructuredReply)
	b = binary.BigEndian.AppendUint16(b, replyFlagDone)
	b = binary.BigEndian.AppendUint16(b, typ)
	b = binary.BigEndian.AppendUint64(b, handle)
	return binary.BigEndian.AppendUint32(b, uint32(n))
}

// notLast takes the mark of the last chunk off the chunk that begins b.
func notLast(b []byte) { binary.BigEndian.PutUint16(b[4:], 0) }

// data makes the job's reply a chunk of data.
func (j *job) data(body []byte) {
	b := appendChunk(j.head[:0], replyOffsetData, j.handle, 8+len(body))
	b = binary.BigEndian.AppendUint64(b, j.offset)
	j.headLen, j.body = len(b), body
}

// hole makes the job's reply a chunk that says that its range reads as zeros.
func (j *job) hole() {
	b := appendChunk(j.head[:0], replyOffsetHole, j.handle, 8+4)
	b = binary.BigEndian.AppendUint64(b, j.offset)
	b = binary.BigEndian.AppendUint32(b, j.length)
	j.headLen, j.body = len(b), nil
}

// nothing makes the job's reply a structured one to a read of no bytes.
func (j *job) nothing() {
	j.headLen, j.body = len(appendChunk(j.head[:0], 0, j.handle, 0)), nil
}

// failure makes the job's reply a structured error.
func (j *job) failure(code uint32, message string) {
	message = printable(message)
	b := appendChunk(j.head[:0], replyError, j.handle, 6+len(message))
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	j.headLen, j.body = len(b), []byte(message)
}

// failureAt makes the job's reply a structured error at an offset of the export
// that lies within the request.
func (j *job) failureAt(code uint32, message string, offset uint64) {
	message = printable(message)
	b := appendChunk(j.head[:0], replyErrorOffset, j.handle, 6+len(message)+8)
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint16(b, uint16(len(message)))
	j.headLen = len(b)
	j.body = binary.BigEndian.AppendUint64([]byte(message), offset)
}
