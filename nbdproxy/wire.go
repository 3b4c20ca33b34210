package nbdproxy

import "github.com/pojntfx/go-nbd/pkg/protocol"

// The protocol's numbers, by the names that the protocol's document uses. What
// go-nbd does not define is defined here.

const maxString = 4096 // bytes; of names, queries and messages

// Handshake and client flags.
const (
	flagFixedNewstyle = protocol.NEGOTIATION_HANDSHAKE_FLAG_FIXED_NEWSTYLE
	flagNoZeroes      = uint16(1 << 1)

	clientFixedNewstyle = uint32(flagFixedNewstyle)
	clientNoZeroes      = uint32(flagNoZeroes)
)

// Options.
const (
	optExportName      = uint32(1)
	optAbort           = protocol.NEGOTIATION_ID_OPTION_ABORT
	optList            = protocol.NEGOTIATION_ID_OPTION_LIST
	optStartTLS        = uint32(5)
	optInfo            = protocol.NEGOTIATION_ID_OPTION_INFO
	optGo              = protocol.NEGOTIATION_ID_OPTION_GO
	optStructuredReply = uint32(8)
	optListMetaContext = uint32(9)
	optSetMetaContext  = uint32(10)
)

// Replies to options.
const (
	repAck         = protocol.NEGOTIATION_TYPE_REPLY_ACK
	repServer      = protocol.NEGOTIATION_TYPE_REPLY_SERVER
	repInfo        = protocol.NEGOTIATION_TYPE_REPLY_INFO
	repMetaContext = uint32(4)

	repErrUnsup   = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNSUPPORTED
	repErrPolicy  = uint32(2 | 1<<31)
	repErrInvalid = uint32(3 | 1<<31)
	repErrTLSReqd = uint32(5 | 1<<31)
	repErrUnknown = protocol.NEGOTIATION_TYPE_REPLY_ERR_UNKNOWN
	repErrTooBig  = uint32(9 | 1<<31)
)

// Information about an export.
const (
	infoExport      = protocol.NEGOTIATION_TYPE_INFO_EXPORT
	infoName        = protocol.NEGOTIATION_TYPE_INFO_NAME
	infoDescription = protocol.NEGOTIATION_TYPE_INFO_DESCRIPTION
	infoBlockSize   = protocol.NEGOTIATION_TYPE_INFO_BLOCKSIZE
)

// Transmission flags.
const (
	flagHasFlags        = protocol.NEGOTIATION_REPLY_FLAGS_HAS_FLAGS
	flagReadOnly        = uint16(1 << 1)
	flagSendFlush       = uint16(1 << 2)
	flagSendFUA         = uint16(1 << 3)
	flagSendTrim        = uint16(1 << 5)
	flagSendWriteZeroes = uint16(1 << 6)
	flagSendDF          = uint16(1 << 7)
	flagCanMultiConn    = protocol.NEGOTIATION_REPLY_FLAGS_CAN_MULTI_CONN
	flagSendCache       = uint16(1 << 10)
	flagSendFastZero    = uint16(1 << 11)
)

// Requests.
const (
	cmdRead        = protocol.TRANSMISSION_TYPE_REQUEST_READ
	cmdWrite       = protocol.TRANSMISSION_TYPE_REQUEST_WRITE
	cmdDisc        = protocol.TRANSMISSION_TYPE_REQUEST_DISC
	cmdFlush       = uint16(3)
	cmdTrim        = uint16(4)
	cmdCache       = uint16(5)
	cmdWriteZeroes = uint16(6)
	cmdBlockStatus = uint16(7)

	requestSize = 28 // bytes of a request's header
)

// Flags of requests.
const (
	cmdFlagFUA      = uint16(1 << 0)
	cmdFlagNoHole   = uint16(1 << 1)
	cmdFlagDF       = uint16(1 << 2)
	cmdFlagReqOne   = uint16(1 << 3)
	cmdFlagFastZero = uint16(1 << 4)
)

// Replies to requests.
const (
	magicStructuredReply = uint32(0x668e33ef)

	replyFlagDone = uint16(1 << 0)

	replyOffsetData  = uint16(1)
	replyOffsetHole  = uint16(2)
	replyBlockStatus = uint16(5)
	replyError       = uint16(1<<15 + 1)
	replyErrorOffset = uint16(1<<15 + 2)

	chunkHeaderSize = 20 // bytes
)

// Errors of requests; they look like errno on Linux, but are the protocol's own.
const (
	nbdEPERM     = protocol.TRANSMISSION_ERROR_EPERM
	nbdEIO       = uint32(5)
	nbdENOMEM    = uint32(12)
	nbdEINVAL    = protocol.TRANSMISSION_ERROR_EINVAL
	nbdENOSPC    = uint32(28)
	nbdEOVERFLOW = uint32(75)
	nbdENOTSUP   = uint32(95)
	nbdESHUTDOWN = uint32(108)
)

// The context that the protocol itself defines, and its flags.
const (
	baseAllocation = "base:allocation"

	// StateHole is set in base:allocation where nothing is allocated.
	StateHole = uint32(1 << 0)
	// StateZero is set in base:allocation where the content reads as zeros.
	StateZero = uint32(1 << 1)
)
