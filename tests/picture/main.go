// Command picture makes docs/status-watch.svg, the picture of `vmsync status --watch` in the
// README, from a real run: it brings up three hypervisor hosts, has a service on one of them
// replicate machines of the two others, which are written to all the while, opens the view in
// a terminal, and draws its screen when there is something to see: syncs under way, a paused
// machine, and one whose host is cut off for longer than is promised. `make picture` runs it.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vmsync/internal/termtest"
	"vmsync/tests/lab"
)

const (
	file          = "docs/status-watch.svg"
	columns, rows = 100, 32
)

const config = `version: 1
sources:
  hosta: qemu+ssh://root@hosta/system
  hostc: qemu+ssh://root@hostc/system
store: /var/lib/vmsync
concurrency: {total: 4, per_source: 3}
retry: {first: 5s, max: 10s}
defaults: {quiesce: no, keep: 5}
machines:
  - {name: db-orders, rpo: 30s, rate: 1M}
  - {name: web-shop, every: 12s, max_age: 40s}
  - {name: files, every: 25s, max_age: 1m, rate: 2M}
  - {name: mail, every: 20s, max_age: 90s, rate: 1M}
  - {name: build, every: 30s, max_age: 2m}
  - {name: erp, every: 10s, max_age: 2m}
  - {name: wiki, every: 10s, max_age: 30s}
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	fmt.Println("bringing up hosta, hostb and hostc")
	l, err := lab.Up(ctx, lab.Config{Name: lab.RandomName(), Owner: true, Hosts: []string{"hosta", "hostb", "hostc"}, Install: map[string]string{
		bin("vmsync"):     "/usr/local/bin/vmsync",
		bin("vmsync-nbd"): "/usr/local/bin/vmsync-nbd",
	}})
	if err != nil {
		return err
	}
	defer func() {
		if derr := l.Down(); err == nil {
			err = derr
		}
	}()
	s := &scene{l: l, target: l.Host("hostb")}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	return s.play(ctx)
}

func bin(name string) string {
	p, err := filepath.Abs(filepath.Join("bin", name))
	if err != nil {
		panic(err) // only without a working directory
	}
	return p
}

// scene is what the picture is taken of.
type scene struct {
	l        *lab.Lab
	target   *lab.Host
	machines []*lab.Machine
}

// prepare makes the machines.
func (s *scene) prepare(ctx context.Context) error {
	for _, m := range []struct{ host, name string }{{"hosta", "db-orders"}, {"hosta", "web-shop"}, {"hosta", "files"}, {"hosta", "mail"},
		{"hosta", "build"}, {"hostc", "erp"}, {"hostc", "wiki"}} {
		fmt.Println("making", m.name, "on", m.host)
		made, err := s.l.Host(m.host).CreateMachine(ctx, lab.MachineSpec{Name: m.name, Disks: []lab.DiskSpec{{Target: "vda", Size: 256 << 20}}})
		if err != nil {
			return err
		}
		s.machines = append(s.machines, made)
	}
	return nil
}

// play runs the service and the view until there is something to see.
func (s *scene) play(ctx context.Context) (err error) {
	if err := s.target.WriteFile("/etc/vmsync.yaml", []byte(config), 0o600); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	serve := s.target.Command(ctx, "vmsync", "serve", "--config", "/etc/vmsync.yaml", "--grace", "1s")
	if err := serve.Start(); err != nil {
		return err
	}
	defer func() { stop(); _ = serve.Wait() }() // it is killed
	writing := make(chan error, 1)
	go func() { writing <- s.write(ctx) }()
	defer func() { stop(); <-writing }()
	screen, err := termtest.Open(columns, rows)
	if err != nil {
		return err
	}
	defer screen.Close()
	if err := s.direct(ctx, screen); err != nil {
		return fmt.Errorf("%w\n%s", err, screen.Text())
	}
	return nil
}

// direct opens the view, has things happen, and takes the picture.
func (s *scene) direct(ctx context.Context, screen *termtest.Screen) error {
	for tries := 0; ; tries++ {
		if _, err := s.target.Run(ctx, "sh", "-c", "vmsync status --json | grep -q db-orders"); err == nil {
			break
		} else if tries == 100 || ctx.Err() != nil {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	view := s.target.Command(ctx, "vmsync", "status", "--watch")
	view.Env = append(view.Env, "TERM=xterm-256color")
	screen.Attach(view)
	if err := view.Start(); err != nil {
		return err
	}
	defer func() { _ = view.Wait() }()
	defer func() { _ = screen.Type("q") }()
	fmt.Println("letting it run for a while")
	if err := pause(ctx, 150*time.Second); err != nil {
		return err
	}
	if _, err := s.target.Run(ctx, "vmsync", "pause", "build", "--reason", "work on the host"); err != nil {
		return err
	}
	fmt.Println("cutting hostc off")
	if err := s.l.Host("hostc").Link(ctx, false); err != nil {
		return err
	}
	if err := screen.Type("\x1b[B"); err != nil {
		return err
	}
	if err := screen.Await(3*time.Minute, "two syncs, and a replica that is older than promised", func(text string) bool {
		return strings.Count(text, "%  ") >= 2 && strings.Contains(text, " broken ") && strings.Contains(text, "hostc is away") && strings.Contains(text, "is older than promised")
	}); err != nil {
		return err
	}
	fmt.Print(screen.Text())
	fmt.Println("writing", file)
	return os.WriteFile(file, []byte(svg(screen.Cells())), 0o644)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// write has the guests write: each another amount, of bytes that do not compress.
func (s *scene) write(ctx context.Context) error {
	const random = "/var/tmp/random"
	for _, host := range []string{"hosta", "hostc"} {
		if _, err := s.l.Host(host).Run(ctx, "dd", "if=/dev/urandom", "of="+random, "bs=1M", "count=64", "status=none"); err != nil {
			return err
		}
	}
	amount := map[string]int{"db-orders": 8, "web-shop": 3, "files": 24, "mail": 12, "build": 1, "erp": 5, "wiki": 2} // MiB
	for round := 0; ; round++ {
		for i, m := range s.machines {
			at := (round * 7 * (i + 1)) % 190
			if _, err := m.QemuIO(ctx, "vda", fmt.Sprintf("write -q -s %s %dM %dM", random, at, amount[m.Name()])); err != nil {
				return err
			}
			if err := pause(ctx, 2*time.Second); err != nil {
				return err
			}
		}
	}
}
