package blockindex

import "math"

// walk resolves a chain chunk by chunk, which costs a read per file and chunk and not
// one per block.
type walk struct {
	chain  Chain
	found  []found        // of each file
	hashes [perChunk]Hash // of the last resolve
	buf    []byte
}

// found is what was found last about where a file has data: first at chunk at (nowhere
// if that is negative), of those from chunk from on.
type found struct{ from, at int64 }

func newWalk(c Chain) *walk {
	w := &walk{chain: c, found: make([]found, len(c)), buf: make([]byte, perChunk*entrySize)}
	for i := range w.found {
		w.found[i].from = math.MaxInt64 // nothing was found yet
	}
	return w
}

// flush lets the walk see what was set.
func (w *walk) flush() error {
	for _, f := range w.chain {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return nil
}

// next is the first chunk from n on of which any file says something, or -1.
func (w *walk) next(n int64) (int64, error) { return w.nextOf(n, 0) }

// nextOf is next for the files from the first one on.
func (w *walk) nextOf(n int64, first int) (int64, error) {
	best := int64(-1)
	for i := first; i < len(w.chain); i++ {
		at, err := w.nextIn(i, n)
		if err != nil {
			return 0, err
		}
		if at >= 0 && (best < 0 || at < best) {
			best = at
		}
	}
	return best, nil
}

// nextIn is the first chunk from n on of which file i says something, or -1.
func (w *walk) nextIn(i int, n int64) (int64, error) {
	if last := w.found[i]; last.from <= n && (last.at < 0 || n <= last.at) {
		return last.at, nil
	}
	at, err := w.chain[i].nextChunk(n)
	if err == nil {
		w.found[i] = found{n, at}
	}
	return at, err
}

// resolve makes hashes those of a chunk's blocks. Beyond the disk's end they are
// [Zero].
func (w *walk) resolve(n int64) error {
	clear(w.hashes[:])
	visible := int64(perChunk) // blocks of the chunk that the file in turn is seen of
	for i := len(w.chain) - 1; i >= 0; i-- {
		f := w.chain[i]
		visible = min(visible, f.Blocks()-n*perChunk)
		if visible <= 0 {
			break
		}
		at, err := w.nextIn(i, n)
		if err != nil {
			return err
		}
		if at == n {
			if err := f.readEntries(w.buf, n*perChunk); err != nil {
				return err
			}
			for k := range visible {
				if w.hashes[k] == absent {
					w.hashes[k] = Hash(w.buf[k*entrySize:])
				}
			}
		}
		visible = min(visible, f.head.inherited-n*perChunk)
	}
	for k := range w.hashes {
		if w.hashes[k] == absent {
			w.hashes[k] = Zero
		}
	}
	return nil
}
