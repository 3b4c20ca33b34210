package stream

import (
	"bytes"
	"io"
	"testing"

	"vmsync/nbdproxy/spec"
)

// sink is a connection that takes everything.
type sink struct{ io.Writer }

// BenchmarkEncode makes frames of a MiB each, half noise and half text, in as many
// goroutines as there are processors.
func BenchmarkEncode(b *testing.B) {
	payloads := [][]byte{noise(MaxPayload), text(MaxPayload)}
	for _, m := range []spec.Mode{spec.ModeNone, spec.ModeS2, spec.ModeZstd, spec.ModeAuto} {
		b.Run(string(m), func(b *testing.B) {
			h := Header{Domain: "d", Checkpoint: "c", Parent: "p", Disks: []Disk{{Name: "vda", Size: MaxSize, Incremental: true}}}
			e, err := NewEncoder(h, spec.Compression{Mode: m, Level: 1}, sink{io.Discard}, sink{io.Discard})
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(MaxPayload)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				extents := make([]Extent, 1)
				for i := 0; pb.Next(); i++ {
					extents[0] = Extent{int64(i%1000) << 20, MaxPayload}
					if err := e.Data(0, extents, payloads[i%2]); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkDecode reads and verifies frames of a MiB each.
func BenchmarkDecode(b *testing.B) {
	const frames = 64
	for _, m := range []spec.Mode{spec.ModeNone, spec.ModeS2, spec.ModeZstd} {
		b.Run(string(m), func(b *testing.B) {
			var buf bytes.Buffer
			h := Header{Domain: "d", Checkpoint: "c", Disks: []Disk{{Name: "vda", Size: frames * MaxPayload}}}
			e, err := NewEncoder(h, spec.Compression{Mode: m, Level: 1}, &buf)
			if err != nil {
				b.Fatal(err)
			}
			for i := range int64(frames) {
				if err := e.Data(0, []Extent{{i << 20, MaxPayload}}, [][]byte{noise(MaxPayload), text(MaxPayload)}[i%2]); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := e.EndDisk(0); err != nil {
				b.Fatal(err)
			}
			if err := e.End(); err != nil {
				b.Fatal(err)
			}
			b.SetBytes(frames * MaxPayload)
			b.ReportAllocs()
			for range b.N {
				d, err := NewDecoder(bytes.NewReader(buf.Bytes()))
				if err != nil {
					b.Fatal(err)
				}
				if err := drain(d.Lanes()[0]); err != nil {
					b.Fatal(err)
				}
				if _, err := d.Result(); err != nil {
					b.Fatal(err)
				}
				d.Close()
			}
		})
	}
}
