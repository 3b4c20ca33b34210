package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// run runs a program of the machine and returns its standard output.
func run(ctx context.Context, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// unpackDebs downloads the kernel and the agent and unpacks them into root.
func unpackDebs(ctx context.Context, dir, root string) error {
	err := download(ctx, dir)
	if err != nil {
		// Package lists that are missing or old name files that are not there.
		if _, e := run(ctx, dir, "apt-get", "update", "-q"); e != nil {
			return e
		}
		err = download(ctx, dir)
	}
	if err != nil {
		return err
	}
	debs, err := filepath.Glob(filepath.Join(dir, "*.deb"))
	if err != nil {
		return err
	}
	for _, d := range debs {
		if _, err := run(ctx, dir, "dpkg-deb", "-x", d, root); err != nil {
			return err
		}
	}
	return nil
}

func download(ctx context.Context, dir string) error {
	kernel, err := kernelPackage(ctx, dir)
	if err != nil {
		return err
	}
	_, err = run(ctx, dir, "apt-get", "download", "-q", kernel, "qemu-guest-agent")
	return err
}

// kernelPackage is the package that the newest linux-image-cloud stands for.
func kernelPackage(ctx context.Context, dir string) (string, error) {
	arch, err := run(ctx, dir, "dpkg", "--print-architecture")
	if err != nil {
		return "", err
	}
	meta := "linux-image-cloud-" + strings.TrimSpace(arch)
	out, err := run(ctx, dir, "apt-cache", "show", "--no-all-versions", meta)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(out) {
		if deps, ok := strings.CutPrefix(line, "Depends: "); ok {
			first, _, _ := strings.Cut(strings.TrimSpace(deps), " ")
			return strings.TrimSuffix(first, ","), nil
		}
	}
	return "", fmt.Errorf("package %s depends on no kernel", meta)
}
