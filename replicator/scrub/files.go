package scrub

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"vmsync/internal/domainxml"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// lookAtFiles says what is wrong with the files of a state that are no images.
func (s *scrub) lookAtFiles(state *store.State) string {
	for _, f := range []struct {
		name, what string
		max        int64
		parse      func([]byte) error
	}{
		{state.DomainXML, "the domain XML", domainxml.MaxSize, parseXML},
		{state.NVRAM, "the UEFI variables", replicator.MaxNVRAM, func([]byte) error { return nil }},
		{state.TPM, "the TPM's state", 2 * replicator.MaxTPM, parseTPM},
	} {
		if f.name == "" {
			continue
		}
		b, err := readSmall(s.path(f.name), f.max)
		if err == nil {
			err = f.parse(b)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Sprintf("%s is missing (%s)", f.name, f.what)
		case err != nil:
			return fmt.Sprintf("%s cannot be read (%s): %s", f.name, f.what, firstLine(err))
		}
	}
	return ""
}

// readSmall reads a file of 1 to max bytes.
func readSmall(path string, max int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	switch {
	case err != nil:
		return nil, err
	case len(b) == 0:
		return nil, errors.New("it is empty")
	case int64(len(b)) > max:
		return nil, fmt.Errorf("it has more than %d bytes", max)
	}
	return b, nil
}

func parseXML(b []byte) error {
	_, err := domainxml.Parse(string(b))
	return err
}

func parseTPM(b []byte) error {
	_, err := replicator.ReadTPM(b)
	return err
}
