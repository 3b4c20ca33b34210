package replicator

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// TPMFile is one file of an emulated TPM's state.
type TPMFile struct {
	Name string // below libvirt's folder for the domain: "tpm2/tpm2-00.permall"
	Data []byte
}

// maxTPMFiles is far more than any emulator has.
const maxTPMFiles = 64

// PackTPM makes an archive of files, the same of the same ones.
func PackTPM(files []TPMFile) (Packed, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: 0o600, Size: int64(len(f.Data))}); err != nil {
			return nil, fmt.Errorf("archive the TPM's state: %w", err)
		}
		if _, err := w.Write(f.Data); err != nil {
			return nil, fmt.Errorf("archive the TPM's state: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("archive the TPM's state: %w", err)
	}
	return b.Bytes(), nil
}

// ReadTPM returns the files of an archive that PackTPM made. The archive may come from
// anybody: whatever is no plain file in a folder that libvirt has for TPMs is refused,
// and so is more than MaxTPM bytes.
func ReadTPM(archive []byte) ([]TPMFile, error) {
	var files []TPMFile
	total := 0
	r := tar.NewReader(bytes.NewReader(archive))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("the TPM's state: %w", err)
		}
		if err := checkTPMFile(h); err != nil {
			return nil, fmt.Errorf("the TPM's state: %w", err)
		}
		data, err := io.ReadAll(io.LimitReader(r, MaxTPM+1))
		if err != nil {
			return nil, fmt.Errorf("the TPM's state: %s: %w", h.Name, err)
		}
		total += len(data)
		switch {
		case total > MaxTPM || len(files) >= maxTPMFiles:
			return nil, errors.New("the TPM's state: more than a TPM has")
		case slices.ContainsFunc(files, func(f TPMFile) bool { return f.Name == h.Name }):
			return nil, fmt.Errorf("the TPM's state: %s is there twice", h.Name)
		}
		files = append(files, TPMFile{Name: h.Name, Data: data})
	}
	if len(files) == 0 {
		return nil, errors.New("the TPM's state: no files")
	}
	return files, nil
}

func checkTPMFile(h *tar.Header) error {
	dir, name := path.Split(h.Name)
	if h.Typeflag != tar.TypeReg || dir != "tpm2/" && dir != "tpm1.2/" || !TPMFileName(name) {
		return fmt.Errorf("%q is no file of a TPM", h.Name)
	}
	return nil
}

// TPMFileName says whether a file in a TPM's folder is part of its state, by its name
// alone.
func TPMFileName(name string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."
	return name != "" && len(name) <= 255 && name[0] != '.' && strings.Trim(name, letters) == ""
}
