//go:build faultpoints

package faultpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// Where faults are ordered.
const (
	envVariable = "VMSYNC_FAULT"
	orderFile   = "/run/vmsync-fault"
)

// Hit does what is ordered for this point. An order that cannot be understood or
// carried out panics: a test that injects no fault must not pass for one that does.
func Hit(name string) {
	orders := os.Getenv(envVariable)
	if orders == "" {
		text, err := os.ReadFile(orderFile)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			panic(fmt.Sprintf("faultpoint: %v", err))
		}
		orders = string(text)
	}
	action, ok, err := find(orders, name)
	if err == nil && ok {
		err = action.run()
	}
	if err != nil {
		panic(fmt.Sprintf("faultpoint %s: %v", name, err))
	}
}

// action is what to do at a point.
type action struct {
	verb string // "kill", "sleep", "wait" or "hold"
	d    time.Duration
	file string
}

// find returns the action that orders hold for a point. Every order is checked,
// also those for other points.
func find(orders, name string) (found action, ok bool, err error) {
	separator := func(c rune) bool { return c == ',' || c == ' ' || c == '\n' || c == '\t' }
	for _, order := range strings.FieldsFunc(orders, separator) {
		point, what, hasAction := strings.Cut(order, "=")
		verb, argument, _ := strings.Cut(what, ":")
		a := action{verb: verb}
		switch verb {
		case "kill":
		case "sleep":
			if a.d, err = time.ParseDuration(argument); err != nil {
				return action{}, false, fmt.Errorf("order %q: %w", order, err)
			}
		case "wait", "hold":
			a.file = argument
			hasAction = hasAction && argument != ""
		default:
			hasAction = false
		}
		if !hasAction || point == "" {
			return action{}, false, fmt.Errorf(
				"order %q: want NAME=kill, NAME=sleep:DURATION, NAME=wait:FILE or NAME=hold:FILE", order)
		}
		if point == name && !ok {
			found, ok = a, true
		}
	}
	return found, ok, nil
}

func (a action) run() error {
	switch a.verb {
	case "kill":
		if err := syscall.Kill(os.Getpid(), syscall.SIGKILL); err != nil {
			return err
		}
		select {} // the signal may take a moment; nothing may happen in it
	case "sleep":
		time.Sleep(a.d)
	case "wait":
		if err := os.WriteFile(a.file+".hit", nil, 0o600); err != nil {
			return err
		}
		return await(a.file, true)
	case "hold":
		if err := os.WriteFile(a.file, nil, 0o600); err != nil {
			return err
		}
		return await(a.file, false)
	}
	return nil
}

// await blocks until a file exists, or does not.
func await(file string, exists bool) error {
	for {
		_, err := os.Stat(file)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if exists == (err == nil) {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}
