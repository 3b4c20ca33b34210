package btrfs

// tree is a sorted list of items. Its changes, where there are any, are those of a log.
type tree struct {
	r       *reader
	id      uint64
	root    nodeRef
	changes *overlay // nil for most trees
}

// get returns the data of the item with exactly this key. The caller must not change it.
func (t *tree) get(k key) (item []byte, ok bool, err error) {
	if t.changes != nil {
		if item, changed := t.changes.get(k); changed {
			return item, item != nil, nil
		}
	}
	n, err := t.rootNode()
	if err != nil {
		return nil, false, err
	}
	for n.level > 0 {
		if n, err = t.r.descend(n, n.searchChild(k)); err != nil {
			return nil, false, err
		}
	}
	i := n.search(k)
	if i == n.count || n.key(i) != k {
		return nil, false, nil
	}
	return n.item(i), true, nil
}

func (t *tree) rootNode() (*node, error) {
	if t.root.level > maxLevel {
		return nil, corrupt("tree %d: level %d", int64(t.id), t.root.level)
	}
	return t.r.node(t.root)
}

// seek returns a cursor at the first item whose key is not below k.
func (t *tree) seek(k key) (*cursor, error) {
	c := &cursor{t: t}
	if err := c.leaf.seek(t, k); err != nil {
		return nil, err
	}
	if t.changes != nil {
		c.change = t.changes.search(k)
	}
	return c, c.settle()
}

// floor returns a cursor at the last item whose key is not above k, or, where there is
// none, at the first item.
func (t *tree) floor(k key) (*cursor, error) {
	c := &cursor{t: t}
	for {
		if err := c.leaf.floor(t, k); err != nil {
			return nil, err
		}
		if t.changes == nil {
			return c, c.settle()
		}
		at := key{}
		if c.leaf.valid() && c.leaf.key().compare(k) <= 0 {
			at = c.leaf.key()
		}
		if changed := t.changes.floor(k); changed.compare(at) > 0 {
			at = changed
		}
		item, changed := t.changes.get(at)
		if !changed || item != nil || at == (key{}) {
			return t.seek(at)
		}
		k = at.before()
	}
}
