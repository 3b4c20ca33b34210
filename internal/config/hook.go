package config

import (
	"fmt"
	"path/filepath"
	"time"
)

// Place is where a hook runs.
type Place string

// Places.
const (
	OnSource Place = "source"
	OnTarget Place = "target"
	OnGuest  Place = "guest" // through the guest agent
)

// OnFailure is what a hook that fails means for the run.
type OnFailure string

// What a failure means.
const (
	Abort OnFailure = "abort" // the run fails
	Warn  OnFailure = "warn"  // it goes on, and tells
)

// Hook is a program to run during a sync.
type Hook struct {
	On      Place
	Command []string // program and arguments, as they are: no shell; the program's path is absolute, but for a guest's
	// Timeout is 1s to 1d. A hook that takes longer is ended and has failed.
	Timeout   time.Duration
	OnFailure OnFailure
}

// defaultHookTimeout is that of hooks that give none.
const defaultHookTimeout = time.Minute

// readHooks reads a list of hooks; nil only if it is not given.
func readHooks(s section, key string, onFailure OnFailure) []Hook {
	var hooks []Hook
	if s.values[key] != nil {
		hooks = []Hook{}
	}
	for _, h := range s.sections(key, hookKeys()) {
		hook := Hook{
			On:        orElse(h, "on", "", oneOf(OnSource, OnTarget, OnGuest)),
			Command:   readCommand(h, "command"),
			Timeout:   orElse(h, "timeout", defaultHookTimeout, between(time.Second, day)),
			OnFailure: orElse(h, "on_failure", onFailure, oneOf(Abort, Warn)),
		}
		h.need("on", "on: source, on: target or on: guest")
		h.need("command", "command: [/path/of/program, argument]")
		if len(hook.Command) > 0 && hook.On != OnGuest {
			checkProgram(h, hook.Command[0])
		}
		hooks = append(hooks, hook)
	}
	return hooks
}

// readCommand reads a program and its arguments.
func readCommand(s section, key string) []string {
	n := s.values[key]
	switch {
	case n == nil:
		return nil
	case n.kind == scalar:
		s.f.add(n.position, "%s is a single value, and no shell reads it: write a list: [/path/of/program, argument]", key)
		return nil
	case n.kind == list && len(n.items) == 0:
		s.f.add(n.position, "%s is empty: write a list: [/path/of/program, argument]", key)
		return nil
	}
	return many(s, key, argument)
}

// argument reads one of a command: anything but what the kernel cannot pass on.
func argument(text string) (string, error) {
	for i := range len(text) {
		if text[i] == 0 {
			return "", fmt.Errorf("%q has a NUL in it: remove it", text)
		}
	}
	return text, nil
}

func checkProgram(s section, program string) {
	if !filepath.IsAbs(program) {
		s.f.add(s.values["command"].position, "command: %q is not an absolute path: write the program's from / on", program)
	}
}
