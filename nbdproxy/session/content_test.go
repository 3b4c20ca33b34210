package session_test

import (
	"os"

	"vmsync/internal/blockindex"
)

// raw returns what an image reads as.
func (l *lab) raw(image string) []byte {
	l.t.Helper()
	p := image + ".bytes"
	l.run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", image, p)
	b, err := os.ReadFile(p)
	if err != nil {
		l.t.Fatal(err)
	}
	return b
}

// blocks cuts a disk's content into the blocks of an index, and hashes them.
func blocks(content []byte) (hashes []blockindex.Hash) {
	for len(content) > 0 {
		n := min(len(content), blockindex.BlockSize)
		hashes = append(hashes, blockindex.Sum(content[:n]))
		content = content[n:]
	}
	return hashes
}

// content is the digest of a disk's content.
func content(disk []byte) string {
	var d blockindex.Digest
	for i, h := range blocks(disk) {
		d.Add(int64(i), h)
	}
	return d.String()
}

// index writes the index of a disk's content.
func (l *lab) index(name string, disk []byte) (path string) {
	l.t.Helper()
	f, err := blockindex.Create(l.path(name), int64(len(disk)))
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	for i, h := range blocks(disk) {
		if h == blockindex.Zero {
			continue
		}
		if err := f.Set(int64(i), h); err != nil {
			l.t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		l.t.Fatal(err)
	}
	return l.path(name)
}

// said returns what an index says, by block.
func (l *lab) said(path string) map[int64]blockindex.Hash {
	l.t.Helper()
	f, err := blockindex.Open(path)
	if err != nil {
		l.t.Fatal(err)
	}
	defer f.Close()
	m := map[int64]blockindex.Hash{}
	for e, err := range f.Present(l.t.Context()) {
		if err != nil {
			l.t.Fatal(err)
		}
		m[e.Block] = e.Hash
	}
	return m
}
