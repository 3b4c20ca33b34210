package btrfs

// cursor stands at an item of a tree, or behind the last one. It is used by one
// goroutine alone.
type cursor struct {
	t      *tree
	leaf   leafCursor
	change int // the first change that is not below the cursor

	at   key
	item []byte
	ok   bool
}

// valid says whether there is an item: key and data, which must not be changed.
func (c *cursor) valid() bool { return c.ok }

// in says whether the cursor stands at an item of this kind of an object.
func (c *cursor) in(object uint64, kind uint8) bool {
	return c.ok && c.at.object == object && c.at.kind == kind
}

// next moves on to the following item.
func (c *cursor) next() error {
	if !c.ok {
		return nil
	}
	if c.leaf.valid() && c.leaf.key() == c.at {
		if err := c.leaf.next(); err != nil {
			c.ok = false
			return err
		}
	}
	if c.t.changes != nil {
		if c.change < len(c.t.changes.entries) && c.t.changes.entries[c.change].key == c.at {
			c.change++
		}
	}
	return c.settle()
}

// settle takes the lower one of the tree's item and the changed one; a changed item
// replaces the tree's, and a deleted one hides it.
func (c *cursor) settle() error {
	if c.t.changes == nil {
		if c.ok = c.leaf.valid(); c.ok {
			c.at, c.item = c.leaf.key(), c.leaf.item()
		}
		return nil
	}
	for {
		changes := c.t.changes.entries
		if c.change == len(changes) || c.leaf.valid() && c.leaf.key().compare(changes[c.change].key) < 0 {
			if c.ok = c.leaf.valid(); c.ok {
				c.at, c.item = c.leaf.key(), c.leaf.item()
			}
			return nil
		}
		change := changes[c.change]
		if change.item != nil {
			c.at, c.item, c.ok = change.key, change.item, true
			return nil
		}
		if c.leaf.valid() && c.leaf.key() == change.key {
			if err := c.leaf.next(); err != nil {
				c.ok = false
				return err
			}
		}
		c.change++
	}
}

// leafCursor is a cursor over what is on the device.
type leafCursor struct {
	t    *tree
	path [maxLevel + 1]struct { // by level
		n    *node
		slot int
	}
	ok bool
}

func (c *leafCursor) valid() bool  { return c.ok }
func (c *leafCursor) key() key     { return c.path[0].n.key(c.path[0].slot) }
func (c *leafCursor) item() []byte { return c.path[0].n.item(c.path[0].slot) }

// seek moves to the first item whose key is not below k.
func (c *leafCursor) seek(t *tree, k key) error {
	if err := c.find(t, k); err != nil {
		return err
	}
	if leaf := &c.path[0]; leaf.slot == leaf.n.count && leaf.slot > 0 {
		leaf.slot--
		return c.next()
	}
	return nil
}

// floor moves to the last item whose key is not above k, or to the first one.
func (c *leafCursor) floor(t *tree, k key) error {
	if err := c.find(t, k); err != nil {
		return err
	}
	// Each leaf begins with the key that points to it, so the item is in this one.
	leaf := &c.path[0]
	if leaf.slot > 0 && (leaf.slot == leaf.n.count || leaf.n.key(leaf.slot) != k) {
		leaf.slot--
	}
	return nil
}

// find goes down to the leaf where k is or would be.
func (c *leafCursor) find(t *tree, k key) error {
	c.t, c.ok = t, false
	n, err := t.rootNode()
	if err != nil {
		return err
	}
	for n.level > 0 {
		slot := n.searchChild(k)
		c.path[n.level].n, c.path[n.level].slot = n, slot
		if n, err = t.r.descend(n, slot); err != nil {
			return err
		}
	}
	c.path[0].n, c.path[0].slot = n, n.search(k)
	c.ok = n.count > 0
	return nil
}

// next moves to the following item.
func (c *leafCursor) next() error {
	leaf := &c.path[0]
	if leaf.slot++; leaf.slot < leaf.n.count {
		return nil
	}
	c.ok = false
	last := leaf.n.key(leaf.n.count - 1)
	level := uint8(1)
	for ; level <= c.t.root.level; level++ {
		if c.path[level].slot+1 < c.path[level].n.count {
			c.path[level].slot++
			break
		}
	}
	if level > c.t.root.level {
		return nil
	}
	for ; level > 0; level-- {
		n, err := c.t.r.descend(c.path[level].n, c.path[level].slot)
		if err != nil {
			return err
		}
		c.path[level-1].n, c.path[level-1].slot = n, 0
	}
	if first := c.key(); first.compare(last) <= 0 {
		return corrupt("tree %d: %v follows %v", int64(c.t.id), first, last)
	}
	c.ok = true
	return nil
}
