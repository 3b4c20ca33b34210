package mapping

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"vmsync/fusefs/device"
)

// patchy is a device of which the bytes that are not zero are data, and says how often it
// was asked.
type patchy struct {
	device.Device
	body  []byte
	asked int
}

func newPatchy(body []byte) *patchy {
	return &patchy{Device: device.OfReaderAt(bytes.NewReader(body), int64(len(body))), body: body}
}

func (p *patchy) Data(off int64) (int64, int64, error) {
	p.asked++
	start := off
	for start < p.Size() && p.body[start] == 0 {
		start++
	}
	end := start
	for end < p.Size() && p.body[end] != 0 {
		end++
	}
	return start, end, nil
}

func TestStripesTellOfTheirData(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		parts, count, chunk := []device.Device{}, 1+rnd.IntN(4), 1+rnd.Int64N(7)
		for range count {
			body := make([]byte, 60)
			for i, filled := 0, false; i < len(body); i++ {
				if rnd.IntN(6) == 0 {
					filled = !filled
				}
				if filled {
					body[i] = 1
				}
			}
			parts = append(parts, newPatchy(body))
		}
		size := rnd.Int64N(int64(count) * (60 / chunk * chunk))
		t.Run(fmt.Sprintf("%d: %d parts, %d of %d", n, count, size, chunk), func(t *testing.T) {
			d, err := Stripes(parts, chunk, size)
			if err != nil {
				t.Fatal(err)
			}
			want, got := make([]byte, size), make([]byte, size)
			if _, err := d.ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
			for off := int64(0); off < size; {
				start, end, err := d.Data(off)
				if err != nil || start < off || end < start || end > size || start == end && end != size {
					t.Fatalf("data at or after %d: %d to %d, %v", off, start, end, err)
				}
				for ; start < end; start++ {
					got[start] = 1
				}
				off = end
			}
			if !bytes.Equal(got, want) {
				t.Errorf("data is\n%d, want\n%d", got, want)
			}
		})
	}
}

// TestFullStripesAreToldOfTogether counts what finding out how much is data takes: chunk by
// chunk it is minutes for a large volume.
func TestFullStripesAreToldOfTogether(t *testing.T) {
	a, b := newPatchy(bytes.Repeat([]byte{1}, 1<<20)), newPatchy(bytes.Repeat([]byte{1}, 1<<20))
	d, err := Stripes([]device.Device{a, b}, 512, 2<<20)
	if err != nil {
		t.Fatal(err)
	}
	if start, end, err := d.Data(700); start != 700 || end != 2<<20 || err != nil || a.asked+b.asked != 2 {
		t.Errorf("%d to %d, %v, after %d questions", start, end, err, a.asked+b.asked)
	}
}
