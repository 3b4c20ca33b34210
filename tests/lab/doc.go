// Package lab runs real hypervisor hosts on one machine, for tests and by hand.
//
// A lab is a few hosts (by default hosta and hostb with libvirtd, op without)
// on a network of their own. Each host is a systemd-nspawn container with a
// real systemd as pid 1 on an overlay of the machine's own root: Debian's own
// units and configuration, sshd, libvirtd, qemu. What runs in a host is a real
// program on a real kernel; only a loss of power cannot be had, because the
// page cache is the machine's.
//
// Everything a lab owns is found by its name: the folder /var/lib/vmsync-lab/NAME
// (overlays, network namespaces, records), the cgroup vmsync-lab/NAME and, inside
// it, every process. So a lab can be used from several processes at once, and
// whoever finds a dead one can remove it without having been its maker. A lab
// with an owner (a test's) is removed within a second of the owner's death; a
// lab without one (`lab up` by hand) stays until `lab down`.
//
// The package must never touch the machine's own libvirtd, domains, network
// namespace or files: hosts see the machine's root read-only, below their
// overlays, and with an empty /root, /etc/libvirt/qemu and /var/lib/libvirt.
//
// All of it needs root. Methods are safe for concurrent use unless they say
// otherwise. Nothing here imports vmsync's own packages: the lab stays usable
// when they do not compile.
package lab
