package scrub

import (
	"errors"
	"fmt"
	"io/fs"

	"vmsync/internal/domainxml"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// lookAtFiles says what is wrong with the files of a state that are no images.
func (s *scrub) lookAtFiles(state *store.State) string {
	for _, f := range []struct {
		name, what string
		parse      func([]byte) error
	}{
		{state.DomainXML, "the domain XML", parseXML},
		{state.NVRAM, "the UEFI variables", func([]byte) error { return nil }},
		{state.TPM, "the TPM's state", parseTPM},
	} {
		if f.name == "" {
			continue
		}
		b, err := state.ReadKept(s.pins[0].Dir(), f.name)
		if err == nil {
			err = f.parse(b)
		}
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Sprintf("%s is missing (%s)", f.name, f.what)
		case errors.Is(err, store.ErrAltered):
			return fmt.Sprintf("%s is not as received (%s)", f.name, f.what)
		case err != nil:
			return fmt.Sprintf("%s cannot be read (%s): %s", f.name, f.what, firstLine(err))
		}
	}
	return ""
}

func parseXML(b []byte) error {
	_, err := domainxml.Parse(string(b))
	return err
}

func parseTPM(b []byte) error {
	_, err := replicator.ReadTPM(b)
	return err
}
