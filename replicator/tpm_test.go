package replicator

import (
	"archive/tar"
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTPMStateComesBackAsItWas(t *testing.T) {
	want := []TPMFile{{"tpm2/tpm2-00.permall", []byte("keys")}, {"tpm2/tpm2-00.volatilestate", nil}}
	p, err := PackTPM(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadTPM(p)
	if err != nil {
		t.Fatal(err)
	}
	want[1].Data = []byte{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestArchiveThatIsNoTPMIsRefused(t *testing.T) {
	archive := func(headers ...tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(make([]byte, h.Size)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	reg := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	for name, b := range map[string][]byte{
		"empty":          archive(),
		"nothing":        nil,
		"no archive":     bytes.Repeat([]byte("x"), 1024),
		"cut off":        archive(tar.Header{Typeflag: tar.TypeReg, Name: "tpm2/a", Size: 600})[:700],
		"out of it":      archive(reg("tpm2/../../x")),
		"absolute":       archive(reg("/tpm2/a")),
		"other folder":   archive(reg("tpm3/a")),
		"deeper":         archive(reg("tpm2/a/b")),
		"no folder":      archive(reg("a")),
		"hidden":         archive(reg("tpm2/.lock")),
		"dots":           archive(reg("tpm2/..")),
		"space":          archive(reg("tpm2/a b")),
		"symbolic link":  archive(tar.Header{Typeflag: tar.TypeSymlink, Name: "tpm2/a", Linkname: "/etc/shadow"}),
		"device":         archive(tar.Header{Typeflag: tar.TypeBlock, Name: "tpm2/a"}),
		"folder":         archive(tar.Header{Typeflag: tar.TypeDir, Name: "tpm2/"}),
		"twice":          archive(reg("tpm2/a"), reg("tpm2/a")),
		"more than fits": archive(tar.Header{Typeflag: tar.TypeReg, Name: "tpm2/a", Size: MaxTPM + 1}),
	} {
		if files, err := ReadTPM(b); err == nil {
			t.Errorf("%s: %+v", name, files)
		}
	}
}

func FuzzReadTPM(f *testing.F) {
	p, err := PackTPM([]TPMFile{{"tpm2/tpm2-00.permall", []byte("keys")}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(p))
	f.Fuzz(func(t *testing.T, archive []byte) {
		files, err := ReadTPM(archive)
		if (err == nil) != (len(files) > 0) {
			t.Errorf("%d files, %v", len(files), err)
		}
	})
}
