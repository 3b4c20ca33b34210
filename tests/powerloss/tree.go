package powerloss

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/zeebo/xxh3"
)

// root is the number of the recorded folder itself.
const root = 0

// tree is a folder in memory.
type tree struct {
	inodes map[int]*inode
	next   int // number of the next inode
}

// inode is a file, or a folder if names is not nil.
type inode struct {
	names  map[string]int
	data   []byte
	shared bool // data belongs to other trees, too
}

// load reads a folder. Numbers are given in the order of the names, so that two who read
// the same folder agree on them. Without content files are empty.
func load(dir string, content bool) (*tree, error) {
	t := &tree{inodes: map[int]*inode{}}
	seen := map[uint64]int{}
	var visit func(path string) (int, error)
	visit = func(path string) (int, error) {
		info, err := os.Lstat(path)
		if err != nil {
			return 0, err
		}
		ino := info.Sys().(*syscall.Stat_t).Ino
		if n, ok := seen[ino]; ok {
			return n, nil // a hard link
		}
		n := t.add(info.IsDir())
		seen[ino] = n
		switch {
		case info.IsDir():
			entries, err := os.ReadDir(path)
			if err != nil {
				return 0, err
			}
			for _, e := range entries {
				child, err := visit(filepath.Join(path, e.Name()))
				if err != nil {
					return 0, err
				}
				t.inodes[n].names[e.Name()] = child
			}
		case !info.Mode().IsRegular():
			return 0, fmt.Errorf("%s is neither a file nor a folder", path)
		case content:
			t.inodes[n].data, err = os.ReadFile(path)
		}
		return n, err
	}
	_, err := visit(dir)
	return t, err
}

// add makes an inode without a name and returns its number.
func (t *tree) add(folder bool) int {
	n := t.next
	t.next++
	t.inodes[n] = &inode{}
	if folder {
		t.inodes[n].names = map[string]int{}
	}
	return n
}

// clone copies the tree; content is copied when one of them changes it.
func (t *tree) clone() *tree {
	c := &tree{inodes: make(map[int]*inode, len(t.inodes)), next: t.next}
	for n, i := range t.inodes {
		i.shared = true
		c.inodes[n] = &inode{names: maps.Clone(i.names), data: i.data, shared: true}
	}
	return c
}

// apply does an operation. It does what it can where others before it were lost: a name
// is given to an inode whether or not it had the old one.
func (t *tree) apply(o Op) {
	switch o.Kind {
	case Create, Mkdir:
		if t.inodes[o.Inode] == nil {
			t.inodes[o.Inode] = &inode{}
			if o.Kind == Mkdir {
				t.inodes[o.Inode].names = map[string]int{}
			}
			t.next = max(t.next, o.Inode+1)
		}
		t.inodes[o.Dir].names[o.Name] = o.Inode
	case Link:
		t.inodes[o.Dir].names[o.Name] = o.Inode
	case Rename:
		if old := t.inodes[o.OldDir].names; old[o.OldName] == o.Inode {
			delete(old, o.OldName)
		}
		t.inodes[o.Dir].names[o.Name] = o.Inode
	case Remove:
		if names := t.inodes[o.Dir].names; names[o.Name] == o.Inode {
			delete(names, o.Name)
		}
	case Write:
		copy(t.inodes[o.Inode].grow(o.Offset + o.Length)[o.Offset:], o.Data)
	case Truncate:
		i := t.inodes[o.Inode]
		i.data = i.grow(o.Length)[:o.Length]
	case Allocate:
		t.inodes[o.Inode].grow(o.Offset + o.Length)
	case Zero:
		data := t.inodes[o.Inode].grow(0)
		from, to := min(o.Offset, int64(len(data))), min(o.Offset+o.Length, int64(len(data)))
		clear(data[from:to])
	}
}

// exist makes an inode that has lost its name, so that operations find it.
func (t *tree) exist(o Op) {
	if o.Kind == Create || o.Kind == Mkdir {
		i := &inode{}
		if o.Kind == Mkdir {
			i.names = map[string]int{}
		}
		t.inodes[o.Inode] = i
		t.next = max(t.next, o.Inode+1)
	}
}

// grow makes the file's content its own and at least size bytes long, and returns it.
func (i *inode) grow(size int64) []byte {
	if i.shared {
		i.data, i.shared = slices.Clone(i.data), false
	}
	if more := int(size) - len(i.data); more > 0 {
		i.data = append(i.data, make([]byte, more)...)
	}
	return i.data
}

// key is equal for trees that look the same to who reads them.
func (t *tree) key() xxh3.Uint128 {
	h := xxh3.New()
	sums := map[int][]byte{}
	var visit func(n int)
	visit = func(n int) {
		i := t.inodes[n]
		if i.names == nil {
			if sums[n] == nil {
				sum := xxh3.Hash128(i.data).Bytes()
				sums[n] = binary.LittleEndian.AppendUint64(sum[:], uint64(len(i.data)))
			}
			h.Write(sums[n])
			return
		}
		for _, name := range slices.Sorted(maps.Keys(i.names)) {
			fmt.Fprintf(h, "/%q", name)
			visit(i.names[name])
		}
		h.WriteString("|")
	}
	visit(root)
	return h.Sum128()
}

// write makes the tree in a folder that is there and empty. Hard links become copies.
func (t *tree) write(dir string) error {
	var visit func(path string, n int) error
	visit = func(path string, n int) error {
		for name, child := range t.inodes[n].names {
			p := filepath.Join(path, name)
			if i := t.inodes[child]; i.names == nil {
				if err := writeSparse(p, i.data); err != nil {
					return err
				}
				continue
			}
			if err := os.Mkdir(p, 0o755); err != nil {
				return err
			}
			if err := visit(p, child); err != nil {
				return err
			}
		}
		return nil
	}
	return visit(dir, root)
}

// writeSparse writes a file without its zeros.
func writeSparse(path string, data []byte) error {
	const block = 64 << 10
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	var zeros [block]byte
	for off := 0; off < len(data); off += block {
		part := data[off:min(off+block, len(data))]
		if bytes.Equal(part, zeros[:len(part)]) {
			continue
		}
		if _, err := f.WriteAt(part, int64(off)); err != nil {
			return err
		}
	}
	return f.Truncate(int64(len(data)))
}
