package guest

import (
	"bufio"
	"context"
	"debug/elf"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// applets links every command that busybox knows to it.
func applets(ctx context.Context, a *archive) error {
	out, err := run(ctx, "", "/bin/busybox", "--list-full")
	if err != nil {
		return err
	}
	for p := range strings.FieldsSeq(out) {
		// These are the real programs or the guest's own.
		switch filepath.Base(p) {
		case "init", "busybox", "shutdown", "mkfs.ext2", "mkfs.ext4", "mke2fs":
			continue
		}
		a.link(p, "bin/busybox")
	}
	return nil
}

// libraryDirs is where a Debian machine keeps its shared libraries.
func libraryDirs() []string {
	dirs, _ := filepath.Glob("/lib/*-linux-gnu")
	more, _ := filepath.Glob("/usr/lib/*-linux-gnu")
	return append(dirs, more...)
}

// addProgram adds a program, its interpreter and all libraries it needs, taken
// from the machine.
func addProgram(a *archive, from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	a.file(to, 0o755, b)
	f, err := elf.Open(from)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type != elf.PT_INTERP || p.Filesz > 4096 {
			continue
		}
		path := make([]byte, p.Filesz)
		if _, err := p.ReadAt(path, 0); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		interp := strings.TrimRight(string(path), "\x00")
		b, err := os.ReadFile(interp)
		if err != nil {
			return err
		}
		a.file(strings.TrimPrefix(interp, "/"), 0o755, b)
	}
	libs, err := f.ImportedLibraries()
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	for _, lib := range libs {
		if err := addLibrary(a, lib); err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
	}
	return nil
}

func addLibrary(a *archive, lib string) error {
	if a.has("lib/"+lib) || strings.HasPrefix(lib, "ld-linux") {
		return nil
	}
	for _, d := range libraryDirs() {
		if _, err := os.Stat(filepath.Join(d, lib)); err == nil {
			return addProgram(a, filepath.Join(d, lib), "lib/"+lib)
		}
	}
	return fmt.Errorf("library %s is not on this machine", lib)
}

// addModules adds the kernel modules named in this package and those they need.
func addModules(ctx context.Context, a *archive, root, version string) error {
	if _, err := run(ctx, "", "depmod", "-b", root, version); err != nil {
		return err
	}
	base := filepath.Join("lib/modules", version)
	deps, names, err := readDeps(filepath.Join(root, base, "modules.dep"))
	if err != nil {
		return err
	}
	// The full index is a megabyte that modprobe would read again for each module.
	var index strings.Builder
	for _, m := range slices.Concat(modules, extraModules) {
		p, ok := names[strings.ReplaceAll(m, "-", "_")]
		if !ok {
			return fmt.Errorf("kernel %s has no module %s", version, m)
		}
		for _, f := range append([]string{p}, deps[p]...) {
			if a.has(filepath.Join(base, f)) {
				continue
			}
			b, err := os.ReadFile(filepath.Join(root, base, f))
			if err != nil {
				return err
			}
			a.file(filepath.Join(base, f), 0o644, b)
			fmt.Fprintf(&index, "%s: %s\n", f, strings.Join(deps[f], " "))
		}
	}
	a.file(filepath.Join(base, "modules.dep"), 0o644, []byte(index.String()))
	return nil
}

// readDeps reads modules.dep: what each module file needs, and which file a
// module's name stands for.
func readDeps(path string) (deps map[string][]string, names map[string]string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	deps, names = map[string][]string{}, map[string]string{}
	s := bufio.NewScanner(f)
	for s.Scan() {
		p, needs, ok := strings.Cut(s.Text(), ":")
		if !ok {
			continue
		}
		deps[p] = strings.Fields(needs)
		name := strings.TrimSuffix(filepath.Base(p), ".ko")
		names[strings.ReplaceAll(name, "-", "_")] = p
	}
	return deps, names, s.Err()
}
