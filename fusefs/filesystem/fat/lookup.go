package fat

import (
	"fmt"
	"iter"
	"sort"

	"golang.org/x/sys/unix"

	"vmsync/fusefs/filesystem"
)

// ReadDir implements filesystem.FS.
func (v *volume) ReadDir(id filesystem.ID) iter.Seq2[filesystem.Entry, error] {
	return func(yield func(filesystem.Entry, error) bool) {
		dir, err := v.directory(id)
		if err != nil {
			yield(filesystem.Entry{}, err)
			return
		}
		err = v.scan(dir, 0, dir.slots(), func(e entry) bool {
			kind := uint32(unix.S_IFREG)
			if e.record.isDir() {
				kind = unix.S_IFDIR
			}
			return yield(filesystem.Entry{Name: e.name, ID: e.id, Mode: kind}, nil)
		})
		if err != nil {
			yield(filesystem.Entry{}, fmt.Errorf("directory %d: %w", id, err))
		}
	}
}

// How well an entry fits a name that is looked for.
const (
	noMatch = iota
	shortMatch
	foldedMatch
	exactMatch
)

// Lookup implements filesystem.FS.
func (v *volume) Lookup(id filesystem.ID, name string) (filesystem.ID, error) {
	dir, err := v.directory(id)
	if err != nil {
		return 0, err
	}
	hash, folded := v.hash(name), fold(name)
	first := sort.Search(len(dir.index), func(i int) bool { return dir.index[i].hash >= hash })
	var best entry
	quality := noMatch
	for _, candidate := range dir.index[first:] {
		if candidate.hash != hash || quality == exactMatch {
			break
		}
		e, err := v.entryAt(dir, candidate)
		if err != nil {
			return 0, fmt.Errorf("directory %d: %w", id, err)
		}
		if match := e.match(name, folded); match > quality {
			best, quality = e, match
		}
	}
	if quality == noMatch {
		return 0, fmt.Errorf("%q in directory %d: %w", name, id, filesystem.ErrNotExist)
	}
	if best.id&loopID == 0 {
		v.records.Put(best.id, best.record, 1)
	}
	return best.id, nil
}

func (e *entry) match(name, folded string) int {
	switch {
	case e.name == name:
		return exactMatch
	case fold(e.name) == folded:
		return foldedMatch
	case fold(e.short) == folded:
		return shortMatch
	default:
		return noMatch
	}
}

// entryAt reads an entry that the index names, and the parts of its long name.
func (v *volume) entryAt(dir *directory, at indexed) (entry, error) {
	var found entry
	slot := int64(at.slot)
	err := v.scan(dir, slot-int64(at.parts), slot+1, func(e entry) bool {
		found = e
		return true
	})
	return found, err
}
