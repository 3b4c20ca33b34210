package blockindex

import (
	"fmt"
	"io"
	"sync"
)

const (
	pageSize = 4096
	perPage  = pageSize / entrySize // entries
	slots    = 32                   // pages in memory: those of 512 MiB of disk
)

// page is one page of entries, of which page number n goes into slot n mod slots.
type page struct {
	mu    sync.Mutex
	n     int64 // number of the page that data holds; -1 for none
	data  []byte
	dirty bool // to be written
}

// Get is the hash of a block; present is false if the image says nothing of it.
func (x *File) Get(block int64) (h Hash, present bool, err error) {
	p, at, err := x.lock(block)
	if err != nil {
		return Hash{}, false, err
	}
	h = Hash(p.data[at:])
	p.mu.Unlock()
	return h, h != absent, nil
}

// Set says what a block holds; the zero value of [Hash] makes the block absent. It becomes
// durable with [File.Sync]. A full file system may show here or there.
func (x *File) Set(block int64, h Hash) error {
	p, at, err := x.lock(block)
	if err != nil {
		return err
	}
	defer p.mu.Unlock()
	// What is there already needs no write: absent blocks of a hole leave it one.
	if Hash(p.data[at:]) != h {
		copy(p.data[at:], h[:])
		p.dirty = true
	}
	return nil
}

// lock returns the locked page of a block, and where in it the block's entry is.
func (x *File) lock(block int64) (*page, int, error) {
	if block < 0 || block >= x.Blocks() {
		return nil, 0, x.wrap(fmt.Errorf("block %d of %d", block, x.Blocks()))
	}
	n := block / perPage
	p := &x.cache[n%slots]
	p.mu.Lock()
	if p.data == nil || p.n != n {
		if err := x.load(p, n); err != nil {
			p.mu.Unlock()
			return nil, 0, err
		}
	}
	return p, int(block%perPage) * entrySize, nil
}

// load makes a locked slot hold a page.
func (x *File) load(p *page, n int64) error {
	if err := x.writeBack(p); err != nil {
		return err
	}
	if p.data == nil {
		p.data = make([]byte, pageSize)
	}
	p.n = -1
	if err := x.readEntries(p.data, n*perPage); err != nil {
		return err
	}
	p.n = n
	return nil
}

// readEntries fills b with entries, from that of block; beyond the last they are
// absent.
func (x *File) readEntries(b []byte, block int64) error {
	n := min(int64(len(b)), (x.Blocks()-block)*entrySize)
	clear(b[n:])
	_, err := x.f.ReadAt(b[:n], fileSize(block))
	if err == io.EOF {
		err = fmt.Errorf("%w: it was cut short", ErrFormat)
	}
	return x.wrap(err)
}

// writeBack writes a locked slot's page if it has to be.
func (x *File) writeBack(p *page) error {
	if !p.dirty {
		return nil
	}
	block := p.n * perPage
	n := min(pageSize, (x.Blocks()-block)*entrySize)
	if _, err := x.f.WriteAt(p.data[:n], fileSize(block)); err != nil {
		return x.wrap(err)
	}
	p.dirty = false
	return nil
}

// flush writes all pages that have to be.
func (x *File) flush() error {
	for i := range x.cache {
		p := &x.cache[i]
		p.mu.Lock()
		err := x.writeBack(p)
		p.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}
