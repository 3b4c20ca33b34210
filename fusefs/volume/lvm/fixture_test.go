package lvm

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"vmsync/fusefs/device"
	"vmsync/fusefs/volume/partition"
)

const blockSize = 4096

// sparse is a disk in memory of which only the blocks with data are kept.
type sparse struct {
	size   int64
	blocks map[int64][]byte
}

func (s *sparse) Size() int64 { return s.size }

func (s *sparse) ReadAt(p []byte, off int64) (int, error) {
	return device.ReadWithin(p, off, s.size, func(p []byte, off int64) (int, error) {
		for done := 0; done < len(p); {
			at := off + int64(done)
			n := min(len(p)-done, int(blockSize-at%blockSize))
			if block := s.blocks[at/blockSize]; block != nil {
				copy(p[done:done+n], block[at%blockSize:])
			} else {
				clear(p[done : done+n])
			}
			done += n
		}
		return len(p), nil
	})
}

func (s *sparse) Data(off int64) (int64, int64, error) {
	for at := off / blockSize * blockSize; at < s.size; at += blockSize {
		if s.blocks[at/blockSize] != nil {
			return max(at, off), min(at+blockSize, s.size), nil
		}
	}
	return s.size, s.size, nil
}

// copy returns a disk that can be changed.
func (s *sparse) copy() *sparse {
	c := &sparse{s.size, map[int64][]byte{}}
	for at, block := range s.blocks {
		c.blocks[at] = bytes.Clone(block)
	}
	return c
}

// flip changes a byte of a disk.
func (s *sparse) flip(off int64) {
	block := s.blocks[off/blockSize]
	if block == nil {
		block = make([]byte, blockSize)
		s.blocks[off/blockSize] = block
	}
	block[off%blockSize] ^= 0xff
}

// sum is the size and the SHA-256 of a volume, as a kernel read it.
type sum struct {
	size int64
	hash string
}

// fixture returns the disks that testdata/make-lvm.sh made, the second of which has its
// physical volume on a partition, and what a kernel read of the volumes on them.
func fixture(t testing.TB) ([]*sparse, map[string]sum) {
	t.Helper()
	file, err := os.Open("testdata/lvm.tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	var disks []*sparse
	sums := map[string]sum{}
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return disks, sums
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(header.Name, ".img") {
			disks = append(disks, load(t, archive, header.Size))
			continue
		}
		text, err := io.ReadAll(archive)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var name string
			var s sum
			if _, err := fmt.Sscan(line, &name, &s.size, &s.hash); err != nil {
				t.Fatal(err)
			}
			sums[name] = s
		}
	}
}

func load(t testing.TB, r io.Reader, size int64) *sparse {
	t.Helper()
	disk := &sparse{size, map[int64][]byte{}}
	block, zeros := make([]byte, blockSize), make([]byte, blockSize)
	for at := int64(0); at < size/blockSize; at++ {
		if _, err := io.ReadFull(r, block); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(block, zeros) {
			disk.blocks[at] = bytes.Clone(block)
		}
	}
	return disk
}

// physicals returns the physical volumes of the fixture.
func physicals(t testing.TB, disks []*sparse) []Physical {
	t.Helper()
	var out []Physical
	for i, d := range disks {
		p := Physical{Name: fmt.Sprintf("disk%d", i), Device: d}
		table, err := partition.Read(d)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(table.Partitions); n > 0 {
			last := table.Partitions[n-1]
			if p.Device, err = device.Section(d, last.Start, last.Length); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, p)
	}
	return out
}
