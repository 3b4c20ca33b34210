package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Config says what lab to make.
type Config struct {
	// Name tells labs apart; [RandomName] for a test's. Default "lab".
	Name string
	// Owner binds the lab to this process: it is removed when the process ends, in
	// whatever way. A lab made by hand has no owner.
	Owner bool
	// Hosts to run, default [DefaultHosts]. A host named op runs no libvirtd.
	Hosts []string
	// Install maps files of the machine to absolute paths in every host, as in
	// "bin/vmsync": "/usr/local/bin/vmsync".
	Install map[string]string
	// Tool is the lab command's own program, which runs the lab's helper
	// processes. Empty: it is built with `go build` from this module.
	Tool string
}

// Lab is a set of running hosts.
type Lab struct {
	name  string
	tool  string
	hosts []*Host
	// children are goroutines that reap the helpers this process started.
	children sync.WaitGroup
}

// Host is one host of a lab. It stays valid while the host is down.
type Host struct {
	lab  *Lab
	name string
	addr string
	link sync.Mutex // held while the cable is changed
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.name }

// Hosts are the lab's hosts, in the order of Config.Hosts.
func (l *Lab) Hosts() []*Host { return slices.Clone(l.hosts) }

// Host returns the host of that name, or nil.
func (l *Lab) Host(name string) *Host {
	for _, h := range l.hosts {
		if h.name == name {
			return h
		}
	}
	return nil
}

// Name is the host's name, by which the other hosts know it too.
func (h *Host) Name() string { return h.name }

// Addr is the host's IPv4 address in the lab's network.
func (h *Host) Addr() string { return h.addr }

// Up makes a lab and boots its hosts. A lab of that name that lives is kept as
// it is, with its owner and hosts: those that are down are booted and Install is
// copied again. Before that,
// Up removes all labs whose owner is dead. When it fails it leaves nothing,
// except of a lab that lived before.
func Up(ctx context.Context, cfg Config) (*Lab, error) {
	if !cfg.Owner {
		return up(ctx, cfg, nil)
	}
	me, ok := findProcess(os.Getpid())
	if !ok {
		return nil, errors.New("cannot find this process in /proc")
	}
	return up(ctx, cfg, &me)
}

func up(ctx context.Context, cfg Config, owner *process) (*Lab, error) {
	if cfg.Name == "" {
		cfg.Name = "lab"
	}
	if len(cfg.Hosts) == 0 {
		cfg.Hosts = DefaultHosts
	}
	if err := checkNames(cfg.Name, cfg.Hosts); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab needs root: it makes namespaces, mounts and cgroups")
	}
	unlock, err := lockLabs()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := collect(); err != nil {
		return nil, err
	}
	if l, err := open(cfg.Name, cfg.Tool); err == nil {
		if err := l.start(ctx, cfg.Install); err != nil {
			return nil, err
		}
		return l, nil
	}
	l, err := create(ctx, cfg, owner)
	if err != nil {
		return nil, errors.Join(err, remove(cfg.Name))
	}
	return l, nil
}

func create(ctx context.Context, cfg Config, owner *process) (*Lab, error) {
	if err := os.MkdirAll(labDir(cfg.Name), 0o700); err != nil {
		return nil, err
	}
	boot, err := bootID()
	if err != nil {
		return nil, err
	}
	rec := &record{Name: cfg.Name, Boot: boot, Owner: owner, Hosts: cfg.Hosts, Created: time.Now(), Making: true}
	if err := writeJSON(recordPath(cfg.Name), rec); err != nil {
		return nil, err
	}
	if cfg.Tool == "" {
		if cfg.Tool, err = buildTool(ctx, cfg.Name); err != nil {
			return nil, err
		}
	}
	l := newLab(rec, cfg.Tool)
	if rec.Owner != nil {
		if err := l.startReaper(*rec.Owner); err != nil {
			return nil, err
		}
	}
	keys, err := newSSHKeys(cfg.Hosts)
	if err != nil {
		return nil, err
	}
	if err := makeBridge(ctx, cfg.Name); err != nil {
		return nil, err
	}
	for _, h := range l.hosts {
		if err := h.build(ctx, keys); err != nil {
			return nil, err
		}
	}
	if err := l.start(ctx, cfg.Install); err != nil {
		return nil, err
	}
	rec.Making = false
	return l, writeJSON(recordPath(cfg.Name), rec)
}

// build makes all of a host but its processes.
func (h *Host) build(ctx context.Context, keys *sshKeys) error {
	names := make([]string, len(h.lab.hosts))
	for i, x := range h.lab.hosts {
		names[i] = x.name
	}
	if err := prepareRoot(h.lab.name, h.name, names, keys); err != nil {
		return err
	}
	if err := mountOverlay(h.lab.name, h.name); err != nil {
		return err
	}
	return connectHost(ctx, h.lab.name, h.name, h.addr)
}

// start boots the hosts that are down and installs files in all of them.
func (l *Lab) start(ctx context.Context, install map[string]string) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range l.hosts {
		g.Go(func() error {
			if err := h.Boot(ctx); err != nil {
				return err
			}
			for from, to := range install {
				if err := h.CopyIn(from, to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func newLab(rec *record, tool string) *Lab {
	l := &Lab{name: rec.Name, tool: tool}
	for i, name := range rec.Hosts {
		l.hosts = append(l.hosts, &Host{lab: l, name: name, addr: address(i)})
	}
	return l
}

// Open returns a lab that another process made. Its hosts may be down.
func Open(name, tool string) (*Lab, error) {
	l, err := open(name, tool)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no lab %q; make it with `lab up --name %s`: %w", name, name, err)
	}
	return l, err
}

func open(name, tool string) (*Lab, error) {
	rec, err := readRecord(name)
	if err != nil {
		return nil, err
	}
	if boot, err := bootID(); err != nil || boot != rec.Boot {
		return nil, fmt.Errorf("lab %s did not survive the machine's reboot: %w", name, fs.ErrNotExist)
	}
	if tool == "" {
		tool = toolPath(name)
	}
	return newLab(rec, tool), nil
}

// Down removes the lab: hosts, network, files. Nothing of it is left when it
// returns nil. The Lab must not be used afterwards.
func (l *Lab) Down() error {
	unlock, err := lockLabs()
	if err != nil {
		return err
	}
	defer unlock()
	err = remove(l.name)
	l.children.Wait()
	return err
}

// remove removes all that a lab of that name may have left, however far its
// making got. The caller holds the lock.
func remove(name string) error {
	if err := removeCgroup(labCgroup(name)); err != nil {
		return err
	}
	if err := unmountBelow(labDir(name)); err != nil {
		return err
	}
	if err := removeNspawnTraces(name); err != nil {
		return err
	}
	if err := os.RemoveAll(labDir(name)); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	// The common parent goes with the last lab.
	roots, err := cgroupRoots()
	if err != nil {
		return err
	}
	for _, r := range roots {
		err := os.Remove(filepath.Join(r, "vmsync-lab"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
			return err
		}
	}
	return nil
}

// removeNspawnTraces removes what a killed systemd-nspawn leaves in /run.
func removeNspawnTraces(name string) error {
	rec, err := readRecord(name)
	if err != nil {
		return nil // made no host yet
	}
	for _, h := range rec.Hosts {
		for _, d := range []string{"propagate", "unix-export"} {
			if err := os.RemoveAll(filepath.Join("/run/systemd/nspawn", d, machineName(name, h))); err != nil {
				return err
			}
		}
	}
	return nil
}
