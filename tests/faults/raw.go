package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
)

// rawOf gives a raw copy of what an image reads as, by qemu's own means. It has no
// name; closing it removes it.
func rawOf(ctx context.Context, format, image string) (*os.File, error) {
	f, err := os.CreateTemp("", "vmsync-faults-*.raw")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-U", "-f", format, "-O", "raw", "--", image, f.Name()).CombinedOutput()
	if err == nil {
		return f, nil
	}
	f.Close()
	return nil, fmt.Errorf("read %s: %w: %s", image, err, out)
}
