package nbdproxy

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"
)

// flat is a disk that costs as little as a disk can.
type flat []byte

func (f flat) ReadAt(p []byte, offset int64) (int, error)  { return copy(p, f[offset:]), nil }
func (f flat) WriteAt(p []byte, offset int64) (int, error) { return copy(f[offset:], p), nil }
func (f flat) Size() (int64, error)                        { return int64(len(f)), nil }
func (f flat) Sync() error                                 { return nil }

const benchSize = 64 << 20

// benchClient is in transmission with a server of its own, through TLS if there is a pki.
func benchClient(b *testing.B, p *pki, disk flat) *client {
	b.Helper()
	config := Config{Exports: []Export{{Name: "vda", Backend: disk}}, Log: slog.New(slog.DiscardHandler)}
	if p != nil {
		config.TLS = p.server(b)
	}
	c := serve(b, config).dial(b)
	c.greet(3)
	if p != nil {
		c.secure(p.client(b))
	}
	c.structured()
	c.goTo("vda")
	c.conn.SetDeadline(time.Time{})
	return c
}

// benchRead keeps depth reads in flight.
func benchRead(b *testing.B, c *client, flags uint16, length uint32, depth int) {
	b.Helper()
	b.SetBytes(int64(length))
	b.ReportAllocs()
	tokens := make(chan struct{}, depth)
	go func() {
		out := bufio.NewWriter(c.conn)
		for i := range uint64(b.N) {
			select {
			case tokens <- struct{}{}:
			default:
				out.Flush()
				tokens <- struct{}{}
			}
			out.Write(header(flags, cmdRead, i, i*uint64(length)%benchSize, length))
		}
		out.Flush()
	}()
	in := bufio.NewReaderSize(c.conn, 256<<10)
	b.ResetTimer()
	for range b.N {
		h, err := in.Peek(chunkHeaderSize)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, in, chunkHeaderSize+int64(binary.BigEndian.Uint32(h[16:]))); err != nil {
			b.Fatal(err)
		}
		<-tokens
	}
	b.StopTimer()
	c.disconnect()
}

func BenchmarkRead(b *testing.B) {
	disk := flat(pattern(benchSize))
	for _, length := range []uint32{4 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, depth := range []int{1, 16} {
			b.Run(fmt.Sprintf("%dK/depth=%d", length>>10, depth), func(b *testing.B) {
				benchRead(b, benchClient(b, nil, disk), 0, length, depth)
			})
		}
	}
}

func BenchmarkReadTLS(b *testing.B) {
	disk, p := flat(pattern(benchSize)), newPKI(b)
	for _, length := range []uint32{4 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dK", length>>10), func(b *testing.B) {
			benchRead(b, benchClient(b, p, disk), 0, length, 16)
		})
	}
}

// Zeros are sent as a hole, except to those who want them in one piece: the difference is
// what looking for them is worth.
func BenchmarkReadZeros(b *testing.B) {
	disk := flat(make([]byte, benchSize))
	for name, flags := range map[string]uint16{"as a hole": 0, "as data": cmdFlagDF} {
		b.Run(name, func(b *testing.B) {
			benchRead(b, benchClient(b, nil, disk), flags, 256<<10, 16)
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, length := range []uint32{4 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dK", length>>10), func(b *testing.B) {
			c := benchClient(b, nil, make(flat, benchSize))
			payload := pattern(int(length))
			b.SetBytes(int64(length))
			b.ReportAllocs()
			tokens := make(chan struct{}, 16)
			go func() {
				for i := range uint64(b.N) {
					tokens <- struct{}{}
					c.conn.Write(header(0, cmdWrite, i, i*uint64(length)%benchSize, length))
					c.conn.Write(payload)
				}
			}()
			for range b.N {
				if _, err := io.ReadFull(c.conn, make([]byte, 16)); err != nil {
					b.Fatal(err)
				}
				<-tokens
			}
			b.StopTimer()
			c.disconnect()
		})
	}
}
