// Package qemu runs qemu-img and qemu-nbd: argument lists in, typed
// errors out. It must never glue a command into a shell string, and never
// decide anything about states or replicas.
package qemu
