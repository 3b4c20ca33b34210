package fstest

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Features says what a filesystem can hold, for Populate.
type Features struct {
	Unix    bool  // owners, modes, links, device nodes, sockets, odd names
	Xattrs  bool  // extended attributes and ACLs
	Large   int64 // size in bytes of a sparse file; 0 for none
	Entries int   // files in one directory
	Rename  func(name string) string
}

// Populate fills a mounted filesystem, the same way for the same seed, with whatever is
// hard to read: files around every boundary, holes, preallocation, fragments, deep trees,
// hard links, device nodes, names that are not UTF-8, extended attributes of all sizes.
func Populate(t testing.TB, root string, seed uint64, f Features) {
	t.Helper()
	p := &population{t: t, root: root, rand: rand.New(rand.NewPCG(seed, 1))}
	p.sizes()
	p.holes(f.Large)
	p.fragments()
	p.directory(f.Entries)
	if f.Unix {
		p.names()
		p.nodes()
	}
	if f.Xattrs {
		p.xattrs()
	}
}

type population struct {
	t    testing.TB
	root string
	rand *rand.Rand
}

func (p *population) path(name string) string { return filepath.Join(p.root, name) }

func (p *population) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *population) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(p.rand.Uint32() >> 13)
	}
	return b
}

func (p *population) write(name string, b []byte) {
	p.t.Helper()
	p.must(os.MkdirAll(filepath.Dir(p.path(name)), 0o755))
	p.must(os.WriteFile(p.path(name), b, 0o644))
}

// sizes writes files of lengths around the boundaries of blocks and inline data.
func (p *population) sizes() {
	for _, n := range []int{0, 1, 59, 60, 61, 100, 150, 200, 300, 400, 511, 512, 513, 1023, 1024, 1025, 2048,
		4095, 4096, 4097, 8192, 12289, 65535, 65536, 65537, 262144, 1<<20 + 3, 5<<20 + 17} {
		p.write(fmt.Sprintf("sizes/%d", n), p.bytes(n))
	}
	stamp := time.Date(2024, 2, 29, 12, 34, 56, 123456789, time.UTC)
	p.must(os.Chtimes(p.path("sizes/4096"), stamp.Add(time.Hour), stamp))
}

// holes writes sparse files: holes at the begin, in the middle, at the end, and
// preallocated ranges that were never written.
func (p *population) holes(large int64) {
	p.must(os.MkdirAll(p.path("holes"), 0o755))
	sparse := func(name string, size int64, at ...int64) {
		file, err := os.Create(p.path(name))
		p.must(err)
		defer file.Close()
		for _, off := range at {
			_, err := file.WriteAt(p.bytes(5000), off)
			p.must(err)
		}
		p.must(file.Truncate(size))
	}
	sparse("holes/middle", 300000, 0, 200000)
	sparse("holes/begin", 100000, 90000)
	sparse("holes/end", 900001, 10)
	sparse("holes/all", 123456)
	if large > 0 {
		sparse("holes/large", large, 0, large/3, large/2+12345, large-6000)
	}
	file, err := os.Create(p.path("holes/preallocated"))
	p.must(err)
	defer file.Close()
	_, err = file.WriteAt(p.bytes(70000), 0)
	p.must(err)
	if err := unix.Fallocate(int(file.Fd()), 0, 100000, 500000); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		p.must(err)
	}
	_, err = file.WriteAt(p.bytes(10000), 300000)
	p.must(err)
}

// fragments writes two files in turns, so that both are in pieces.
func (p *population) fragments() {
	p.must(os.MkdirAll(p.path("fragments"), 0o755))
	var files [2]*os.File
	for i := range files {
		file, err := os.Create(p.path(fmt.Sprintf("fragments/%d", i)))
		p.must(err)
		defer file.Close()
		files[i] = file
	}
	for i := range 400 {
		file := files[i%2]
		_, err := file.WriteAt(p.bytes(4096), int64(i)*2*8192)
		p.must(err)
		if i%20 < 2 {
			p.must(file.Sync())
		}
	}
}

// directory makes one directory of many files, some of which are deleted again, and a
// deep tree.
func (p *population) directory(entries int) {
	p.must(os.MkdirAll(p.path("many"), 0o755))
	for i := range entries {
		p.must(os.WriteFile(p.path(fmt.Sprintf("many/file-%06d", i)), nil, 0o644))
	}
	for i := 0; i < entries; i += 7 {
		p.must(os.Remove(p.path(fmt.Sprintf("many/file-%06d", i))))
	}
	deep := "deep"
	for i := range 60 {
		deep = filepath.Join(deep, fmt.Sprintf("level-%d", i))
	}
	p.write(filepath.Join(deep, "bottom"), []byte("the bottom\n"))
}

// names makes files with names at the limits, and symbolic links of all lengths.
func (p *population) names() {
	p.write("names/"+strings.Repeat("n", 255), []byte("long"))
	p.write("names/\xff\xfe not UTF-8 \x80", []byte("bytes"))
	p.write("names/Grüße 世界 🐧", []byte("UTF-8"))
	p.write("names/line\nbreak\ttab", []byte("control"))
	p.write("names/ leading and trailing ", []byte("spaces"))
	for _, n := range []int{1, 30, 59, 60, 61, 255, 1000, 4000} {
		target := strings.Repeat("t/", n)[:n]
		if err := os.Symlink(target, p.path(fmt.Sprintf("names/link-%d", n))); !errors.Is(err, unix.ENAMETOOLONG) {
			p.must(err)
		}
	}
	p.must(os.Symlink("../../../../etc/passwd", p.path("names/out")))
	p.must(os.Symlink("/etc/passwd", p.path("names/absolute")))
}

// nodes makes hard links, device nodes, and modes and owners of all kinds.
func (p *population) nodes() {
	p.write("nodes/file", []byte("linked"))
	for i := range 5 {
		p.must(os.Link(p.path("nodes/file"), p.path(fmt.Sprintf("nodes/hard-%d", i))))
	}
	p.must(unix.Mknod(p.path("nodes/fifo"), unix.S_IFIFO|0o640, 0))
	p.must(unix.Mknod(p.path("nodes/socket"), unix.S_IFSOCK|0o600, 0))
	p.must(unix.Mknod(p.path("nodes/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	p.must(unix.Mknod(p.path("nodes/disk"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
	p.write("nodes/setuid", []byte("#!/bin/sh\n"))
	p.must(unix.Chmod(p.path("nodes/setuid"), 0o6755))
	p.must(os.Mkdir(p.path("nodes/sticky"), 0o700))
	p.must(unix.Chmod(p.path("nodes/sticky"), 0o1777))
	p.write("nodes/owned", []byte("owned"))
	p.must(os.Chown(p.path("nodes/owned"), 70000, 1<<31+5))
	p.write("nodes/old", []byte("old"))
	old := time.Date(1965, 6, 7, 8, 9, 10, 0, time.UTC)
	p.must(os.Chtimes(p.path("nodes/old"), old, old))
	p.write("nodes/future", []byte("future"))
	future := time.Date(2100, 1, 2, 3, 4, 5, 678, time.UTC)
	p.must(os.Chtimes(p.path("nodes/future"), future, future))
}

// xattrs sets extended attributes: small, large, of several namespaces, and ACLs.
func (p *population) xattrs() {
	set := func(file, name string, value []byte) {
		p.t.Helper()
		if err := unix.Lsetxattr(p.path(file), name, value, 0); err != nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.E2BIG) {
			p.t.Fatalf("setting %s of %d bytes on %s: %v", name, len(value), file, err)
		}
	}
	p.write("xattrs/small", []byte("x"))
	set("xattrs/small", "user.empty", nil)
	set("xattrs/small", "user.small", []byte("value"))
	set("xattrs/small", "trusted.t", []byte{0, 1, 2})
	set("xattrs/small", "security.label", []byte("label"))
	p.write("xattrs/many", []byte("x"))
	for i := range 40 {
		set("xattrs/many", fmt.Sprintf("user.name-%d", i), bytes.Repeat([]byte{byte(i)}, i))
	}
	p.write("xattrs/large", []byte("x"))
	set("xattrs/large", "user.large", p.bytes(3000))
	p.write("xattrs/huge", []byte("x"))
	set("xattrs/huge", "user.huge", p.bytes(60000))
	p.must(os.Mkdir(p.path("xattrs/dir"), 0o755))
	set("xattrs/dir", "user.dir", []byte("d"))
	p.write("xattrs/acl", []byte("x"))
	// u::rw-, u:1000:r--, g::r--, g:5000:rwx, m::rwx, o::---
	set("xattrs/acl", "system.posix_acl_access", []byte{2, 0, 0, 0,
		1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
		8, 0, 7, 0, 0x88, 0x13, 0, 0, 0x10, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff})
	set("xattrs/dir", "system.posix_acl_default", []byte{2, 0, 0, 0,
		1, 0, 7, 0, 0xff, 0xff, 0xff, 0xff, 4, 0, 5, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 5, 0, 0xff, 0xff, 0xff, 0xff})
}
