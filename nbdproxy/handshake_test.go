package nbdproxy

import (
	"bytes"
	"strings"
	"testing"
)

// twoExports serves a writable and a read-only export.
func twoExports(t *testing.T) *served {
	t.Helper()
	return serve(t, Config{Exports: []Export{
		{Name: "vda", Description: "first disk", Backend: newMemory(1 << 30), MultiConn: true},
		{Name: "vdb", Backend: newMemory(3 << 20), ReadOnly: true, BlockSizes: BlockSizes{Minimum: 512, Preferred: 65536, Maximum: 1 << 20}},
	}})
}

const (
	flagsVda = flagHasFlags | flagSendFlush | flagSendFUA | flagCanMultiConn | flagSendTrim | flagSendWriteZeroes | flagSendFastZero | flagSendCache
	flagsVdb = flagHasFlags | flagSendFlush | flagReadOnly | flagSendCache
)

func ack() optionReply { return optionReply{typ: repAck} }

// repError is an error reply; its message is not compared.
func repError(typ uint32) optionReply { return optionReply{typ: typ} }

func info(typ uint16, fields ...any) optionReply {
	return optionReply{typ: repInfo, data: string(message(typ, message(fields...)))}
}

func context1(id uint32, name string) optionReply {
	return optionReply{typ: repMetaContext, data: string(message(id, name))}
}

func TestOptionIsAnsweredAsTheProtocolSays(t *testing.T) {
	v := twoExports(t)
	sizesVda := info(infoBlockSize, uint32(1), uint32(4096), uint32(32<<20))
	sizesVdb := info(infoBlockSize, uint32(512), uint32(65536), uint32(1<<20))
	exportVda := info(infoExport, uint64(1<<30), flagsVda)
	for _, test := range []struct {
		name   string
		before func(c *client)
		option uint32
		data   []byte
		want   []optionReply
	}{
		{"list", nil, optList, nil, []optionReply{
			{typ: repServer, data: string(message(str("vda"), "first disk"))},
			{typ: repServer, data: string(str("vdb"))},
			ack(),
		}},
		{"list with data", nil, optList, []byte{0}, []optionReply{repError(repErrInvalid)}},
		{"structured replies", nil, optStructuredReply, nil, []optionReply{ack()}},
		{"structured replies twice", (*client).structured, optStructuredReply, nil, []optionReply{ack()}},
		{"structured replies with data", nil, optStructuredReply, []byte{0}, []optionReply{repError(repErrInvalid)}},
		{"peek export, withdrawn", nil, 4, nil, []optionReply{repError(repErrUnsup)}},
		{"extended headers", nil, 11, nil, []optionReply{repError(repErrUnsup)}},
		{"unknown, with data", nil, 0xfffffffe, []byte("data"), []optionReply{repError(repErrUnsup)}},
		{"no option at all", nil, 0, nil, []optionReply{repError(repErrUnsup)}},
		{"longer than looked at", nil, optInfo, make([]byte, maxOptionLength+1), []optionReply{repError(repErrTooBig)}},
		{"TLS where there is none", nil, optStartTLS, nil, []optionReply{repError(repErrPolicy)}},

		{"info", nil, optInfo, message(str("vda"), uint16(0)), []optionReply{exportVda, sizesVda, ack()}},
		{"info of the default export", nil, optInfo, message(str(""), uint16(0)), []optionReply{exportVda, sizesVda, ack()}},
		{"info of everything", nil, optInfo, message(str("vda"), uint16(5), infoBlockSize, infoName, infoExport, infoDescription, uint16(77)),
			[]optionReply{exportVda, info(infoName, "vda"), info(infoDescription, "first disk"), sizesVda, ack()}},
		{"info by the default name has the real one", nil, optInfo, message(str(""), uint16(1), infoName),
			[]optionReply{exportVda, info(infoName, "vda"), sizesVda, ack()}},
		{"info of what has no description", nil, optInfo, message(str("vdb"), uint16(1), infoDescription),
			[]optionReply{info(infoExport, uint64(3<<20), flagsVdb), sizesVdb, ack()}},
		{"info asked for twice", nil, optInfo, message(str("vda"), uint16(2), infoName, infoName),
			[]optionReply{exportVda, info(infoName, "vda"), sizesVda, ack()}},
		{"info with structured replies has DF", (*client).structured, optInfo, message(str("vdb"), uint16(0)),
			[]optionReply{info(infoExport, uint64(3<<20), flagsVdb|flagSendDF), sizesVdb, ack()}},
		{"info of an unknown export", nil, optInfo, message(str("vdc"), uint16(0)), []optionReply{repError(repErrUnknown)}},
		{"info of an export that begins so", nil, optInfo, message(str("vd"), uint16(0)), []optionReply{repError(repErrUnknown)}},
		{"go to an unknown export", nil, optGo, message(str("VDA"), uint16(0)), []optionReply{repError(repErrUnknown)}},
		{"info without data", nil, optInfo, nil, []optionReply{repError(repErrInvalid)}},
		{"info with a name beyond the data", nil, optInfo, message(uint32(0xffffffff), "vda", uint16(0)), []optionReply{repError(repErrInvalid)}},
		{"info with too long a name", nil, optInfo, message(str(strings.Repeat("x", 4097)), uint16(0)), []optionReply{repError(repErrInvalid)}},
		{"info without requests", nil, optInfo, str("vda"), []optionReply{repError(repErrInvalid)}},
		{"info with too few requests", nil, optInfo, message(str("vda"), uint16(2), infoName), []optionReply{repError(repErrInvalid)}},
		{"info with data behind", nil, optInfo, message(str("vda"), uint16(1), infoName, byte(0)), []optionReply{repError(repErrInvalid)}},

		{"list contexts", (*client).structured, optListMetaContext, message(str("vda"), uint32(0)),
			[]optionReply{context1(0, baseAllocation), context1(0, dirtyBitmap), ack()}},
		{"list contexts without structured replies", nil, optListMetaContext, message(str("vda"), uint32(1), str("base:")),
			[]optionReply{context1(0, baseAllocation), ack()}},
		{"list contexts of a namespace", (*client).structured, optListMetaContext, message(str("vda"), uint32(1), str("qemu:")),
			[]optionReply{context1(0, dirtyBitmap), ack()}},
		{"list contexts of an unknown export", (*client).structured, optListMetaContext, message(str("x"), uint32(0)), []optionReply{repError(repErrUnknown)}},
		{"list contexts without data", (*client).structured, optListMetaContext, nil, []optionReply{repError(repErrInvalid)}},
		{"list contexts with too few queries", (*client).structured, optListMetaContext, message(str("vda"), uint32(2), str("base:")), []optionReply{repError(repErrInvalid)}},
		{"list contexts with four billion queries", (*client).structured, optListMetaContext, message(str("vda"), uint32(0xffffffff)), []optionReply{repError(repErrInvalid)}},
		{"list contexts with a query beyond the data", (*client).structured, optListMetaContext, message(str("vda"), uint32(1), uint32(6), "base:"), []optionReply{repError(repErrInvalid)}},
		{"list contexts with too long a query", (*client).structured, optListMetaContext, message(str("vda"), uint32(1), str(strings.Repeat("x", 4097))), []optionReply{repError(repErrInvalid)}},
		{"list contexts with data behind", (*client).structured, optListMetaContext, message(str("vda"), uint32(0), byte(1)), []optionReply{repError(repErrInvalid)}},
		{"select contexts", (*client).structured, optSetMetaContext, message(str("vda"), uint32(2), str(dirtyBitmap), str(baseAllocation)),
			[]optionReply{context1(0, baseAllocation), context1(1, dirtyBitmap), ack()}},
		{"select contexts by wildcard", (*client).structured, optSetMetaContext, message(str("vda"), uint32(3), str("base:"), str("qemu:"), str("qemu:dirty-bitmap:")), []optionReply{ack()}},
		{"select no contexts", (*client).structured, optSetMetaContext, message(str("vda"), uint32(0)), []optionReply{ack()}},
		{"select contexts without structured replies", nil, optSetMetaContext, message(str("vda"), uint32(1), str(baseAllocation)), []optionReply{repError(repErrInvalid)}},
		{"select contexts of an unknown export", (*client).structured, optSetMetaContext, message(str("x"), uint32(1), str(baseAllocation)), []optionReply{repError(repErrUnknown)}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(3)
			if test.before != nil {
				test.before(c)
			}
			c.option(test.option, test.data)
			c.expectReplies(test.option, test.want...)
			// Whatever the answer was, haggling goes on.
			c.option(optAbort, "ignored")
			c.expectReplies(optAbort, ack())
			c.expectEnd()
		})
	}
}

func TestExportNameEntersTransmission(t *testing.T) {
	v := twoExports(t)
	for _, test := range []struct {
		name, export string
		clientFlags  uint32
		want         []byte
	}{
		{"without zeroes", "vdb", 3, message(uint64(3<<20), flagsVdb)},
		{"with zeroes", "vdb", 1, message(uint64(3<<20), flagsVdb, make([]byte, 124))},
		{"from a client of plain newstyle", "vda", 0, message(uint64(1<<30), flagsVda, make([]byte, 124))},
		{"by the default name", "", 3, message(uint64(1<<30), flagsVda)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(test.clientFlags)
			c.option(optExportName, test.export)
			c.expect(test.want)
			c.request(0, cmdRead, 1, 0, 512)
			c.expectSimple(1, 0)
			c.expect(make([]byte, 512))
			c.disconnect()
		})
	}
}

func TestGoHasNoZeroesBehindIt(t *testing.T) {
	c := twoExports(t).dial(t)
	c.greet(1)
	c.goTo("vda")
	c.request(0, cmdFlush, 9, 0, 0)
	c.expectSimple(9, 0)
	c.disconnect()
}

func TestHandshakeThatCannotGoOnEnds(t *testing.T) {
	v := twoExports(t)
	for _, test := range []struct {
		name  string
		flags uint32
		send  []byte
	}{
		{"unknown client flags", 7, nil},
		{"the highest client flag", 1 << 31, nil},
		{"wrong magic of an option", 3, message("IHAVEOPS", optList, uint32(0))},
		{"unknown export by its name", 3, message("IHAVEOPT", optExportName, str("vdc"))},
		{"too long a name", 3, message("IHAVEOPT", optExportName, str(strings.Repeat("v", maxOptionLength+1)))},
		{"option other than the name in plain newstyle", 2, message("IHAVEOPT", optGo, uint32(9), str("vda"), uint16(0))},
		{"abort in plain newstyle", 0, message("IHAVEOPT", optAbort, uint32(0))},
		{"four gigabytes of option", 3, message("IHAVEOPT", optList, uint32(0xffffffff))},
		{"one byte more than is skipped", 3, message("IHAVEOPT", optList, uint32(maxOptionSkip+1))},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(test.flags)
			if test.send != nil {
				c.send(test.send)
			}
			c.expectEnd()
		})
	}
}

func TestHandshakeHasALimitedNumberOfOptions(t *testing.T) {
	c := twoExports(t).dial(t)
	c.greet(3)
	for range maxOptions {
		c.option(optStructuredReply)
		c.expectReplies(optStructuredReply, ack())
	}
	c.trySend("IHAVEOPT", optStructuredReply, uint32(0))
	c.expectEnd()
}

func TestAbortIsAnsweredAndEnds(t *testing.T) {
	c := twoExports(t).dial(t)
	c.greet(3)
	c.option(optAbort)
	c.expectReplies(optAbort, ack())
	c.expectEnd()
}

func TestContextsHoldForTheirExportOnly(t *testing.T) {
	v := twoExports(t)
	for _, test := range []struct {
		name       string
		haggle     func(c *client)
		to         string
		reportable bool
	}{
		{"same export", func(c *client) { c.selectContexts("vda", baseAllocation) }, "vda", true},
		{"same export by its other name", func(c *client) { c.selectContexts("", baseAllocation) }, "vda", true},
		{"other export", func(c *client) { c.selectContexts("vda", baseAllocation) }, "vdb", false},
		{"replaced by none", func(c *client) {
			c.selectContexts("vda", baseAllocation)
			c.selectContexts("vda")
		}, "vda", false},
		{"replaced by those of another export", func(c *client) {
			c.selectContexts("vda", baseAllocation)
			c.selectContexts("vdb", baseAllocation)
		}, "vda", false},
		{"replaced by a selection that failed", func(c *client) {
			c.selectContexts("vda", baseAllocation)
			c.option(optSetMetaContext, "nonsense")
			c.expectReplies(optSetMetaContext, repError(repErrInvalid))
		}, "vda", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := v.dial(t)
			c.greet(3)
			c.structured()
			test.haggle(c)
			c.goTo(test.to)
			c.request(0, cmdBlockStatus, 5, 0, page)
			if test.reportable {
				c.expectChunk(replyFlagDone, replyBlockStatus, 5, uint32(0), uint32(page), uint32(3))
			} else {
				c.expectError(5, nbdEINVAL, nil)
			}
			c.disconnect()
		})
	}
}

func TestMetaContextQueries(t *testing.T) {
	contexts := []string{baseAllocation, "qemu:allocation-depth", "qemu:dirty-bitmap:a", "qemu:dirty-bitmap:ab", "x-vm:a:"}
	for _, test := range []struct {
		queries         string // separated by spaces
		listed, select_ string
	}{
		{"", strings.Join(contexts, " "), ""},
		{"base:", baseAllocation, ""},
		{"base:allocation", baseAllocation, baseAllocation},
		{"base:alloc", "", ""},
		{"base", "", ""},
		{"qemu:", "qemu:allocation-depth qemu:dirty-bitmap:a qemu:dirty-bitmap:ab", ""},
		{"qemu:dirty-bitmap:", "qemu:dirty-bitmap:a qemu:dirty-bitmap:ab", ""},
		{"qemu:dirty-bitmap", "", ""},
		{"qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a"},
		{"qemu:dirty-bitmap:ab qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a qemu:dirty-bitmap:ab", "qemu:dirty-bitmap:a qemu:dirty-bitmap:ab"},
		{"qemu:dirty-bitmap:a qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a", "qemu:dirty-bitmap:a"},
		{"qemu:dirty-bitmap:c base:allocation", baseAllocation, baseAllocation},
		{"other:thing", "", ""},
		{":", "", ""},
		{"x-vm:a:", "x-vm:a:", "x-vm:a:"},
	} {
		queries := strings.Fields(test.queries)
		if got := strings.Join(listContexts(contexts, queries), " "); got != test.listed {
			t.Errorf("queries %q list %q, want %q", queries, got, test.listed)
		}
		if got := strings.Join(selectContexts(contexts, queries), " "); got != test.select_ {
			t.Errorf("queries %q select %q, want %q", queries, got, test.select_)
		}
	}
}

func TestTooManyContextsAreRefused(t *testing.T) {
	b := &manyContexts{memory: newMemory(1 << 20)}
	var names [][]byte
	for i := range maxContexts + 1 {
		name := "x-test:" + strings.Repeat("i", i+1)
		b.names = append(b.names, name)
		names = append(names, str(name))
	}
	c := serveDisk(t, b).dial(t)
	c.greet(3)
	c.structured()
	c.option(optSetMetaContext, str("vda"), uint32(len(names)), bytes.Join(names, nil))
	c.expectReplies(optSetMetaContext, repError(repErrTooBig))
	c.selectContexts("vda", b.names[:maxContexts]...)
	c.goTo("vda")
	c.request(0, cmdBlockStatus, 1, 0, 512)
	for i := range maxContexts {
		var flags uint16
		if i == maxContexts-1 {
			flags = replyFlagDone
		}
		c.expectChunk(flags, replyBlockStatus, 1, uint32(i), uint32(512), uint32(0))
	}
	c.disconnect()
}

// manyContexts is a disk with contexts of its own, in which nothing is set.
type manyContexts struct {
	*memory
	names []string
}

func (b *manyContexts) Contexts() []string { return b.names }
