package target

import (
	"fmt"

	"vmsync/internal/store"
	"vmsync/replicator"
)

// kept is what a state's domain is made of, apart from its disks. What the machine did
// not have is nil.
type kept struct {
	xml, nvram, tpm []byte
}

// readKept reads it, as it was received. That it cannot be had is no reason not to go on
// replicating: the next state brings its own.
func (t *Target) readKept(state *store.State) (kept, error) {
	var k kept
	for _, f := range []struct {
		name string
		to   *[]byte
	}{{state.DomainXML, &k.xml}, {state.NVRAM, &k.nvram}, {state.TPM, &k.tpm}} {
		if f.name == "" {
			continue
		}
		var err error
		if *f.to, err = state.ReadKept(t.folder.Dir(), f.name); err != nil {
			return kept{}, t.fail(replicator.KindDefine, "define the replica's domain", "",
				fmt.Sprintf("sync again, or have it boot an older state: vmsync verify %s marks the one that is damaged", t.domain),
				fmt.Errorf("state %s: %w", state.ID, err))
		}
	}
	return k, nil
}
