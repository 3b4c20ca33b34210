package config

import "time"

// Version is the only version of the file there is.
const Version = 1

// DefaultPath is where the service's configuration is.
const DefaultPath = "/etc/vmsync/vmsync.yaml"

// Config is a configuration, complete and checked. Machines are asked for with
// [Config.Resolve].
type Config struct {
	Target  Host
	Store   string // absolute path on the target, where no layer says otherwise
	Sources []Host // one or more, in the order of the file

	Concurrency Concurrency
	Retry       Retry
	// Jitter is how much later than due a run may begin, at random: 0 to 1h.
	Jitter time.Duration

	Notifications map[string]Notification
	API           API
	Metrics       Metrics
	History       History

	machines
}

// Concurrency is how many syncs may run at the same time, each 1 to 1000.
type Concurrency struct{ Total, PerSource, PerTargetHost int }

// Retry is how long a sync that failed waits before it is tried again: First, then twice
// as long each time, up to Max. Both are 1s to 1d.
type Retry struct{ First, Max time.Duration }

// API is where programs talk to the service.
type API struct {
	Socket string // absolute path
	Group  string // Unix group that may connect besides root; empty: none
}

// Metrics is where Prometheus finds figures.
type Metrics struct {
	Listen string // host:port; empty: nowhere
}

// History is what is kept of past runs: the newest KeepRuns of each machine, of which none
// is older than KeepFor.
type History struct {
	Path     string        // absolute path
	KeepRuns int           // 1 to 1,000,000
	KeepFor  time.Duration // 1h to 10 years
}

// Source finds a source by its name.
func (c *Config) Source(name string) (Host, bool) {
	for _, s := range c.Sources {
		if s.Name == name {
			return s, true
		}
	}
	return Host{}, false
}
