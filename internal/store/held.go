package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Names in a replica's folder that belong to pins.
const (
	pinsDir  = "pins"
	pinsLock = pinsDir + "/lock"
)

// pinPattern matches the names of pins' files: GENERATION.RANDOM.
var pinPattern = regexp.MustCompile(`^([0-9]+)\.[0-9a-f]{16}$`)

// maxPin bounds how much of a pin's file is read, in bytes.
const maxPin = 64 << 10

// ErrPinned means that a state is in use. Its error is a [*PinnedError].
var ErrPinned = errors.New("in use")

// Holder is a process that holds a pin, as it described itself.
type Holder struct {
	Pid   int       `json:"pid"`
	What  string    `json:"what"`
	Since time.Time `json:"since"`
	State string    `json:"state"` // the state's id
}

func (h Holder) String() string { return fmt.Sprintf("%s (process %d)", h.What, h.Pid) }

// Held says who holds which generations of a replica.
type Held map[int64][]Holder

// Err is nil where nothing is held, and a [*PinnedError] otherwise.
func (h Held) Err() error {
	if len(h) == 0 {
		return nil
	}
	return &PinnedError{Held: h}
}

// PinnedError says who uses the states that were to go. It unwraps to [ErrPinned].
type PinnedError struct{ Held Held }

func (e *PinnedError) Error() string {
	var states []string
	for _, g := range slices.Sorted(maps.Keys(e.Held)) {
		holders := e.Held[g]
		var by []string
		for _, h := range holders {
			by = append(by, h.String())
		}
		states = append(states, fmt.Sprintf("state %s is in use by %s", holders[0].State, strings.Join(by, ", ")))
	}
	return strings.Join(states, "; ")
}

func (e *PinnedError) Unwrap() error { return ErrPinned }

// WithPins calls a function with the states that are pinned. While it runs, nobody
// can pin a state, but pins may be released; so what is not held then is held by
// nobody until it returns, and by nobody afterwards if it saved a manifest that does
// not list it. It should take no longer than that. Files of dead holders are
// removed.
//
// It waits for those who pin at the same moment, as long as ctx lasts.
func (f *Folder) WithPins(ctx context.Context, do func(Held) error) error {
	return f.holdPins(ctx, func() error {
		held, err := f.livePins(true)
		if err != nil {
			return err
		}
		return do(held)
	})
}

// Pinned says which generations are pinned. Who wants to act on it needs
// [Folder.WithPins]: it may be wrong as soon as it is known.
func (f *Folder) Pinned(ctx context.Context) (Held, error) {
	var found Held
	err := f.WithPins(ctx, func(held Held) error { found = held; return nil })
	return found, err
}

// Unlist takes states out of the manifest and saves it, all but those that are
// pinned, which it returns. Afterwards nobody uses a state that it took out, and
// nobody can. Generations that the manifest does not list are none of its
// business. On an error m is unchanged.
func (f *Folder) Unlist(ctx context.Context, m *Manifest, generations ...int64) (Held, error) {
	kept := Held{}
	err := f.WithPins(ctx, func(held Held) error {
		rest := *m
		rest.States = nil
		for _, s := range m.States {
			switch {
			case !slices.Contains(generations, s.Generation):
			case len(held[s.Generation]) > 0:
				kept[s.Generation] = held[s.Generation]
			default:
				continue
			}
			rest.States = append(rest.States, s)
		}
		if len(rest.States) == len(m.States) {
			return nil
		}
		if err := f.Save(&rest); err != nil {
			return err
		}
		m.States = rest.States
		return nil
	})
	if err != nil {
		return nil, err
	}
	return kept, nil
}

// livePins finds the living holders, and removes what dead ones left if it is to sweep.
// The caller holds the lock of the pins, so no pin is half made.
func (f *Folder) livePins(sweep bool) (Held, error) {
	entries, err := os.ReadDir(f.Path(pinsDir))
	if err != nil {
		return nil, err
	}
	held := Held{}
	for _, e := range entries {
		match := pinPattern.FindStringSubmatch(e.Name())
		if match == nil {
			continue
		}
		generation, err := strconv.ParseInt(match[1], 10, 64)
		if err != nil {
			continue // not one that a manifest can have
		}
		holder, alive, err := readPin(filepath.Join(f.Path(pinsDir), e.Name()), sweep)
		if err != nil {
			return nil, err
		}
		if alive {
			held[generation] = append(held[generation], holder)
		}
	}
	return held, nil
}

// readPin reads a pin whose holder lives. One whose holder is dead it removes, if it is
// to sweep.
func readPin(name string, sweep bool) (h Holder, alive bool, err error) {
	file, err := os.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return Holder{}, false, nil // just released
	}
	if err != nil {
		return Holder{}, false, err
	}
	defer file.Close()
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		if !sweep {
			return Holder{}, false, nil
		}
		if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return Holder{}, false, err
		}
		return Holder{}, false, nil
	}
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return Holder{}, false, fmt.Errorf("lock %s: %w", name, err)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxPin))
	if err != nil {
		return Holder{}, false, err
	}
	if json.Unmarshal(content, &h) != nil {
		h = Holder{What: "a process that " + name + " does not name"} // it lives nevertheless
	}
	return h, true, nil
}

// dropPins removes the folder of the pins, unless somebody holds one or it has other
// files in it.
func (f *Folder) dropPins() error {
	if _, err := os.Stat(f.Path(pinsDir)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return f.WithPins(context.Background(), func(Held) error {
		entries, err := os.ReadDir(f.Path(pinsDir))
		if err != nil {
			return err
		}
		if len(entries) > 1 {
			return fmt.Errorf("%s is not empty", f.Path(pinsDir))
		}
		// The lock's file goes while it is locked, as that of the folder does: see hold.
		if err := f.Remove(pinsLock); err != nil {
			return err
		}
		return os.Remove(f.Path(pinsDir))
	})
}
