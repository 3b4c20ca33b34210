// Package qemu runs qemu-img and qemu-nbd: argument lists in, structured
// results out. It must never glue a command into a shell string, and never
// decide anything about states or replicas.
package qemu
