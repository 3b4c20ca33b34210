package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/api"
)

// Where the service's files are on hostb.
const (
	serviceUnit   = "/etc/systemd/system/vmsync.service"
	serviceConfig = "/etc/vmsync/vmsync.yaml"
	serviceCgroup = "/sys/fs/cgroup/system.slice/vmsync.service"
	serviceHead   = "version: 1\nsources: {hosta: 'qemu+ssh://root@hosta/system'}\n"
)

// withService does something while the service runs on hostb, by its unit, with a
// configuration. Nothing of the service is left afterwards but replicas.
func (b *bench) withService(config string, do func() error) (err error) {
	unit, err := os.ReadFile("systemd/vmsync.service")
	if err != nil {
		return err
	}
	if err := b.hostb.WriteFile(serviceUnit, unit, 0o644); err != nil {
		return err
	}
	if err := b.configure(config); err != nil {
		return err
	}
	for _, verb := range []string{"daemon-reload", "start vmsync"} {
		if _, err := b.hostb.Run(b.ctx, append([]string{"systemctl"}, strings.Fields(verb)...)...); err != nil {
			return err
		}
	}
	defer func() {
		const leave = "systemctl stop vmsync; rm -rf " + serviceUnit + " /etc/vmsync /var/lib/vmsync-service; systemctl daemon-reload"
		_, serr := b.hostb.Run(context.WithoutCancel(b.ctx), "sh", "-c", leave)
		err = errors.Join(err, serr)
	}()
	return do()
}

// configure writes the service's configuration; it takes effect at its next start or reload.
func (b *bench) configure(text string) error {
	if _, err := b.hostb.Run(b.ctx, "mkdir", "-p", path.Dir(serviceConfig)); err != nil {
		return err
	}
	return b.hostb.WriteFile(serviceConfig, []byte(text), 0o600)
}

// standing are all machines as the service tells of them.
func (b *bench) standing() ([]api.Machine, error) {
	out, err := b.hostb.Run(b.ctx, "sh", "-c", "vmsync status --json || [ $? = 1 ]")
	if err != nil {
		return nil, err
	}
	var all []api.Machine
	for line := range strings.Lines(out) {
		var m api.Machine
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			return nil, fmt.Errorf("vmsync status printed %q: %w", line, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// awaitReplicas waits until so many machines have a replica.
func (b *bench) awaitReplicas(n int) error {
	deadline := time.Now().Add(20 * time.Minute)
	for {
		all, err := b.standing()
		have := 0
		for _, m := range all {
			if !m.Fresh.IsZero() {
				have++
			}
		}
		switch {
		case err == nil && have >= n:
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%d of %d machines are replicated after 20 minutes: %w", have, n, err)
		}
		if err := b.sleep(time.Second); err != nil {
			return err
		}
	}
}

func (b *bench) sleep(d time.Duration) error {
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// serviceTime is the processor time that the service has used so far, with all its children.
func (b *bench) serviceTime() (time.Duration, error) {
	stat, err := b.hostb.Run(b.ctx, "cat", serviceCgroup+"/cpu.stat")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(stat) {
		if v, ok := strings.CutPrefix(line, "usage_usec "); ok {
			usec, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return time.Duration(usec) * time.Microsecond, err
		}
	}
	return 0, errors.New("no usage_usec in the service's cpu.stat")
}

// serviceMemory is what the service and its children have resident now, in bytes. Pages
// that they share count for each of them.
func (b *bench) serviceMemory() (sum int64, err error) {
	script := "for p in $(cat " + serviceCgroup + "/cgroup.procs); do grep VmRSS /proc/$p/status; done 2>/dev/null; :"
	out, err := b.hostb.Run(b.ctx, "sh", "-c", script)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 3 {
			kib, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				return 0, err
			}
			sum += kib << 10
		}
	}
	return sum, nil
}
