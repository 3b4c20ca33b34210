package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// pageSize is what a [content] is kept in, in bytes. It is unrelated to any block
// size of the product.
const pageSize = 64 << 10

// A page is never changed once a content has it: contents share pages.
type page [pageSize]byte

// content is what a disk reads as, byte for byte. Pages that are missing are zeros.
type content struct {
	size  int64
	pages map[int64]*page
}

func newContent(size int64) *content { return &content{size: size, pages: make(map[int64]*page)} }

// clone gives a content that goes its own way from now on.
func (c *content) clone() *content { return &content{size: c.size, pages: maps.Clone(c.pages)} }

// write puts data at an offset, within the disk.
func (c *content) write(offset int64, data []byte) {
	for len(data) > 0 {
		number, within := offset/pageSize, offset%pageSize
		fresh := new(page)
		if old := c.pages[number]; old != nil {
			*fresh = *old
		}
		n := copy(fresh[within:], data)
		c.set(number, fresh)
		offset, data = offset+int64(n), data[n:]
	}
}

// discard makes a range read as qemu lets it after a discard on a qcow2 image with
// clusters of a page: whole clusters become zeros, parts of one stay as they are.
func (c *content) discard(offset, length int64) {
	first, end := (offset+pageSize-1)/pageSize, (offset+length)/pageSize
	if offset+length == c.size {
		end = c.count()
	}
	for n := first; n < end; n++ {
		delete(c.pages, n)
	}
}

// count is how many pages the disk has, the last of which may be cut short.
func (c *content) count() int64 { return (c.size + pageSize - 1) / pageSize }

func (c *content) set(number int64, p *page) {
	if *p == (page{}) {
		delete(c.pages, number)
	} else {
		c.pages[number] = p
	}
}

// zeros is the page that is not kept.
var zeros page

// at is a page's bytes, no more than the disk has.
func (c *content) at(number int64) []byte {
	p := c.pages[number]
	if p == nil {
		p = &zeros
	}
	return p[:min(pageSize, c.size-number*pageSize)]
}

// load reads the content of a raw file. Pages that are as in like are shared with it;
// like may be nil.
func load(f *os.File, like *content) (*content, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	c := newContent(st.Size())
	err = dataPages(f, c.size, func(number int64, b []byte) error {
		p := new(page)
		copy(p[:], b)
		if like != nil && like.pages[number] != nil && *like.pages[number] == *p {
			p = like.pages[number]
		}
		c.set(number, p)
		return nil
	})
	return c, err
}

// difference says in words how a raw file differs from the content; "" if it does not.
func (c *content) difference(f *os.File) (string, error) {
	st, err := f.Stat()
	if err != nil {
		return "", err
	}
	if st.Size() != c.size {
		return fmt.Sprintf("it has %d bytes, the disk had %d", st.Size(), c.size), nil
	}
	var wrong []int64
	text := ""
	look := func(number int64, got []byte) {
		want := c.at(number)
		if bytes.Equal(got, want) {
			return
		}
		if wrong = append(wrong, number); len(wrong) == 1 {
			i := 0
			for got[i] == want[i] {
				i++
			}
			end := min(i+16, len(want))
			text = fmt.Sprintf("first at byte %d: %x where %x was", number*pageSize+int64(i), got[i:end], want[i:end])
		}
	}
	seen := make(map[int64]bool)
	if err := dataPages(f, c.size, func(number int64, b []byte) error {
		seen[number] = true
		look(number, b)
		return nil
	}); err != nil {
		return "", err
	}
	for _, number := range slices.Sorted(maps.Keys(c.pages)) {
		if !seen[number] {
			look(number, zeros[:len(c.at(number))])
		}
	}
	if len(wrong) == 0 {
		return "", nil
	}
	return fmt.Sprintf("%d pages of 64 KiB differ, %s; pages %v", len(wrong), text, wrong[:min(len(wrong), 40)]), nil
}

// dataPages calls do with every page of a raw file that is not a hole.
func dataPages(f *os.File, size int64, do func(number int64, b []byte) error) error {
	var buf page
	for offset := int64(0); offset < size; {
		data, end, err := nextData(f, offset, size)
		if err != nil {
			return err
		}
		for n := data / pageSize; n*pageSize < end; n++ {
			b := buf[:min(pageSize, size-n*pageSize)]
			if _, err := f.ReadAt(b, n*pageSize); err != nil && err != io.EOF {
				return err
			}
			if err := do(n, b); err != nil {
				return err
			}
		}
		offset = (end + pageSize - 1) / pageSize * pageSize // the page that data ends in is done
	}
	return nil
}
