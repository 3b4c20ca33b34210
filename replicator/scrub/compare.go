package scrub

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"vmsync/internal/blockindex"
	"vmsync/internal/proc"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/nbdproxy/spec"
	"vmsync/replicator"
	"vmsync/replicator/dataplane"
)

// clients is how many connections vmsync-nbd may make to a server.
const clients = 8

// compare looks at one image: at its structure, then at its data. An error says nothing
// about the image.
func (s *scrub) compare(ctx context.Context, v *sight) (*finding, error) {
	f := &finding{image: v.image}
	var err error
	if f.damage, err = s.structure(ctx, v); err != nil || f.damage != "" {
		return f, err
	}
	index, err := blockindex.Open(s.path(store.IndexName(v.image.Name)))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.damage = "its block index is missing"
	case errors.Is(err, blockindex.ErrFormat), errors.Is(err, blockindex.ErrVersion):
		f.damage = "its block index is damaged"
	case err != nil:
		f.damage = "its block index cannot be read: " + firstLine(err)
	case index.Size() != v.image.Size && v.mergeInto() == "":
		f.damage = fmt.Sprintf("its block index is of a disk of %d bytes, not %d", index.Size(), v.image.Size)
	}
	if index != nil {
		defer index.Close()
	}
	if f.damage != "" {
		if v.mergeInto() != "" {
			f.damage, f.unknown = "", "it is being merged"
		}
		return f, nil
	}
	return f, s.data(ctx, v, index, f)
}

// structure compares an image's header with the manifest and has qemu check its tables.
// It returns what is wrong with them.
func (s *scrub) structure(ctx context.Context, v *sight) (string, error) {
	path := s.path(v.image.Name)
	st, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "the file is missing", nil
	case err != nil:
		return "", err
	case !st.Mode().IsRegular():
		return "it is no regular file", nil
	}
	info, err := qemu.Inspect(ctx, path)
	if err != nil {
		return broken(ctx, "it is no qcow2 image", err)
	}
	backing, format := "", ""
	if v.image.Backing != "" {
		backing, format = filepath.Base(v.image.Backing), "qcow2"
	}
	switch {
	case info.Corrupt:
		return "qemu has marked it as corrupt", nil
	case info.Backing != backing:
		return fmt.Sprintf("it lies over %q, not over %q", info.Backing, backing), nil
	case info.BackingFormat != format:
		return fmt.Sprintf("the format of what it lies over is %q, not %q", info.BackingFormat, format), nil
	case info.Compat != "1.1":
		return fmt.Sprintf("it is of version %q, not 1.1", info.Compat), nil
	case info.DataFile != "":
		return fmt.Sprintf("it keeps its data in %q", info.DataFile), nil
	case v.mergeInto() != "":
		v.image.Size = info.Size // it grows or shrinks on the way
	case info.Size != v.image.Size:
		return fmt.Sprintf("its disk has %d bytes, not %d", info.Size, v.image.Size), nil
	}
	if err := qemu.Check(ctx, path); err != nil {
		return broken(ctx, "its structure is damaged", err)
	}
	return "", nil
}

// broken makes a damage of the failure of a program that looked at an image.
func broken(ctx context.Context, what string, err error) (string, error) {
	exit, ok := errors.AsType[*proc.ExitError](err)
	if !ok || exit.Cause != nil || exit.Signal != 0 || operational(ctx, err) {
		return "", err
	}
	if exit.Stderr != "" {
		what += ": " + firstLine(errors.New(exit.Stderr))
	}
	return what, nil
}

// firstLine is an error's text for a list.
func firstLine(err error) string {
	line, _, _ := strings.Cut(strings.TrimSpace(err.Error()), "\n")
	return line
}

// data reads what the image holds itself and compares it with its index; then what the
// indexes of the image's chain say with what was received.
func (s *scrub) data(ctx context.Context, v *sight, index *blockindex.File, f *finding) error {
	out := filepath.Join(s.dir, "index")
	defer os.Remove(out)
	e := qemu.Export{Image: s.path(v.image.Name), Socket: filepath.Join(s.dir, "nbd.sock"), Name: v.image.Disk, Clients: clients, ReadOnly: true, Depth: true}
	d := spec.HashDisk{Name: v.image.Disk, Size: v.image.Size, Top: v.image.Backing != "", Out: out}
	if below := v.manifest.Image(v.image.Backing); below != nil {
		d.Below = below.Size
	}
	result, err := dataplane.HashImage(ctx, s.program, e, d, func(p spec.Progress) { s.meter.read(v.image, p.Done) })
	f.read = result.DataBytes
	if err != nil {
		return s.unreadable(ctx, v, f, err)
	}
	if f.damage, err = s.differences(ctx, v, index, out); err == nil && f.damage == "" {
		f.damage, err = s.content(ctx, v)
	}
	if err != nil && ctx.Err() == nil {
		f.damage, err = "its block index cannot be read: "+firstLine(err), nil
	}
	return err
}

// unreadable judges an image that could not be read.
func (s *scrub) unreadable(ctx context.Context, v *sight, f *finding, err error) error {
	crashed, isCrash := errors.AsType[*dataplane.ServerError](err)
	switch {
	case operational(ctx, err):
		return err
	case s.damagedBelow(v):
		f.unknown = "what it lies over is damaged"
		return nil
	case isCrash:
		return crashed
	case replicator.KindOf(err) == replicator.KindExport:
		f.damage = "it cannot be read: " + firstLine(replicator.AsError(err).Err)
		return nil
	}
	return err
}

// damagedBelow tells whether something was found wrong with what an image lies over.
func (s *scrub) damagedBelow(v *sight) bool {
	for _, img := range v.manifest.Chain(v.image.Backing) {
		if f := s.images[img.Name]; f != nil && (f.damage != "" || f.unknown != "") {
			return true
		}
	}
	return false
}

// differences compares an image's index with the one of what was read, both over the
// indexes of what the image lies over. A block that the image holds, but just as what is below
// holds it, needs no entry.
func (s *scrub) differences(ctx context.Context, v *sight, index *blockindex.File, read string) (string, error) {
	actual, err := blockindex.Open(read)
	if err != nil {
		return "", err
	}
	defer actual.Close()
	var below blockindex.Chain
	if v.image.Backing != "" {
		// Where one cannot be read, the image's own entries have to be the same.
		if below, err = blockindex.OpenChain(s.indexes(v.manifest, v.image.Backing)...); err == nil {
			defer below.Close()
		}
	}
	var merging *blockindex.File
	if name := v.mergeInto(); name != "" {
		if merging, err = blockindex.Open(s.path(name)); err == nil {
			defer merging.Close()
		}
	}
	count, first := int64(0), int64(0)
	said, held := append(below[:len(below):len(below)], index), append(below[:len(below):len(below)], actual)
	for block, err := range blockindex.Diff(ctx, said, held) {
		if err != nil {
			return "", err
		}
		if merging != nil && block < merging.Blocks() {
			if _, has, err := merging.Get(block); err != nil || has {
				continue
			}
		}
		if count++; count == 1 {
			first = block
		}
	}
	if count == 0 {
		return "", nil
	}
	return fmt.Sprintf("%s of %d KiB not as received, the first at offset %d", blocks(count), blockindex.BlockSize>>10, first*blockindex.BlockSize), nil
}

func blocks(n int64) string {
	if n == 1 {
		return "1 block"
	}
	return fmt.Sprintf("%d blocks", n)
}

// indexes are the paths of the block indexes of an image's chain, base first.
func (s *scrub) indexes(m *store.Manifest, image string) []string {
	var paths []string
	for _, name := range m.Indexes(image) {
		paths = append(paths, s.path(name))
	}
	return paths
}

// content compares what an image reads as, by the indexes of its chain, with what was
// received for the states that name it.
func (s *scrub) content(ctx context.Context, v *sight) (string, error) {
	if v.mergeInto() != "" || s.damagedBelow(v) {
		return "", nil
	}
	chain, err := blockindex.OpenChain(s.indexes(v.manifest, v.image.Name)...)
	if err != nil {
		return "", err
	}
	defer chain.Close()
	below, known := s.contents[v.image.Backing]
	var d blockindex.Digest
	if known {
		d, err = chain.DigestFrom(ctx, below)
	} else {
		d, err = chain.Digest(ctx)
	}
	if err != nil {
		return "", err
	}
	s.contents[v.image.Name] = d
	for _, state := range v.manifest.States {
		if disk := state.Disk(v.image.Disk); disk != nil && disk.Image == v.image.Name && disk.Content != "" && disk.Content != d.String() {
			return fmt.Sprintf("it reads as %s, and state %s was received as %s", d, state.ID, disk.Content), nil
		}
	}
	return "", nil
}
