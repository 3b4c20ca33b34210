package fusefs

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"vmsync/internal/store"
)

// DefaultCache is how many bytes of images are kept in memory unless asked otherwise.
const DefaultCache = 64 << 20

// minCache is the least that does for a few disks.
const minCache = 4 << 20

// DefaultIdle is how long a state stays pinned after the last use of it.
const DefaultIdle = time.Minute

// typeName is how the kernel calls the filesystem, after "fuse.".
const typeName = "vmsync"

// Options say what is mounted and how it is shown.
type Options struct {
	Store      string   // absolute path of the store
	Source     string   // what mount(8) lists as mounted; the store where it is empty
	Domains    []string // which replicas are shown; all where it is empty
	AllowOther bool     // other users than the one who mounts may look, too
	Owners     Owners
	Cache      int64         // bound for cached bytes of images; DefaultCache where it is 0
	KeyFiles   []string      // keys of encrypted volumes
	Idle       time.Duration // DefaultIdle where it is 0
	Log        *slog.Logger  // discarded if nil

	// Purpose is what pins say that the state is used for.
	Purpose string
}

// complete checks the options and fills in what was left out.
func (o *Options) complete(mountpoint string) error {
	if !filepath.IsAbs(o.Store) {
		return fmt.Errorf("the store %q must be an absolute path", o.Store)
	}
	for _, d := range o.Domains {
		if err := store.CheckDomainName(d); err != nil {
			return err
		}
	}
	if o.Cache == 0 {
		o.Cache = DefaultCache
	}
	if o.Cache < minCache {
		return fmt.Errorf("a cache of %d bytes is too small: %d at least", o.Cache, minCache)
	}
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Source == "" {
		o.Source = o.Store
	}
	if o.Purpose == "" {
		o.Purpose = "mount " + mountpoint
	}
	return nil
}
