package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"vmsync/tests/lab/guest"
)

// ImageDir is where machines' disk images lie in a host.
const ImageDir = "/var/lib/libvirt/images"

// kernelDir is where the guest's kernel lies, in every host with libvirtd, so
// that a replica boots wherever it is.
const kernelDir = "/var/lib/libvirt/boot"

// MachineSpec says what machine to create.
type MachineSpec struct {
	Name  string
	Disks []DiskSpec
	// Guest boots a live Linux with the guest agent; it formats blank disks with
	// ext4 and mounts each at /mnt/TARGET. Without, the machine is started paused:
	// its disks change only by [Machine.QemuIO].
	Guest bool
	// NoAgent leaves out the agent's channel.
	NoAgent bool
	// XMLHook may change the domain XML before it is defined.
	XMLHook func(xml string) string
}

// DiskSpec is one disk of a machine.
type DiskSpec struct {
	Target string // "vda"; "sda" is on virtio-scsi
	Size   int64  // bytes
	Format string // "qcow2" (default) or "raw"
	Serial string // optional
	Path   string // default ImageDir/MACHINE-TARGET.FORMAT
}

// Machine is a libvirt domain on a host. It is a name only: it stays valid
// while the domain is shut off or its host down.
type Machine struct {
	host *Host
	name string
}

// Machine returns the machine of that name, which need not exist.
func (h *Host) Machine(name string) *Machine { return &Machine{host: h, name: name} }

// Name is the domain's name.
func (m *Machine) Name() string { return m.name }

// Host is the host the machine is on.
func (m *Machine) Host() *Host { return m.host }

// withDefaults fills in what a spec leaves open.
func (d DiskSpec) withDefaults(machine string) DiskSpec {
	if d.Format == "" {
		d.Format = "qcow2"
	}
	if d.Path == "" {
		d.Path = filepath.Join(ImageDir, machine+"-"+d.Target+"."+d.Format)
	}
	return d
}

// CreateMachine makes the disks, defines the domain and starts it. It returns
// when a guest's agent answers, or, without a guest, when the domain is started
// and paused.
func (h *Host) CreateMachine(ctx context.Context, spec MachineSpec) (*Machine, error) {
	m := h.Machine(spec.Name)
	if !hostnameSafe(spec.Name) {
		return nil, fmt.Errorf("machine name %q: want letters, digits, '.', '_' and '-'", spec.Name)
	}
	if spec.Guest {
		if err := h.lab.installGuest(ctx); err != nil {
			return nil, err
		}
	}
	for i, d := range spec.Disks {
		spec.Disks[i] = d.withDefaults(spec.Name)
	}
	doc, err := domainXML(spec)
	if err != nil {
		return nil, err
	}
	if spec.XMLHook != nil {
		doc = spec.XMLHook(doc)
	}
	for _, d := range spec.Disks {
		if err := h.createImage(ctx, d); err != nil {
			return nil, err
		}
	}
	xmlPath := "/run/lab-" + spec.Name + ".xml"
	if err := h.WriteFile(xmlPath, []byte(doc), 0o600); err != nil {
		return nil, err
	}
	if _, err := h.virsh(ctx, "define", "--validate", xmlPath); err != nil {
		return nil, err
	}
	if err := os.Remove(h.Path(xmlPath)); err != nil {
		return nil, err
	}
	if err := m.start(ctx, !spec.Guest); err != nil {
		return m, err
	}
	if !spec.Guest {
		return m, nil
	}
	// Answered when the guest is up; until then it is left in peace.
	if _, err := m.Control(ctx, "true"); err != nil || spec.NoAgent {
		return m, err
	}
	return m, m.WaitAgent(ctx)
}

func hostnameSafe(s string) bool {
	return s != "" && len(s) < 64 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == ""
}

func (h *Host) createImage(ctx context.Context, d DiskSpec) error {
	_, err := h.Run(ctx, "qemu-img", "create", "-q", "-f", d.Format, "--", d.Path, fmt.Sprint(d.Size))
	return err
}

// virsh runs virsh on the host's own libvirtd.
func (h *Host) virsh(ctx context.Context, args ...string) (string, error) {
	return h.Run(ctx, append([]string{"virsh", "-c", "qemu:///system", "-q"}, args...)...)
}

// installGuest puts the guest's kernel into all hosts with libvirtd that run
// and lack it.
func (l *Lab) installGuest(ctx context.Context) error {
	img, err := guest.Build(ctx, guest.DefaultCache)
	if err != nil {
		return err
	}
	g, _ := errgroup.WithContext(ctx)
	for _, h := range l.hosts {
		if !isHypervisor(h.name) || !h.Running() {
			continue
		}
		g.Go(func() error {
			for from, name := range map[string]string{img.Kernel: "lab-vmlinuz", img.Initrd: "lab-initrd"} {
				to := filepath.Join(kernelDir, name)
				if _, err := os.Stat(h.Path(to)); err == nil {
					continue
				}
				if err := h.CopyIn(from, to); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return g.Wait()
}

// Start starts the domain and does not wait for its guest.
func (m *Machine) Start(ctx context.Context) error { return m.start(ctx, false) }

// StartPaused starts the domain with its processor stopped.
func (m *Machine) StartPaused(ctx context.Context) error { return m.start(ctx, true) }

func (m *Machine) start(ctx context.Context, paused bool) error {
	args := []string{"start", "--domain", m.name}
	if paused {
		args = append(args, "--paused")
	}
	_, err := m.host.virsh(ctx, args...)
	return err
}

// Shutdown asks the guest to shut down and waits until the domain is off.
func (m *Machine) Shutdown(ctx context.Context) error {
	if _, err := m.host.virsh(ctx, "shutdown", "--domain", m.name); err != nil {
		return err
	}
	for {
		state, err := m.State(ctx)
		if err != nil || state == "shut off" {
			return err
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("shut down machine %s: still %s: %w", m.name, state, err)
		}
	}
}

// Destroy ends qemu in an orderly way, without asking the guest.
func (m *Machine) Destroy(ctx context.Context) error {
	_, err := m.host.virsh(ctx, "destroy", "--domain", m.name)
	return err
}

// Undefine forgets a domain that is shut off, with its checkpoints' metadata.
// Its images stay.
func (m *Machine) Undefine(ctx context.Context) error {
	_, err := m.host.virsh(ctx, "undefine", "--domain", m.name, "--checkpoints-metadata", "--nvram")
	return err
}

// Remove destroys and undefines the machine and deletes the images of its
// disks. A machine that does not exist is success.
func (m *Machine) Remove(ctx context.Context) error {
	disks, err := m.disks(ctx)
	if err != nil {
		var ce *CommandError
		if errors.As(err, &ce) && ce.ExitCode() == 1 {
			return nil
		}
		return err
	}
	if state, err := m.State(ctx); err != nil {
		return err
	} else if state != "shut off" {
		if err := m.Destroy(ctx); err != nil {
			return err
		}
	}
	if err := m.Undefine(ctx); err != nil {
		return err
	}
	for _, d := range disks {
		if d.Source.File != "" {
			if err := os.Remove(m.host.Path(d.Source.File)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Pause stops the machine's processor; Resume lets it go on.
func (m *Machine) Pause(ctx context.Context) error {
	_, err := m.host.virsh(ctx, "suspend", "--domain", m.name)
	return err
}

// Resume lets a paused machine go on.
func (m *Machine) Resume(ctx context.Context) error {
	_, err := m.host.virsh(ctx, "resume", "--domain", m.name)
	return err
}

// State is the domain's state in virsh's English words: "running", "paused",
// "shut off" …
func (m *Machine) State(ctx context.Context) (string, error) {
	out, err := m.host.virsh(ctx, "domstate", "--domain", m.name)
	return strings.TrimSpace(out), err
}

// XML is the domain's definition as libvirt holds it now.
func (m *Machine) XML(ctx context.Context) (string, error) {
	return m.host.virsh(ctx, "dumpxml", "--domain", m.name)
}
