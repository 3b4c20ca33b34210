package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// MaxSize bounds a configuration, in bytes.
const MaxSize = 1 << 20

// Load reads a configuration's file. The error is an [Errors] where the file could be
// read, else what the system says.
func Load(path string) (*Config, error) {
	file, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: vmsync config example shows how to begin", err)
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return nil, err
	}
	return Parse(path, data)
}

// Parse reads a configuration; name stands for the file in errors. The error is an
// [Errors] and has all that was found. Text of more than [MaxSize] bytes is refused.
func Parse(name string, data []byte) (*Config, error) {
	f := &findings{file: name}
	if len(data) > MaxSize {
		f.add(position{1, 1}, "more than %d bytes: use patterns instead of an entry for each machine", MaxSize)
		return nil, f.err()
	}
	root := parseTree(data, f)
	if root == nil || len(f.all) > 0 || !knownVersion(root, f) {
		return nil, f.err()
	}
	c := readConfig(root, f)
	if len(f.all) == 0 {
		c.check(f) // what contradicts each other: of correct values only
	}
	if err := f.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// knownVersion looks at the version before anything else: keys of another one would only
// give misleading errors.
func knownVersion(root *node, f *findings) bool {
	const do = "write version: 1"
	if root.kind != mapping {
		f.add(root.position, "the file is %s: begin it with version: 1", root.kind)
		return false
	}
	for _, field := range root.fields {
		if field.key.text != "version" {
			continue
		}
		switch v := field.value; {
		case v.kind != scalar || v.empty:
			f.add(v.position, "version is %s: %s", v.what(), do)
			return false
		case v.text != strconv.Itoa(Version):
			f.add(v.position, "version %q is not known to this vmsync: %s, or install the vmsync that the file was written for", v.text, do)
			return false
		}
		return true
	}
	f.add(root.position, "version is missing: %s", do)
	return false
}

const (
	defaultStore       = "/var/lib/vmsync"
	defaultSocket      = "/run/vmsync/vmsync.sock"
	defaultHistory     = "/var/lib/vmsync-service/history.db"
	defaultTotal       = 4
	defaultPerSource   = 2
	defaultRetryFirst  = 30 * time.Second
	defaultRetryMax    = 15 * time.Minute
	defaultKeepRuns    = 10_000
	defaultKeepHistory = 90 * day
)

func readConfig(root *node, f *findings) *Config {
	top := readSection(root, "", topKeys(), f)
	c := &Config{
		Store:   orElse(top, "store", defaultStore, absolute),
		Sources: readSources(top),
		Jitter:  orElse(top, "jitter", 0, between(0, time.Hour)),
	}
	target := top.values["target"]
	if target == nil {
		target = &node{text: thisHost}
	}
	c.Target = readHost(target, "target", f)
	c.Target.Name = ""
	if c.Target.At.TLS {
		f.add(target.position, "target: %s: a host that is reached over TLS can only be a source", c.Target.URI)
	}

	s := top.child("concurrency", concurrencyKeys())
	c.Concurrency.Total = orElse(s, "total", defaultTotal, number(1, 1000))
	c.Concurrency.PerSource = orElse(s, "per_source", min(defaultPerSource, c.Concurrency.Total), number(1, 1000))
	c.Concurrency.PerTargetHost = orElse(s, "per_target_host", c.Concurrency.Total, number(1, 1000))
	for key, n := range map[string]int{"per_source": c.Concurrency.PerSource, "per_target_host": c.Concurrency.PerTargetHost} {
		if n > c.Concurrency.Total {
			f.add(s.at(key), "%s %d is more than total %d, and could not be reached: raise total or lower this", key, n, c.Concurrency.Total)
		}
	}

	s = top.child("retry", retryKeys())
	c.Retry.First = orElse(s, "first", defaultRetryFirst, between(time.Second, day))
	c.Retry.Max = orElse(s, "max", max(defaultRetryMax, c.Retry.First), between(time.Second, day))
	if c.Retry.Max < c.Retry.First {
		f.add(s.at("max"), "max is shorter than first: give at least that")
	}

	s = top.child("api", apiKeys())
	c.API.Socket = orElse(s, "socket", defaultSocket, socket)
	c.API.Group = orElse(s, "group", "", name)

	s = top.child("metrics", metricsKeys())
	c.Metrics.Listen = orElse(s, "listen", "", address)

	c.readHistory(top)
	c.readNotifications(top)
	c.machines.read(top, c)
	return c
}

func (c *Config) readHistory(top section) {
	s := top.child("history", historyKeys())
	c.History.Path = orElse(s, "path", defaultHistory, absolute)
	c.History.KeepRuns = orElse(s, "keep_runs", defaultKeepRuns, number(1, 1_000_000))
	c.History.KeepFor = orElse(s, "keep_for", defaultKeepHistory, between(time.Hour, 3660*day))
	if strings.HasPrefix(c.History.Path, strings.TrimSuffix(c.Store, "/")+"/") {
		top.f.add(s.at("path"), "path: %s is in the store, where replicas only may be: choose another folder", c.History.Path)
	}
}

func (c *Config) readNotifications(top section) {
	s := top.child("notifications", nil)
	c.Notifications = map[string]Notification{}
	for _, key := range s.inOrder() {
		if _, err := name(key); err != nil {
			top.f.add(s.keys[key], "notifications: %v", err)
			continue
		}
		c.Notifications[key] = readNotification(readSection(s.values[key], key, notificationKeys(), top.f))
	}
}
