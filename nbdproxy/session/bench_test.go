package session_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"vmsync/nbdproxy/session"
	"vmsync/nbdproxy/spec"
)

// BenchmarkFullDisk copies a disk of 4 GiB that holds 1.5 GiB of data to a new
// image: with nbdcopy, which goes from server to server, and with serve and apply
// and a relay between them, which make an index of the image or don't. Half the data are programs, half is noise.
//
//	go test ./nbdproxy/session -run '^$' -bench FullDisk -benchtime 3x
func BenchmarkFullDisk(b *testing.B) {
	const size, payload = 4 * gib, 3 * gib / 2
	l := newLab(b)
	src := l.image("src", size)
	content := l.path("content")
	writeContent(b, content, payload)
	l.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", content, l.image("part", payload))
	l.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "qcow2", l.path("part"), src)
	source := l.source(src, "")

	for _, flags := range [][]string{{"--cache=none", "--aio=io_uring"}, {"--cache=writeback"}} {
		copyWith := func(name string, f func(target *server)) {
			b.Run(name+"/"+strings.TrimPrefix(flags[0], "--"), func(b *testing.B) {
				b.SetBytes(payload)
				for range b.N {
					b.StopTimer()
					target := l.nbd(l.image("dst", size), append(flags, "--discard=unmap")...)
					b.StartTimer()
					f(target)
					b.StopTimer()
					target.stop()
					b.StartTimer()
				}
			})
		}
		copyWith("nbdcopy", func(target *server) {
			uri := func(s *server) string { return "nbd+unix:///disk?socket=" + s.socket }
			if out, err := exec.Command("nbdcopy", "--flush", "--destination-is-zero", uri(source), uri(target)).CombinedOutput(); err != nil {
				b.Fatalf("nbdcopy: %v\n%s", err, out)
			}
		})
		for _, mode := range []string{"none", "none-index", "s2", "s2-index", "zstd", "zstd-index", "auto", "auto-index"} {
			compress, indexed := strings.CutSuffix(mode, "-index")
			copyWith("vmsync-"+mode, func(target *server) {
				x := transfer{name: "vda", size: size}
				if indexed {
					x.index = target.socket + ".idx"
				}
				s, a := l.documents("", compress, []transfer{x}, []*server{source}, []*server{target})
				serve, apply := start(b, session.Serve, s), start(b, session.Apply, a)
				serve.awaitReady()
				apply.awaitReady()
				relay(b, s.Listen, a.Listen)
				serve.done()
				apply.done()
			})
		}
	}
	l.same(src, l.path("dst"))
}

// writeContent writes n bytes: blocks of the running program's file and of noise
// by turns.
func writeContent(b *testing.B, path string, n int64) {
	b.Helper()
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	program = program[:len(program)/mib*mib]
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	rng := rand.NewChaCha8([32]byte{1})
	noise := make([]byte, mib)
	for off := int64(0); off < n; off += mib {
		block := program[off%int64(len(program)):][:mib]
		if off/mib%2 == 0 {
			_, _ = rng.Read(noise)
			block = noise
		}
		if _, err := f.WriteAt(block, off); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHash makes the index of a disk of 4 GiB that holds 1.5 GiB of data.
//
//	go test ./nbdproxy/session -run '^$' -bench Hash -benchtime 3x
func BenchmarkHash(b *testing.B) {
	const size, payload = 4 * gib, 3 * gib / 2
	l := newLab(b)
	raw := l.path("content")
	writeContent(b, raw, payload)
	src := l.image("src", size)
	l.run("qemu-img", "convert", "-n", "-f", "raw", "-O", "qcow2", raw, l.image("part", payload))
	l.run("qemu-img", "convert", "-n", "-f", "qcow2", "-O", "qcow2", l.path("part"), src)
	source := l.source(src, "")
	b.SetBytes(payload)
	for i := 0; b.Loop(); i++ {
		l.hash(spec.HashDisk{Name: "vda", Socket: source.socket, Export: "disk", Size: size, Out: l.path(fmt.Sprint("idx", i))})
	}
}
