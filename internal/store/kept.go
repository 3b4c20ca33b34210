package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// maxKept bounds a file of a state that is no image, in bytes: more than any machine's
// UEFI variables take.
const maxKept = 128 << 20

// ErrAltered means that a file of a state is not as it was received.
var ErrAltered = errors.New("not as received")

// KeptFiles names the state's files that are no images: its domain XML, its UEFI
// variables and the state of its TPM, as far as it has them.
func (s *State) KeptFiles() []string {
	return slices.DeleteFunc([]string{s.DomainXML, s.NVRAM, s.TPM}, func(name string) bool { return name == "" })
}

// Keep writes one of the state's files that are no images, durably, and its digest into
// the state, which is to be saved afterwards.
func (f *Folder) Keep(s *State, name string, content []byte) error {
	if err := f.WriteFile(name, content); err != nil {
		return err
	}
	if s.SHA256 == nil {
		s.SHA256 = map[string]string{}
	}
	s.SHA256[name] = sumOf(content)
	return nil
}

// ReadKept reads one of the state's files that are no images from a replica's folder. It
// returns [ErrAltered] if it is not as it was received; of a state without digests that
// cannot be told.
func (s *State) ReadKept(dir, name string) ([]byte, error) {
	f, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, fmt.Errorf("%s is no regular file", name))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKept+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		return nil, fmt.Errorf("%s is empty", name)
	case int64(len(b)) > maxKept:
		return nil, fmt.Errorf("%s has more than %d bytes", name, maxKept)
	case len(s.SHA256) > 0 && s.SHA256[name] != sumOf(b):
		return nil, fmt.Errorf("%s is %w", name, ErrAltered)
	}
	return b, nil
}

// checkKept refuses digests that are none, and those of some files only: nothing could
// tell then whether one was lost.
func (s *State) checkKept() error {
	if s.SHA256 == nil {
		return nil
	}
	kept := s.KeptFiles()
	for _, name := range kept {
		if !sha256Pattern.MatchString(s.SHA256[name]) {
			return fmt.Errorf("bad digest of %s", name)
		}
	}
	if len(s.SHA256) != len(kept) {
		return fmt.Errorf("digests of %d files, and it has %d", len(s.SHA256), len(kept))
	}
	return nil
}

func sumOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
