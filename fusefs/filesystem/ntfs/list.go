package ntfs

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"
)

// maxListSize is the most that an attribute list can have, in bytes, as Windows has it.
const maxListSize = 256 << 10

// A listEntry says in which record a part of an attribute is.
type listEntry struct {
	kind     uint32
	name     []byte
	lowVCN   int64
	record   reference
	instance uint16
}

// A segment is the part of an attribute that is in one record.
type segment struct {
	record   reference
	instance uint16
	kind     uint32
	lowVCN   int64
}

func (e *listEntry) segment() segment { return segment{e.record, e.instance, e.kind, e.lowVCN} }

// attributeList reads the list of a file whose attributes are in several records, false
// where they are all in r.
func (v *volume) attributeList(r *record) ([]listEntry, bool, error) {
	var list *attribute
	err := r.attributes(func(a *attribute) bool {
		if a.kind == typeList {
			list = a
		}
		return a.kind < typeList
	})
	if err != nil || list == nil {
		return nil, false, err
	}
	if list.size > maxListSize {
		return nil, false, corruptRecord(r.number, corrupt("an attribute list of %d bytes", list.size))
	}
	raw := list.value
	if !list.resident {
		s := &stream{volume: v, number: r.number, first: *list}
		if s.runs, err = decodeRuns(list, v.layout.clusters); err != nil {
			return nil, false, corruptRecord(r.number, err)
		}
		raw = make([]byte, list.size)
		if _, err := s.read(raw, 0); err != nil {
			return nil, false, err
		}
	}
	entries, err := parseList(raw)
	if err != nil {
		return nil, false, corruptRecord(r.number, err)
	}
	return entries, true, nil
}

func parseList(raw []byte) ([]listEntry, error) {
	le := binary.LittleEndian
	var entries []listEntry
	for len(raw) >= 26 {
		length := int(le.Uint16(raw[4:]))
		if length < 26 || length > len(raw) {
			return nil, corrupt("an entry of %d bytes in an attribute list", length)
		}
		b := raw[:length]
		name, err := part(b, int64(b[7]), int64(b[6])*2)
		if err != nil {
			return nil, err
		}
		e := listEntry{le.Uint32(b), name, int64(le.Uint64(b[8:])), reference(le.Uint64(b[16:])), le.Uint16(b[24:])}
		if e.lowVCN < 0 || e.lowVCN > maxVCN {
			return nil, corrupt("cluster %d in an attribute list", e.lowVCN)
		}
		entries = append(entries, e)
		raw = raw[length:]
	}
	return entries, nil
}

// extent returns a record that a list names, which has to be of the file base.
func (v *volume) extent(ref, base reference) (*record, error) {
	r, err := v.record(ref.number())
	if err != nil {
		return nil, err
	}
	if r.sequence() != ref.sequence() || (ref.number() != base.number() && r.base() != base) {
		return nil, corrupt("record %d is not of file %d", ref.number(), base.number())
	}
	return r, nil
}

// attribute returns the part of an attribute that is a segment of the file base.
func (v *volume) attribute(s segment, base reference) (*attribute, error) {
	r, err := v.extent(s.record, base)
	if err != nil {
		return nil, err
	}
	var found *attribute
	err = r.attributes(func(a *attribute) bool {
		if a.kind == s.kind && a.instance == s.instance {
			found = a
		}
		return found == nil
	})
	if err != nil {
		return nil, err
	}
	if found == nil || found.lowVCN != s.lowVCN {
		return nil, corrupt("record %d lacks attribute %d", s.record.number(), s.instance)
	}
	return found, nil
}

func (v *volume) decode(s segment, base reference) ([]run, error) {
	a, err := v.attribute(s, base)
	if err != nil {
		return nil, err
	}
	runs, err := decodeRuns(a, v.layout.clusters)
	if err != nil {
		return nil, corruptRecord(s.record.number(), err)
	}
	return runs, nil
}

// each calls yield for the begin of every attribute of the wanted types, until it returns
// false.
func (v *volume) each(r *record, yield func(*attribute) bool, wanted ...uint32) error {
	list, found, err := v.attributeList(r)
	if err != nil {
		return err
	}
	if !found {
		return r.attributes(func(a *attribute) bool {
			return a.lowVCN != 0 || !slices.Contains(wanted, a.kind) || yield(a)
		})
	}
	for _, e := range list {
		if e.lowVCN != 0 || !slices.Contains(wanted, e.kind) {
			continue
		}
		a, err := v.attribute(e.segment(), r.reference())
		if err != nil {
			return err
		}
		if !yield(a) {
			return nil
		}
	}
	return nil
}

// stream opens an attribute of a file by its type and name, nil where there is none.
func (v *volume) stream(r *record, kind uint32, name []byte) (*stream, error) {
	list, found, err := v.attributeList(r)
	if err != nil {
		return nil, err
	}
	s := &stream{volume: v, number: r.number, owner: r.number, base: r.reference()}
	if !found {
		var first *attribute
		err := r.attributes(func(a *attribute) bool {
			if a.kind == kind && bytes.Equal(a.name, name) && a.lowVCN == 0 {
				first = a
			}
			return first == nil
		})
		if err != nil || first == nil {
			return nil, err
		}
		s.first = *first
	} else {
		for _, e := range list {
			if e.kind == kind && bytes.Equal(e.name, name) {
				s.segments = append(s.segments, e.segment())
			}
		}
		if len(s.segments) == 0 {
			return nil, nil
		}
		slices.SortStableFunc(s.segments, func(a, b segment) int { return cmp.Compare(a.lowVCN, b.lowVCN) })
		first, err := v.attribute(s.segments[0], s.base)
		if err != nil {
			return nil, err
		}
		if first.lowVCN != 0 {
			return nil, corruptRecord(r.number, corrupt("a stream begins at cluster %d", first.lowVCN))
		}
		s.first, s.owner = *first, s.segments[0].record.number()
	}
	if !s.first.resident && len(s.segments) <= 1 {
		s.segments = nil
		if s.runs, err = decodeRuns(&s.first, v.layout.clusters); err != nil {
			return nil, corruptRecord(r.number, err)
		}
	}
	return s, nil
}
