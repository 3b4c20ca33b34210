package powerloss

import (
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// serveEnv tells a program that imports this package that it has been started as
// the file system. It names the folder, the mount point and the file for the log, with
// newlines between them.
const serveEnv = "VMSYNC_POWERLOSS_SERVE"

// The file system must be a process of its own, and tests have no other program to start
// than themselves. A mapped file, or a child that is just being started, would stop a
// process that serves the very file system it uses.
func init() {
	args := strings.Split(os.Getenv(serveEnv), "\n")
	if len(args) != 3 {
		return
	}
	if err := serve(args[0], args[1], args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// recording is what the file system's process hands over.
type recording struct {
	Ops []Op
	Bad string
}

// serve mounts the file system, says so on stdout, and writes the log when it has been
// unmounted.
func serve(backing, mountpoint, log string) error {
	names, err := load(backing, false)
	if err != nil {
		return err
	}
	j := &journal{tree: names}
	top, err := newRoot(backing, j)
	if err != nil {
		return err
	}
	cached := time.Minute // nobody else changes the folder
	server, err := fs.Mount(mountpoint, top, &fs.Options{
		MountOptions: fuse.MountOptions{
			FsName: "powerloss", Name: "powerloss", DirectMountStrict: true,
			MaxWrite: 1 << 20, DisableXAttrs: true,
		},
		EntryTimeout: &cached, AttrTimeout: &cached,
	})
	if err != nil {
		return fmt.Errorf("mount %s: %w", mountpoint, err)
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		// The test has ended without a word: nothing may stay mounted.
		_ = unix.Unmount(mountpoint, unix.MNT_DETACH)
		os.Exit(1)
	}()
	fmt.Println("ready")
	server.Wait()

	j.mu.Lock()
	defer j.mu.Unlock()
	out := recording{Ops: j.ops}
	if j.bad != nil {
		out.Bad = j.bad.Error()
	}
	f, err := os.Create(log)
	if err != nil {
		return err
	}
	defer f.Close()
	return gob.NewEncoder(f).Encode(out)
}
