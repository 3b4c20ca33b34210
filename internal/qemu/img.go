package qemu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"vmsync/internal/proc"
)

// The programs this package runs.
const (
	ImgProgram = "qemu-img"
	NBDProgram = "qemu-nbd"
)

// ErrNoSpace means that the file system of an image is full.
var ErrNoSpace = errors.New("no space left on the target's file system")

// ErrInUse means that another process (a running machine, another qemu-img)
// holds an image's lock.
var ErrInUse = errors.New("the image is in use by another process")

// ErrDamaged means that an image's structure contradicts itself.
var ErrDamaged = errors.New("the image is damaged")

// Create makes an empty qcow2 image of size bytes.
func Create(ctx context.Context, path string, size int64) error {
	return img(ctx, "create", "-q", "-f", "qcow2", "-o", "compat=1.1", "--", path, strconv.FormatInt(size, 10))
}

// CreateOverlay makes an empty qcow2 image over a qcow2 backing file. backing is
// written into the image as it is given, so that a relative name keeps the
// chain valid when its folder is moved.
func CreateOverlay(ctx context.Context, path, backing string, size int64) error {
	return img(ctx, "create", "-q", "-f", "qcow2", "-o", "compat=1.1", "-b", backing, "-F", "qcow2", "--", path, strconv.FormatInt(size, 10))
}

// Commit merges an overlay into its backing file, and leaves the overlay as it
// is: until it is deleted the overlay reads the same, whether the merge ran to
// its end or not. Ranges that the overlay has as zeros are freed in the backing
// file. It fails with [ErrInUse] when either image is open elsewhere.
func Commit(ctx context.Context, path string) error {
	return img(ctx, "commit", "-q", "-d", "-f", "qcow2", "--", path)
}

// Rebase has an overlay lie over another image, whose name is written into it as it is
// given, and changes what the overlay holds so that it reads the same. The new backing
// file must be one that the overlay lies over, at whatever depth.
func Rebase(ctx context.Context, path, backing string) error {
	return img(ctx, "rebase", "-q", "-f", "qcow2", "-b", backing, "-F", "qcow2", "--", path)
}

// Shrink cuts an image to size bytes. What lay beyond is lost.
func Shrink(ctx context.Context, path string, size int64) error {
	return img(ctx, "resize", "-q", "--shrink", "-f", "qcow2", "--", path, strconv.FormatInt(size, 10))
}

// Check examines an image's own structure (not its backing chain, not its
// data). Leaked clusters waste space but harm nothing and are no error. A
// damaged image gives an error for which errors.Is(err, ErrDamaged) holds.
func Check(ctx context.Context, path string) error {
	err := img(ctx, "check", "-q", "-f", "qcow2", "--", path)
	var exit *proc.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	switch exit.Status { // documented in qemu-img(1)
	case 2:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	case 3:
		return nil
	}
	return err
}

// img runs qemu-img to its end. What it prints to stdout is for people.
func img(ctx context.Context, args ...string) error {
	p, err := proc.Start(ctx, proc.Cmd{Argv: append([]string{ImgProgram}, args...), Package: "qemu-utils", Env: cLocale()})
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", ImgProgram, args[0], Classify(err))
	}
	return nil
}

// cLocale is this process's environment with messages in the C locale.
func cLocale() []string { return append(os.Environ(), "LC_ALL=C") }

// Classify recognises the two failures of a program that callers decide on, if it ran
// in the C locale. Programs give no codes for them: these texts come from strerror and
// from qemu's untranslated image locking. Nil stays nil.
func Classify(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	switch {
	case strings.Contains(text, "No space left on device"):
		return fmt.Errorf("%w: %w", ErrNoSpace, err)
	case strings.Contains(text, `Failed to get "write" lock`), strings.Contains(text, `Failed to get shared "write" lock`):
		return fmt.Errorf("%w: %w", ErrInUse, err)
	}
	return err
}
