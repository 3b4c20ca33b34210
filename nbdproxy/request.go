package nbdproxy

import (
	"encoding/binary"

	"github.com/pojntfx/go-nbd/pkg/protocol"
)

// request is the header of a request.
type request = protocol.TransmissionRequestHeader

// parseRequest decodes the requestSize bytes of a request's header.
func parseRequest(b []byte) request {
	return request{
		RequestMagic: binary.BigEndian.Uint32(b),
		CommandFlags: binary.BigEndian.Uint16(b[4:]),
		Type:         binary.BigEndian.Uint16(b[6:]),
		Handle:       binary.BigEndian.Uint64(b[8:]),
		Offset:       binary.BigEndian.Uint64(b[16:]),
		Length:       binary.BigEndian.Uint32(b[24:]),
	}
}

// refusal is why a request is not even tried.
type refusal struct {
	code    uint32 // 0: it is not refused
	message string
}

// check holds a request to what the handshake agreed on. A request that passes is
// within the export, aligned, and one that the backend can do.
func (a agreement) check(r request) refusal {
	if r.CommandFlags&^a.flagsFor(r.Type) != 0 {
		return refusal{nbdEINVAL, "flag that is not agreed on or not of this command"}
	}
	if a.export.ReadOnly && (r.Type == cmdWrite || r.Type == cmdTrim || r.Type == cmdWriteZeroes) {
		return refusal{nbdEPERM, "the export is read-only"}
	}
	if !a.can(r.Type) {
		return refusal{nbdEINVAL, "command that is unknown, not agreed on or not supported by the export"}
	}
	if r.Type == cmdFlush {
		if r.Offset != 0 || r.Length != 0 {
			return refusal{nbdEINVAL, "flush with an offset or a length"}
		}
		return refusal{}
	}
	return a.checkRange(r)
}

// flagsFor returns the flags that a command may have.
func (a agreement) flagsFor(command uint16) uint16 {
	var flags uint16
	if a.export.flags&flagSendFUA != 0 {
		flags = cmdFlagFUA // on every command
	}
	switch {
	case command == cmdRead && a.structured:
		flags |= cmdFlagDF
	case command == cmdWriteZeroes && a.export.zeroer != nil:
		flags |= cmdFlagNoHole
		if a.export.fastZero {
			flags |= cmdFlagFastZero
		}
	case command == cmdBlockStatus && len(a.contexts) > 0:
		flags |= cmdFlagReqOne
	}
	return flags
}

// can tells whether a command was agreed on.
func (a agreement) can(command uint16) bool {
	switch command {
	case cmdRead, cmdWrite:
		return true
	case cmdFlush:
		return a.export.flush
	case cmdTrim:
		return a.export.trimmer != nil
	case cmdCache:
		return a.export.cacher != nil
	case cmdWriteZeroes:
		return a.export.zeroer != nil
	case cmdBlockStatus:
		return len(a.contexts) > 0
	}
	return false
}

func (a agreement) checkRange(r request) refusal {
	x := a.export
	if r.Offset > x.size || uint64(r.Length) > x.size-r.Offset {
		if r.Type == cmdWrite || r.Type == cmdWriteZeroes {
			return refusal{nbdENOSPC, "beyond the end of the export"}
		}
		return refusal{nbdEINVAL, "beyond the end of the export"}
	}
	if r.Offset%uint64(x.BlockSizes.Minimum) != 0 || r.Length%x.BlockSizes.Minimum != 0 {
		return refusal{nbdEINVAL, "not aligned to the minimum block size"}
	}
	switch r.Type {
	case cmdRead, cmdWrite, cmdCache:
		if r.Length > x.BlockSizes.Maximum {
			return refusal{nbdEINVAL, "longer than the maximum block size"}
		}
	case cmdBlockStatus:
		if r.Length == 0 {
			return refusal{nbdEINVAL, "block status of nothing"}
		}
	}
	if r.Type == cmdRead && r.CommandFlags&cmdFlagDF != 0 && r.Length > segment {
		return refusal{nbdEOVERFLOW, "too long to be sent in one piece"}
	}
	return refusal{}
}
