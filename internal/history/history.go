package history

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"
)

// version is that of the file's format.
const version = 1

// Names of the database's buckets.
var (
	metaBucket    = []byte("meta")     // version: a decimal number
	runsBucket    = []byte("runs")     // of each machine a bucket: runs, by when they began
	machineBucket = []byte("machines") // by key
	versionKey    = []byte("version")
)

// ErrVersion means that the file was written by another release, in a format unknown here.
var ErrVersion = errors.New("unknown format")

// ErrBusy means that another process has the file open.
var ErrBusy = errors.New("in use by another process")

// Limits bound what is kept. What is older goes with the next run of the same machine.
type Limits struct {
	Runs int           // of each machine; 1 or more
	Age  time.Duration // above 0
}

// History is an open file. Its methods may be called from several goroutines.
type History struct {
	db     *bbolt.DB
	limits Limits
	now    func() time.Time
}

// lockWait is how long Open waits for a process that is about to end.
const lockWait = 2 * time.Second

// Open opens the file at path, making it and its folder where there is none. Runs that had
// not ended are now [Killed]; they are returned. Its error is an [ErrBusy], an [ErrVersion]
// or what the file system says.
func Open(path string, limits Limits) (h *History, killed []Run, err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, nil, err
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	if errors.Is(err, bbolterrors.ErrTimeout) {
		return nil, nil, fmt.Errorf("history %s: %w", path, ErrBusy)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("history %s: %w", path, err)
	}
	h = &History{db: db, limits: limits, now: time.Now}
	if err = h.prepare(); err == nil {
		killed, err = h.bury()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("history %s: %w", path, err), db.Close())
	}
	return h, killed, nil
}

// OpenAnyway is [Open], but a file that is damaged is put aside, under the name that it
// returns, and a new one begun.
func OpenAnyway(path string, limits Limits) (h *History, killed []Run, aside string, err error) {
	h, killed, err = Open(path, limits)
	if !damaged(err) {
		return h, killed, "", err
	}
	aside = path + ".damaged"
	if rerr := os.Rename(path, aside); rerr != nil {
		return nil, nil, "", errors.Join(err, rerr)
	}
	h, killed, err = Open(path, limits)
	return h, killed, aside, err
}

// damaged tells whether an error of Open means that the file can be of no use any more.
func damaged(err error) bool {
	var text *json.SyntaxError
	for _, known := range []error{bbolterrors.ErrInvalid, bbolterrors.ErrChecksum, bbolterrors.ErrVersionMismatch} {
		if errors.Is(err, known) {
			return true
		}
	}
	return errors.As(err, &text)
}

// prepare makes the buckets of a new file and checks the version of an old one.
func (h *History) prepare() error {
	return h.db.Update(func(tx *bbolt.Tx) error {
		if meta := tx.Bucket(metaBucket); meta != nil {
			if got := string(meta.Get(versionKey)); got != fmt.Sprint(version) {
				return fmt.Errorf("%w: version %q, this release knows %d", ErrVersion, got, version)
			}
			return nil
		}
		if name, _ := tx.Cursor().First(); name != nil {
			return fmt.Errorf("%w: it is some other program's database", ErrVersion)
		}
		meta, err := tx.CreateBucket(metaBucket)
		if err != nil {
			return err
		}
		if _, err := tx.CreateBucket(runsBucket); err != nil {
			return err
		}
		if _, err := tx.CreateBucket(machineBucket); err != nil {
			return err
		}
		return meta.Put(versionKey, fmt.Append(nil, version))
	})
}

// bury ends the runs of a process that died.
func (h *History) bury() (killed []Run, err error) {
	err = h.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(runsBucket).ForEachBucket(func(machine []byte) error {
			runs := tx.Bucket(runsBucket).Bucket(machine)
			// Only the newest can be under way: a machine has one run at a time.
			key, value := runs.Cursor().Last()
			var r Run
			if key == nil || json.Unmarshal(value, &r) != nil || r.Outcome != Running {
				return nil
			}
			r.Outcome, r.Ended = Killed, h.now()
			killed = append(killed, r)
			return h.write(tx, &r)
		})
	})
	return killed, err
}

// Close closes the file.
func (h *History) Close() error { return h.db.Close() }

// Begin keeps a run that begins. Machine, ID and Began are what it is known by from then on.
func (h *History) Begin(r Run) error {
	r.Outcome = Running
	return h.db.Update(func(tx *bbolt.Tx) error { return h.write(tx, &r) })
}

// End keeps how a run ended, updates its machine, and forgets runs that are over the limits.
func (h *History) End(r Run) error {
	if r.Outcome == Running || r.Ended.IsZero() {
		return fmt.Errorf("run %s has not ended", r.ID)
	}
	return h.db.Update(func(tx *bbolt.Tx) error {
		if err := h.write(tx, &r); err != nil {
			return err
		}
		return h.forget(tx.Bucket(runsBucket).Bucket([]byte(r.Machine)))
	})
}

// write puts a run into its machine's bucket and, if it has ended, what follows from it into
// the machine's record.
func (h *History) write(tx *bbolt.Tx, r *Run) error {
	runs, err := tx.Bucket(runsBucket).CreateBucketIfNotExists([]byte(r.Machine))
	if err != nil {
		return err
	}
	if err := put(runs, runKey(r), r); err != nil || r.Outcome == Running {
		return err
	}
	m, err := machineOf(tx, r.Machine)
	if err != nil {
		return err
	}
	return put(tx.Bucket(machineBucket), []byte(r.Machine), m.After(r))
}

// Saw keeps that looks have found nothing at all changed, by machine's key and when.
func (h *History) Saw(seen map[string]time.Time) error {
	return h.db.Update(func(tx *bbolt.Tx) error {
		for key, at := range seen {
			m, err := machineOf(tx, key)
			if err != nil {
				return err
			}
			if err := put(tx.Bucket(machineBucket), []byte(key), m.Seen(at)); err != nil {
				return err
			}
		}
		return nil
	})
}

// forget deletes the oldest runs over the limits, never the newest one.
func (h *History) forget(runs *bbolt.Bucket) error {
	c := runs.Cursor()
	kept := 0
	var over [][]byte
	oldest := h.now().Add(-h.limits.Age)
	for key, _ := c.Last(); key != nil; key, _ = c.Prev() {
		if kept > 0 && (kept >= h.limits.Runs || began(key).Before(oldest)) {
			over = append(over, key)
			continue
		}
		kept++
	}
	for _, key := range over {
		if err := runs.Delete(key); err != nil {
			return err
		}
	}
	return nil
}

// runKey sorts a machine's runs by when they began. The id tells apart those of one moment.
func runKey(r *Run) []byte {
	return append(binary.BigEndian.AppendUint64(nil, uint64(r.Began.UnixNano())), r.ID...)
}

func began(key []byte) time.Time {
	if len(key) < 8 {
		return time.Time{}
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(key)))
}

func put(b *bbolt.Bucket, key []byte, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return b.Put(key, data)
}

func machineOf(tx *bbolt.Tx, key string) (m Machine, err error) {
	if data := tx.Bucket(machineBucket).Get([]byte(key)); data != nil {
		err = json.Unmarshal(data, &m)
	}
	m.Key = key
	return m, err
}

// Machine tells what is known of a machine; of one that never ran just its key.
func (h *History) Machine(key string) (m Machine, err error) {
	err = h.db.View(func(tx *bbolt.Tx) (err error) {
		m, err = machineOf(tx, key)
		return err
	})
	return m, err
}

// Machines tells what is known of all machines, sorted by key.
func (h *History) Machines() (all []Machine, err error) {
	err = h.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(machineBucket).ForEach(func(key, data []byte) error {
			m := Machine{}
			if err := json.Unmarshal(data, &m); err != nil {
				return fmt.Errorf("machine %s: %w", key, err)
			}
			m.Key = string(key)
			all = append(all, m)
			return nil
		})
	})
	return all, err
}

// Pause keeps that a machine is paused, or with nil that it no longer is.
func (h *History) Pause(key string, p *Pause) error {
	return h.db.Update(func(tx *bbolt.Tx) error {
		m, err := machineOf(tx, key)
		if err != nil {
			return err
		}
		m.Paused = p
		return put(tx.Bucket(machineBucket), []byte(key), m)
	})
}

// Tell keeps what somebody was told of machines, by key, and what not any more.
func (h *History) Tell(all map[string]Told) error {
	return h.db.Update(func(tx *bbolt.Tx) error {
		for key, told := range all {
			m, err := machineOf(tx, key)
			if err != nil {
				return err
			}
			m.Told = told
			if err := put(tx.Bucket(machineBucket), []byte(key), m); err != nil {
				return err
			}
		}
		return nil
	})
}

// Runs returns a machine's last runs, the newest first, at most limit.
func (h *History) Runs(ctx context.Context, key string, limit int) (runs []Run, err error) {
	err = h.db.View(func(tx *bbolt.Tx) error {
		b := tx.Bucket(runsBucket).Bucket([]byte(key))
		if b == nil {
			return nil
		}
		c := b.Cursor()
		for k, v := c.Last(); k != nil && len(runs) < limit; k, v = c.Prev() {
			if err := ctx.Err(); err != nil {
				return err
			}
			var r Run
			if err := json.Unmarshal(v, &r); err != nil {
				return fmt.Errorf("run of %s: %w", key, err)
			}
			runs = append(runs, r)
		}
		return nil
	})
	return runs, err
}
