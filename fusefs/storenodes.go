package fusefs

import (
	"time"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// place is where a node is in the tree, and how old it looks.
type place struct {
	path  string // from the root, "" for the root itself
	mtime time.Time
	still bool // it never changes while it is there
}

func (p place) key() string { return p.path }

func (p place) valid() time.Duration {
	if p.still {
		return forever
	}
	return briefly
}

func (p place) attributes(kind uint32, size int64) filesystem.Attr {
	links := uint32(1)
	if kind == unix.S_IFDIR {
		links = 2
	}
	return filesystem.Attr{Mode: kind, Links: links, Size: size, Blocks: (size + 511) / 512, Atime: p.mtime, Mtime: p.mtime, Ctime: p.mtime}
}

// linkNode is a symbolic link. Its target is part of its key: one that leads elsewhere is
// another link, and what the kernel remembers of this one stays right.
type linkNode struct {
	place
	to string
}

func (l *linkNode) key() string    { return l.path + " -> " + l.to }
func (l *linkNode) target() string { return l.to }

func (l *linkNode) attr() (filesystem.Attr, error) {
	a := l.attributes(unix.S_IFLNK, int64(len(l.to)))
	a.Blocks = 0
	return a, nil
}

// textNode is a file whose content is made when it is asked for.
type textNode struct {
	place
	text func() ([]byte, error)
}

func (t *textNode) secret() bool { return false }

func (t *textNode) attr() (filesystem.Attr, error) {
	text, err := t.text()
	return t.attributes(unix.S_IFREG, int64(len(text))), err
}

func (t *textNode) open() (content, error) {
	text, err := t.text()
	return bytesContent(text), err
}

func folderEntry(name string) filesystem.Entry {
	return filesystem.Entry{Name: name, Mode: unix.S_IFDIR}
}

func fileEntry(name string) filesystem.Entry {
	return filesystem.Entry{Name: name, Mode: unix.S_IFREG}
}

func linkEntry(name string) filesystem.Entry {
	return filesystem.Entry{Name: name, Mode: unix.S_IFLNK}
}
