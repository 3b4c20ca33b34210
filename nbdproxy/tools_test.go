package nbdproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// run runs a client that nobody here wrote, and returns what it prints. The test is skipped
// where it is not installed.
func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := tryRun(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func tryRun(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skip(err)
	}
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	return string(out), err
}

// transport is a way for the tools to reach a server.
type transport struct {
	*served
	pki *pki // nil without TLS
}

// transports calls f once without TLS and once with it, with a server of exports.
func transports(t *testing.T, exports func() []Export, f func(t *testing.T, r transport)) {
	t.Run("plain", func(t *testing.T) {
		f(t, transport{serve(t, Config{Exports: exports()}), nil})
	})
	t.Run("TLS", func(t *testing.T) {
		p := newPKI(t)
		f(t, transport{serve(t, Config{Exports: exports(), TLS: p.server(t)}), p})
	})
}

// uri names an export to libnbd's tools.
func (r transport) uri(export string) string {
	if r.pki != nil {
		return fmt.Sprintf("nbds+unix:///%s?socket=%s&tls-certificates=%s&tls-hostname=localhost", export, r.socket, r.pki.dir)
	}
	return fmt.Sprintf("nbd+unix:///%s?socket=%s", export, r.socket)
}

// objects are what qemu's tools need besides image.
func (r transport) objects() []string {
	if r.pki != nil {
		return []string{"--object", "tls-creds-x509,id=tls,endpoint=client,dir=" + r.pki.dir}
	}
	return nil
}

// image names an export to qemu's tools, with --image-opts.
func (r transport) image(export string) string {
	s := "driver=nbd,server.type=unix,server.path=" + r.socket + ",export=" + export
	if r.pki != nil {
		s += ",tls-creds=tls,tls-hostname=localhost"
	}
	return s
}

// qemu runs one of qemu's tools on an export.
func (r transport) qemu(t *testing.T, tool, export string, args ...string) (string, error) {
	t.Helper()
	return tryRun(t, tool, append(append(args, r.objects()...), "--image-opts", r.image(export))...)
}

// sparseDisk is a disk with data in some places, and what its maps are.
func sparseDisk() *memory {
	m := newMemory(40 << 20)
	m.WriteAt(pattern(3*page), 2*page)
	m.WriteAt(make([]byte, page), 100*page) // allocated zeros
	m.WriteAt(pattern(page/2), 301*page)
	m.WriteAt(pattern(10<<20), 20<<20)
	return m
}

func disk(m *memory) func() []Export {
	return func() []Export { return []Export{{Name: "vda", Backend: m, MultiConn: true}} }
}

func TestNbdinfoSeesExportsAsTheyAre(t *testing.T) {
	exports := func() []Export {
		return []Export{
			{Name: "vda", Description: "first disk", Backend: newMemory(1 << 30), MultiConn: true},
			{Name: "vdb", Backend: newMemory(3 << 20), ReadOnly: true, BlockSizes: BlockSizes{Minimum: 512, Preferred: 65536, Maximum: 1 << 20}},
			{Name: "vdc", Backend: NewReaderAt(bytes.NewReader(make([]byte, 4096)), 4096, nil), ReadOnly: true},
		}
	}
	type export struct {
		Name      string `json:"export-name"`
		Desc      string `json:"description"`
		Contexts  []string
		ReadOnly  bool  `json:"is_read_only"`
		Cache     bool  `json:"can_cache"`
		DF        bool  `json:"can_df"`
		FastZero  bool  `json:"can_fast_zero"`
		Flush     bool  `json:"can_flush"`
		FUA       bool  `json:"can_fua"`
		MultiConn bool  `json:"can_multi_conn"`
		Trim      bool  `json:"can_trim"`
		Zero      bool  `json:"can_zero"`
		Minimum   int64 `json:"block_size_minimum"`
		Preferred int64 `json:"block_size_preferred"`
		Maximum   int64 `json:"block_size_maximum"`
		Size      int64 `json:"export-size"`
	}
	want := []export{
		{"vda", "first disk", []string{baseAllocation, dirtyBitmap}, false, true, true, true, true, true, true, true, true, 1, 4096, 32 << 20, 1 << 30},
		{"vdb", "", []string{baseAllocation, dirtyBitmap}, true, true, true, false, true, false, false, false, false, 512, 65536, 1 << 20, 3 << 20},
		{"vdc", "", nil, true, false, true, false, true, false, false, false, false, 1, 4096, 32 << 20, 4096},
	}
	transports(t, exports, func(t *testing.T, r transport) {
		var got struct {
			Protocol   string
			TLS        bool `json:"TLS"`
			Structured bool
			Exports    []export
		}
		if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--json", "--list", r.uri(""))), &got); err != nil {
			t.Fatal(err)
		}
		if got.Protocol != "newstyle-fixed" || got.TLS != (r.pki != nil) || !got.Structured {
			t.Errorf("protocol %q, TLS %v, structured %v", got.Protocol, got.TLS, got.Structured)
		}
		if fmt.Sprintf("%+v", got.Exports) != fmt.Sprintf("%+v", want) {
			t.Errorf("exports are\n%+v, want\n%+v", got.Exports, want)
		}
		for export, size := range map[string]string{"": "1073741824", "vda": "1073741824", "vdb": "3145728"} {
			if got := strings.TrimSpace(run(t, "nbdinfo", "--size", r.uri(export))); got != size {
				t.Errorf("size of %q is %s, want %s", export, got, size)
			}
		}
		if out, err := tryRun(t, "nbdinfo", "--size", r.uri("vdx")); err == nil || !strings.Contains(out, "no export named") {
			t.Errorf("an unknown export: %v: %s", err, out)
		}
	})
}

func TestMapsAreTheBackends(t *testing.T) {
	transports(t, disk(sparseDisk()), func(t *testing.T, r transport) {
		type extent struct{ Offset, Length, Type int64 }
		for context, want := range map[string][]extent{
			baseAllocation: {{0, 2 * page, 3}, {2 * page, 3 * page, 0}, {5 * page, 95 * page, 3}, {100 * page, page, 0},
				{101 * page, 200 * page, 3}, {301 * page, page, 0}, {302 * page, 18 * page, 3}, {20 << 20, 10 << 20, 0}, {30 << 20, 10 << 20, 3}},
			dirtyBitmap: {{0, 2 * page, 0}, {2 * page, 3 * page, 1}, {5 * page, 95 * page, 0}, {100 * page, page, 1},
				{101 * page, 200 * page, 0}, {301 * page, page, 1}, {302 * page, 18 * page, 0}, {20 << 20, 10 << 20, 1}, {30 << 20, 10 << 20, 0}},
		} {
			var got []extent
			if err := json.Unmarshal([]byte(run(t, "nbdinfo", "--json", "--map="+context, r.uri("vda"))), &got); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s is\n%v, want\n%v", context, got, want)
			}
		}

		out, err := r.qemu(t, "qemu-img", "vda", "map", "--output=json")
		if err != nil {
			t.Fatalf("qemu-img map: %v: %s", err, out)
		}
		var ranges []struct {
			Start, Length int64
			Zero, Data    bool
		}
		if err := json.Unmarshal([]byte(out), &ranges); err != nil {
			t.Fatal(err)
		}
		var zero int64
		for _, e := range ranges {
			if e.Zero {
				zero += e.Length
			}
		}
		if len(ranges) != 9 || zero != (2+95+200+18)*page+10<<20 {
			t.Errorf("qemu-img map has %d ranges, %d bytes of zeros: %s", len(ranges), zero, out)
		}
	})
}

func TestNbdcopyIsByteExact(t *testing.T) {
	transports(t, disk(sparseDisk()), func(t *testing.T, r transport) {
		m := r.exports[0].Backend.(*memory)
		want := m.content()
		out := filepath.Join(t.TempDir(), "out")
		ways := [][]string{
			nil, {"--request-size=33554432"}, // TLS is no matter of the rest
			{"--connections=1"}, {"--request-size=4096"}, {"--synchronous"}, {"--no-extents"}, {"--requests=256", "--request-size=65536"},
		}
		if r.pki != nil {
			ways = ways[:2]
		}
		for _, args := range ways {
			run(t, "nbdcopy", append(args, r.uri("vda"), out)...)
			if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
				t.Errorf("nbdcopy %v brought other bytes (%v)", args, err)
			}
			empty := newMemory(m.size)
			to := transport{serve(t, Config{Exports: disk(empty)(), TLS: r.tls}), r.pki}
			run(t, "nbdcopy", append(args, "--flush", out, to.uri("vda"))...)
			if !bytes.Equal(empty.content(), want) {
				t.Errorf("nbdcopy %v wrote other bytes", args)
			}
			if empty.counted().syncs == 0 {
				t.Errorf("nbdcopy %v did not flush", args)
			}
		}
	})
}

func TestNbdcopyBetweenTwoServersKeepsHoles(t *testing.T) {
	from, to := sparseDisk(), newMemory(40<<20)
	v, w := transport{serveDisk(t, from), nil}, transport{serveDisk(t, to), nil}
	run(t, "nbdcopy", "--destination-is-zero", v.uri(""), w.uri(""))
	if !bytes.Equal(from.content(), to.content()) {
		t.Error("the bytes differ")
	}
	if len(to.pages) > len(from.pages) {
		t.Errorf("%d pages became %d", len(from.pages), len(to.pages))
	}
}

func TestQemuImgConvertsAndComparesBothWays(t *testing.T) {
	transports(t, disk(sparseDisk()), func(t *testing.T, r transport) {
		m := r.exports[0].Backend.(*memory)
		want := m.content()
		out := filepath.Join(t.TempDir(), "out.qcow2")
		convert := append([]string{"convert", "-O", "qcow2"}, r.objects()...)
		run(t, "qemu-img", append(convert, "--image-opts", r.image("vda"), out)...)
		raw := out + ".raw"
		run(t, "qemu-img", "convert", "-O", "raw", out, raw)
		if got, err := os.ReadFile(raw); err != nil || !bytes.Equal(got, want) {
			t.Errorf("qemu-img convert brought other bytes (%v)", err)
		}
		compare := append([]string{"compare"}, r.objects()...)
		run(t, "qemu-img", append(compare, "--image-opts", r.image("vda"), "driver=qcow2,file.filename="+out)...)

		back := newMemory(m.size)
		to := transport{serve(t, Config{Exports: disk(back)(), TLS: r.tls}), r.pki}
		run(t, "qemu-img", append(append([]string{"convert", "-n", "--target-image-opts"}, to.objects()...), out, to.image("vda"))...)
		if !bytes.Equal(back.content(), want) {
			t.Error("qemu-img convert wrote other bytes")
		}
		back.WriteAt([]byte{back.content()[30<<20-1] + 1}, 30<<20-1)
		if out, err := tryRun(t, "qemu-img", append(append([]string{"compare"}, to.objects()...), "--image-opts", to.image("vda"), "driver=qcow2,file.filename="+out)...); err == nil {
			t.Errorf("qemu-img compare found equal what differs: %s", out)
		}
	})
}

func TestQemuIOReadsAndWritesWhatItShould(t *testing.T) {
	exports := func() []Export { return disk(newMemory(64 << 20))() }
	transports(t, exports, func(t *testing.T, r transport) {
		m := r.exports[0].Backend.(*memory)
		out, err := r.qemu(t, "qemu-io", "vda",
			"-c", "write -P 0xab 1M 5M",
			"-c", "write -f -P 0xcd 12345 4321", // with FUA
			"-c", "read -P 0xab 1M 5M",
			"-c", "write -z 2M 64k", // no hole
			"-c", "write -z -u 3M 1M",
			"-c", "read -P 0 2M 64k",
			"-c", "read -P 0 3M 1M",
			"-c", "discard 1M 64k",
			"-c", "read -P 0xcd 12345 4321",
			"-c", "aio_write -P 1 32M 4M", "-c", "aio_write -P 2 36M 4M", "-c", "aio_read -P 0xab 4M 2M", "-c", "aio_flush",
			"-c", "read -P 2 36M 4M",
			"-c", "flush")
		if err != nil || strings.Contains(out, "fail") {
			t.Fatalf("qemu-io: %v\n%s", err, out)
		}
		want := make([]byte, 64<<20)
		fill := func(value byte, offset, length int) {
			for i := range length {
				want[offset+i] = value
			}
		}
		fill(0xab, 1<<20, 5<<20)
		fill(0xcd, 12345, 4321)
		fill(0, 2<<20, 64<<10)
		fill(0, 3<<20, 1<<20)
		fill(0, 1<<20, 64<<10)
		fill(1, 32<<20, 4<<20)
		fill(2, 36<<20, 4<<20)
		if !bytes.Equal(m.content(), want) {
			t.Error("the disk is not what was written to it")
		}
		if n := m.counted(); n.syncs < 2 || n.trims != 1 || n.zeroes < 2 {
			t.Errorf("calls of the backend: %+v", n)
		}
		if m.pages[(2<<20)/page] == nil || m.pages[(3<<20)/page] != nil {
			t.Error("a hole where there should be none, or none where there should be one")
		}
	})
}

func TestReadOnlyExportCannotBeOpenedForWriting(t *testing.T) {
	m := sparseDisk()
	exports := func() []Export { return []Export{{Name: "vda", Backend: m, ReadOnly: true, MultiConn: true}} }
	want := m.content()
	transports(t, exports, func(t *testing.T, r transport) {
		if out, err := r.qemu(t, "qemu-io", "vda", "-c", "write 0 64k"); err == nil && !strings.Contains(out, "read-only") {
			t.Errorf("qemu-io wrote: %s", out)
		}
		if out, err := r.qemu(t, "qemu-io", "vda", "-r", "-c", "read 0 40M", "-c", "read -P 0 100M 64k"); !strings.Contains(out, "read 41943040/41943040") {
			t.Errorf("qemu-io -r: %v: %s", err, out)
		}
		if out, err := tryRun(t, "nbdcopy", "/dev/zero", r.uri("vda")); err == nil {
			t.Errorf("nbdcopy wrote: %s", out)
		}
	})
	if !bytes.Equal(m.content(), want) || m.counted().syncs > 0 {
		t.Error("the backend was touched")
	}
}

func TestToolsReportABackendsError(t *testing.T) {
	m := newMemory(8 << 20)
	m.WriteAt(pattern(8<<20), 0)
	b := &broken{memory: m, read: func(p []byte, offset int64) (int, error) {
		if offset <= 4<<20 && 4<<20 < offset+int64(len(p)) {
			return 0, fmt.Errorf("the platter is bent")
		}
		return m.ReadAt(p, offset)
	}}
	r := transport{serveDisk(t, b), nil}
	if out, err := tryRun(t, "nbdcopy", r.uri(""), "null:"); err == nil || !strings.Contains(out, "Input/output error") {
		t.Errorf("nbdcopy: %v: %s", err, out)
	}
	out, _ := r.qemu(t, "qemu-io", "", "-c", "read 4M 64k", "-c", "read -v 0 16", "-c", "read 5M 3M")
	if !strings.Contains(out, "Input/output error") || !strings.Contains(out, "read 3145728/3145728") {
		t.Errorf("qemu-io: %s", out)
	}
}

func TestToolsWithoutACertificateAreNotLetIn(t *testing.T) {
	p, other := newPKI(t), newPKI(t)
	v := serveTLS(t, p, newMemory(1<<20))
	for name, r := range map[string]transport{"without TLS": {v, nil}, "with a certificate of another authority": {v, other}} {
		if out, err := tryRun(t, "nbdinfo", "--size", r.uri("vda")); err == nil {
			t.Errorf("nbdinfo %s was let in: %s", name, out)
		}
		if out, err := r.qemu(t, "qemu-img", "vda", "info"); err == nil {
			t.Errorf("qemu-img %s was let in: %s", name, out)
		}
	}
}
