package target

import (
	"context"
	"fmt"
	"os"

	"vmsync/internal/faultpoint"
	"vmsync/internal/qemu"
	"vmsync/internal/store"
	"vmsync/replicator"
)

// bootable is the state that the domain is to boot: the newest that is not known to be
// damaged; nil if there is none.
func (t *Target) bootable() *store.State { return t.manifest.Sound() }

// pointed tells whether the domain's run overlays are there, one for each disk of the
// state to boot and no others, and where the domain looks for them.
func (t *Target) pointed() bool {
	if t.domainStale {
		return false
	}
	state := t.bootable()
	if state == nil {
		return len(t.manifest.Run) == 0
	}
	over := map[string]string{}
	for _, r := range t.manifest.Run {
		if over[r.Disk] != "" {
			return false
		}
		over[r.Disk] = r.Base
		if _, err := os.Stat(t.folder.Path(r.Image)); err != nil {
			return false // deleted to give up what a started replica wrote
		}
	}
	for _, d := range state.Disks {
		if over[d.Name] != d.Image {
			return false
		}
	}
	return len(over) == len(state.Disks) && t.manifest.RunState == state.Generation
}

// point makes run overlays over the state to boot and points the domain at them. Where
// no state is fit to be booted there is no domain.
func (t *Target) point(ctx context.Context) error {
	if err := t.mayChange(ctx); err != nil {
		return err
	}
	return t.repoint(ctx)
}

// repoint is point where what the domain wrote to its overlays is given up.
func (t *Target) repoint(ctx context.Context) error {
	state := t.bootable()
	if state == nil {
		return t.unpoint(ctx)
	}
	files, err := t.readKept(state)
	if err != nil {
		return err
	}
	old := t.manifest.Run
	fresh, nvram, err := t.makeRun(ctx, state, files.nvram)
	if err != nil {
		return t.storeError("make run overlays", "", err)
	}
	// Both sets are listed while the domain may refer to either.
	m := *t.manifest
	m.Run = append(append([]store.RunOverlay{}, old...), fresh...)
	m.RunNVRAM = nvram
	if m.TargetUUID == "" {
		if m.TargetUUID, err = t.chooseUUID(ctx); err != nil {
			return t.fail(replicator.KindUnreachable, "choose the replica's UUID", "", "", err)
		}
	}
	if err := t.save(&m); err != nil {
		return err
	}
	if err := t.forgetMemory(ctx); err != nil {
		return err
	}
	faultpoint.Hit("target-before-define")
	if err := t.define(ctx, state, files.xml, fresh); err != nil {
		return err
	}
	faultpoint.Hit("target-defined")
	if err := t.placeTPM(files.tpm); err != nil {
		return t.fail(replicator.KindDefine, "put the TPM's state in place", "", "the replica's data is stored", err)
	}
	// Somebody may have started the domain before it was redefined: it then runs on
	// the old overlays, which must stay.
	if err := t.refuseActive(ctx); err != nil {
		return err
	}
	done := *t.manifest
	done.Run, done.RunState = fresh, state.Generation
	return t.save(&done)
}

// unpoint takes the domain away.
func (t *Target) unpoint(ctx context.Context) error {
	if err := t.undefine(ctx); err != nil {
		return err
	}
	m := *t.manifest
	m.Run, m.RunState, m.RunNVRAM = nil, 0, ""
	return t.save(&m)
}

// makeRun makes an empty overlay over each disk's image, and a copy of the UEFI
// variables, whose name it returns, if there are any.
func (t *Target) makeRun(ctx context.Context, state *store.State, variables []byte) (fresh []store.RunOverlay, nvram string, err error) {
	serial := t.nextSerial(state.Generation)
	var names []string
	for _, d := range state.Disks {
		name := store.RunName(d.Name, state.Generation, serial)
		path := t.folder.Path(name)
		if err := t.folder.Remove(name); err != nil { // of a run that died right here
			return nil, "", err
		}
		if err := qemu.CreateOverlay(ctx, path, "../"+d.Image, d.Size); err != nil {
			return nil, "", fmt.Errorf("disk %s: %w", d.Name, err)
		}
		if err := t.own(path, 0o660); err != nil {
			return nil, "", fmt.Errorf("disk %s: %w", d.Name, err)
		}
		sum, err := fileSum(path)
		if err != nil {
			return nil, "", fmt.Errorf("disk %s: %w", d.Name, err)
		}
		fresh = append(fresh, store.RunOverlay{Disk: d.Name, Image: name, Base: d.Image, SHA256: sum})
		names = append(names, name)
	}
	if variables != nil {
		nvram = store.RunNVRAMName(state.Generation, serial)
		err := t.folder.WriteFile(nvram, variables)
		if err == nil {
			err = t.own(t.folder.Path(nvram), 0o660)
		}
		if err != nil {
			return nil, "", fmt.Errorf("UEFI variables: %w", err)
		}
	}
	return fresh, nvram, t.folder.SyncFiles(names...)
}

// nextSerial gives a serial that no listed run overlay of this generation has.
func (t *Target) nextSerial(generation int64) int {
	serial := 1
	for taken := true; taken; {
		taken = false
		for _, r := range t.manifest.Run {
			if r.Image == store.RunName(r.Disk, generation, serial) {
				taken = true
				serial++
				break
			}
		}
	}
	return serial
}
