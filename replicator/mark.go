package replicator

// Mark is what a run leaves for cheap looks at its source: by it the source can tell
// later, without a lock and without the target, whether anything has changed since the
// replica's head.
type Mark struct {
	Domain     string   `json:"domain"` // its name, for people
	UUID       string   `json:"uuid"`
	Checkpoint string   `json:"checkpoint"` // the head's
	Disks      []string `json:"disks"`      // the head's
	Shape      Shape    `json:"shape"`
}

// Shape tells two looks at a domain apart between which somebody changed its definition
// or its disks: two digests. Empty where the source cannot tell.
type Shape struct {
	Definition string `json:"definition,omitempty"`
	Disks      string `json:"disks,omitempty"` // names, images and sizes
}

// Peek is what a source tells of a domain by a mark.
type Peek struct {
	Shape Shape `json:"shape"`
	// Changed is as [SourceEnd] Changed has it.
	Changed map[string]int64 `json:"changed,omitempty"`
	// Unknown is why the source cannot tell, in words; the rest is empty then.
	Unknown string `json:"unknown,omitempty"`
}

// Same tells whether a peek shows that nothing at all has changed since the mark was made,
// at some moment while the source looked. Where it is not certain, it is not the same.
func (m *Mark) Same(p *Peek) bool {
	if p.Unknown != "" || len(m.Disks) == 0 || m.Shape == (Shape{}) || p.Shape != m.Shape {
		return false
	}
	for _, d := range m.Disks {
		if n, known := p.Changed[d]; !known || n != 0 {
			return false
		}
	}
	return true
}

// markOf is the mark of a run that has ended; nil if it has not ended well.
func (r *run) markOf(err error) *Mark {
	switch {
	case err != nil:
		return nil
	case r.skipped != nil:
		return r.mark(r.plan.Parent)
	}
	return r.mark(r.plan.Checkpoint)
}

// mark is that of a run that has ended well.
func (r *run) mark(checkpoint string) *Mark {
	m := &Mark{Domain: r.source.Name, UUID: r.source.UUID, Checkpoint: checkpoint, Shape: r.source.Shape}
	for _, d := range r.plan.Disks {
		m.Disks = append(m.Disks, d.Name)
	}
	return m
}
