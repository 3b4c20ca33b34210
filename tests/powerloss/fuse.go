package powerloss

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// markPrefix begins the names that are no files: looking one up is a mark.
const markPrefix = ".powerloss-mark "

// journal is what all nodes of a file system write to. Its lock is held from an
// operation on the folder beneath until it is written down, so that the order is one.
type journal struct {
	mu   sync.Mutex
	tree *tree // names as they are now, files without content
	ops  []Op
	bad  error // something happened that no Op describes
}

func (j *journal) add(o Op) { j.ops = append(j.ops, o) }

// node is a file or folder of the file system.
type node struct {
	*fs.LoopbackNode
	j  *journal
	id int // in the tree; set by whoever makes or finds the node, with the journal's lock held
}

var (
	_ fs.NodeWrapChilder = (*node)(nil)
	_ fs.NodeLookuper    = (*node)(nil)
	_ fs.NodeCreater     = (*node)(nil)
	_ fs.NodeOpener      = (*node)(nil)
	_ fs.NodeMkdirer     = (*node)(nil)
	_ fs.NodeUnlinker    = (*node)(nil)
	_ fs.NodeRmdirer     = (*node)(nil)
	_ fs.NodeRenamer     = (*node)(nil)
	_ fs.NodeLinker      = (*node)(nil)
	_ fs.NodeFsyncer     = (*node)(nil)
	_ fs.NodeSetattrer   = (*node)(nil)
)

// newRoot makes the file system's root over a folder.
func newRoot(backing string, j *journal) (*node, error) {
	loopback, err := fs.NewLoopbackRoot(backing)
	if err != nil {
		return nil, err
	}
	return &node{LoopbackNode: loopback.(*fs.LoopbackNode), j: j, id: root}, nil
}

// WrapChild makes nodes of those that the loopback file system makes.
func (n *node) WrapChild(_ context.Context, ops fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{LoopbackNode: ops.(*fs.LoopbackNode), j: n.j, id: -1}
}

// child is the node of an inode that has just been found or made.
func (n *node) child(name string, found *fs.Inode) *node {
	c := found.Operations().(*node)
	c.id = n.j.tree.inodes[n.id].names[name]
	return c
}

// backing is the path beneath, path that within the file system.
func (n *node) backing() string { return filepath.Join(n.RootData.Path, n.path()) }
func (n *node) path() string    { return n.EmbeddedInode().Path(nil) }

func (n *node) Lookup(ctx context.Context, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	if mark, ok := strings.CutPrefix(name, markPrefix); ok && n.id == root {
		n.j.add(Op{Kind: Mark, Path: mark})
		return nil, syscall.ENOENT
	}
	found, errno := n.LoopbackNode.Lookup(ctx, name, out)
	if errno == 0 {
		n.child(name, found)
	}
	return found, errno
}

// made writes down a new name.
func (n *node) made(kind Kind, name string, found *fs.Inode) *node {
	id := n.j.tree.next
	o := Op{Kind: kind, Inode: id, Dir: n.id, Name: name, Path: filepath.Join(n.path(), name)}
	n.j.tree.apply(o)
	n.j.add(o)
	return n.child(name, found)
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	_, err := os.Lstat(filepath.Join(n.backing(), name))
	found, handle, fuseFlags, errno := n.LoopbackNode.Create(ctx, name, beneath(flags), mode, out)
	if errno != 0 {
		return nil, nil, 0, errno
	}
	var c *node
	if err != nil {
		c = n.made(Create, name, found)
	} else if c = n.child(name, found); flags&unix.O_TRUNC != 0 {
		c.truncated(0)
	}
	return found, &file{LoopbackFile: handle.(*fs.LoopbackFile), n: c}, fuseFlags, 0
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	handle, fuseFlags, errno := n.LoopbackNode.Open(ctx, beneath(flags))
	if errno != 0 {
		return nil, 0, errno
	}
	if flags&unix.O_TRUNC != 0 {
		n.truncated(0)
	}
	return &file{LoopbackFile: handle.(*fs.LoopbackFile), n: n}, fuseFlags, 0
}

// beneath are the flags to open a file of the folder beneath with. The buffers that it
// is read into and written from are not aligned as O_DIRECT wants them.
func beneath(flags uint32) uint32 { return flags &^ (unix.O_DIRECT | unix.O_SYNC | unix.O_DSYNC) }

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	found, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	if errno == 0 {
		n.made(Mkdir, name, found)
	}
	return found, errno
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	found, errno := n.LoopbackNode.Link(ctx, target, name, out)
	if errno == 0 {
		o := Op{Kind: Link, Inode: target.(*node).id, Dir: n.id, Name: name, Path: filepath.Join(n.path(), name)}
		n.j.tree.apply(o)
		n.j.add(o)
		n.child(name, found)
	}
	return found, errno
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.remove(name, func() syscall.Errno { return n.LoopbackNode.Unlink(ctx, name) })
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.remove(name, func() syscall.Errno { return n.LoopbackNode.Rmdir(ctx, name) })
}

func (n *node) remove(name string, do func() syscall.Errno) syscall.Errno {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	errno := do()
	if errno == 0 {
		o := Op{Kind: Remove, Inode: n.j.tree.inodes[n.id].names[name], Dir: n.id, Name: name, Path: filepath.Join(n.path(), name)}
		n.j.tree.apply(o)
		n.j.add(o)
	}
	return errno
}

func (n *node) Rename(ctx context.Context, name string, newParent fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags&^unix.RENAME_NOREPLACE != 0 {
		return n.refuse("a rename of a special kind")
	}
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	errno := n.LoopbackNode.Rename(ctx, name, newParent, newName, flags)
	if errno == 0 {
		to := newParent.(*node)
		o := Op{Kind: Rename, Inode: n.j.tree.inodes[n.id].names[name], OldDir: n.id, OldName: name,
			Dir: to.id, Name: newName, Path: filepath.Join(to.path(), newName)}
		n.j.tree.apply(o)
		n.j.add(o)
	}
	return errno
}

// Fsync of a file or a folder. Nothing is synced beneath: that would only take time.
func (n *node) Fsync(_ context.Context, _ fs.FileHandle, _ uint32) syscall.Errno {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	n.j.add(Op{Kind: Sync, Inode: n.id, Path: n.path()})
	return 0
}

func (n *node) Setattr(ctx context.Context, handle fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	var errno syscall.Errno
	if f, ok := handle.(*file); ok {
		errno = f.LoopbackFile.Setattr(ctx, in, out)
	} else {
		errno = n.LoopbackNode.Setattr(ctx, nil, in, out)
	}
	if size, ok := in.GetSize(); ok && errno == 0 {
		n.truncated(int64(size))
	}
	return errno
}

func (n *node) truncated(size int64) {
	n.j.add(Op{Kind: Truncate, Inode: n.id, Length: size, Path: n.path()})
}

// refuse says that something is not supported, so that a recording never misses a thing
// silently.
func (n *node) refuse(what string) syscall.Errno {
	n.j.mu.Lock()
	defer n.j.mu.Unlock()
	n.j.bad = errors.Join(n.j.bad, errors.New(what+" cannot be recorded"))
	return syscall.EOPNOTSUPP
}

// Symlink is refused.
func (n *node) Symlink(context.Context, string, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, n.refuse("a symbolic link")
}

// Mknod is refused.
func (n *node) Mknod(context.Context, string, uint32, uint32, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, n.refuse("a device or pipe")
}

// Tmpfile is refused, which programs are prepared for.
func (n *node) Tmpfile(context.Context, uint32, uint32, *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	return nil, nil, 0, syscall.EOPNOTSUPP
}

// CopyFileRange is refused: the kernel reads and writes instead.
func (n *node) CopyFileRange(context.Context, fs.FileHandle, uint64, *fs.Inode, fs.FileHandle, uint64, uint64, uint64) (uint32, syscall.Errno) {
	return 0, syscall.EOPNOTSUPP
}

// file is an open file.
type file struct {
	*fs.LoopbackFile
	n *node
}

var (
	_ fs.FileWriter          = (*file)(nil)
	_ fs.FileAllocater       = (*file)(nil)
	_ fs.FilePassthroughFder = (*file)(nil)
)

// PassthroughFd keeps the kernel from writing without asking.
func (f *file) PassthroughFd() (int, bool) { return 0, false }

// Ioctl is refused: it could clone ranges of other files.
func (f *file) Ioctl(context.Context, uint32, uint64, []byte, []byte) (int32, syscall.Errno) {
	return 0, syscall.ENOTTY
}

func (f *file) Write(ctx context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	f.n.j.mu.Lock()
	defer f.n.j.mu.Unlock()
	n, errno := f.LoopbackFile.Write(ctx, data, off)
	if errno == 0 {
		f.n.j.add(Op{Kind: Write, Inode: f.n.id, Offset: off, Length: int64(n), Data: append([]byte(nil), data[:n]...), Path: f.n.path()})
	}
	return n, errno
}

func (f *file) Allocate(ctx context.Context, off, size uint64, mode uint32) syscall.Errno {
	const known = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_ZERO_RANGE
	if mode&^known != 0 {
		return syscall.EOPNOTSUPP
	}
	f.n.j.mu.Lock()
	defer f.n.j.mu.Unlock()
	errno := f.LoopbackFile.Allocate(ctx, off, size, mode)
	if errno != 0 {
		return errno
	}
	o := Op{Inode: f.n.id, Offset: int64(off), Length: int64(size), Path: f.n.path()}
	if mode&unix.FALLOC_FL_KEEP_SIZE == 0 {
		o.Kind = Allocate
		f.n.j.add(o)
	}
	if mode&(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_ZERO_RANGE) != 0 {
		o.Kind = Zero
		f.n.j.add(o)
	}
	return 0
}

// stream is what the loopback file system's open folders can do.
type stream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// folder is an open folder.
type folder struct {
	stream
	n *node
}

var _ fs.FileFsyncdirer = (*folder)(nil)

// OpendirHandle opens a folder so that syncing it comes to the node.
func (n *node) OpendirHandle(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	handle, fuseFlags, errno := n.LoopbackNode.OpendirHandle(ctx, flags)
	if errno != 0 {
		return nil, 0, errno
	}
	return &folder{stream: handle.(stream), n: n}, fuseFlags, 0
}

// Fsyncdir is node.Fsync.
func (d *folder) Fsyncdir(ctx context.Context, flags uint32) syscall.Errno {
	return d.n.Fsync(ctx, d, flags)
}
