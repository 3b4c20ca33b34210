package nbdproxy

import "testing"

// able is a backend that says what it can do.
type able struct {
	*memory
	can Features
}

func (a able) Features() Features { return a.can }

func TestFlagsSayOnlyWhatTheBackendCan(t *testing.T) {
	const always = flagHasFlags | flagSendDF
	for name, c := range map[string]struct {
		can      Features
		readOnly bool
		want     uint16
	}{
		"nothing":             {Features{}, false, 0},
		"everything":          {Features{true, true, true, true, true}, false, flagSendWriteZeroes | flagSendFastZero | flagSendTrim | flagSendCache | flagSendFlush | flagSendFUA},
		"zeroes, not fast":    {Features{Zero: true}, false, flagSendWriteZeroes},
		"fast, but no zeroes": {Features{FastZero: true}, false, 0},
		"trim":                {Features{Trim: true}, false, flagSendTrim},
		"flush":               {Features{Flush: true}, false, flagSendFlush | flagSendFUA},
		"nothing, read-only":  {Features{}, true, flagReadOnly | flagSendFlush},
		"all, read-only":      {Features{true, true, true, true, true}, true, flagReadOnly | flagSendFlush | flagSendCache},
	} {
		client := serve(t, Config{Exports: []Export{{Name: "vda", Backend: able{newMemory(4096), c.can}, ReadOnly: c.readOnly}}}).dial(t)
		client.greet(3)
		client.structured()
		if _, flags := client.goTo("vda"); flags != always|c.want {
			t.Errorf("%s: flags %#x, want %#x", name, flags, always|c.want)
		}
		client.disconnect()
	}
}

func TestWhatTheBackendCannotIsRefusedAndNeverReachesIt(t *testing.T) {
	m := newMemory(1 << 20)
	c := serveDisk(t, able{m, Features{Zero: true}}).transmit(t, false)
	for i, r := range []struct {
		flags, cmd uint16
		length     uint32
	}{{0, cmdTrim, 512}, {0, cmdCache, 512}, {0, cmdFlush, 0}, {cmdFlagFastZero, cmdWriteZeroes, 512}, {cmdFlagFUA, cmdWriteZeroes, 512}} {
		c.request(r.flags, r.cmd, uint64(i), 0, r.length)
		c.expectSimple(uint64(i), nbdEINVAL)
	}
	c.request(cmdFlagFUA, cmdWrite, 10, 0, 512, pattern(512))
	c.expectSimple(10, nbdEINVAL)
	c.request(0, cmdWrite, 11, 0, 512, pattern(512))
	c.expectSimple(11, 0)
	c.request(cmdFlagNoHole, cmdWriteZeroes, 12, 0, 512)
	c.expectSimple(12, 0)
	c.disconnect()
	if n := m.counted(); n.trims+n.caches+n.syncs > 0 || n.writes != 1 || n.zeroes != 1 {
		t.Errorf("calls of the backend: %+v", n)
	}
}
