package fusefs

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"
)

// meaningless are options that mount(8) and systemd pass on and that say nothing here:
// the tree is always read-only, without devices and set-user-id programs.
var meaningless = []string{"ro", "defaults", "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner", "group",
	"dev", "nodev", "suid", "nosuid", "exec", "noexec", "atime", "noatime", "relatime", "norelatime", "diratime", "nodiratime",
	"sync", "async", "dirsync", "mand", "nomand", "iversion", "noiversion", "silent", "loud", "default_permissions", "rw"}

// ParseMountOptions sets options from what follows mount's -o:
// "allow_other,domain=vm1,uid=1000,cache=256M". A comma in a value is written "\,". Unknown
// options are an error, unless they are to be ignored.
func (o *Options) ParseMountOptions(text string, ignoreUnknown bool) error {
	for _, option := range splitOptions(text) {
		name, value, hasValue := strings.Cut(option, "=")
		err := o.set(name, value, hasValue)
		if unknown, ok := err.(unknownOption); ok && (ignoreUnknown || unknown.harmless()) {
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func splitOptions(text string) []string {
	var options []string
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text):
			i++
			b.WriteByte(text[i])
		case text[i] == ',':
			options = append(options, b.String())
			b.Reset()
		default:
			b.WriteByte(text[i])
		}
	}
	return slices.DeleteFunc(append(options, b.String()), func(s string) bool { return s == "" })
}

type unknownOption string

func (u unknownOption) Error() string { return fmt.Sprintf("unknown mount option %q", string(u)) }

// harmless options are for others: for mount(8), systemd, or people.
func (u unknownOption) harmless() bool {
	name, _, _ := strings.Cut(string(u), "=")
	return slices.Contains(meaningless, name) || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") || name == "comment"
}

// set sets one option.
func (o *Options) set(name, value string, hasValue bool) (err error) {
	option := name
	if hasValue {
		option += "=" + value
	}
	known := func(wantsValue bool) error {
		if wantsValue != hasValue {
			return fmt.Errorf("mount option %q: %s", option, map[bool]string{true: "it needs a value", false: "it takes no value"}[wantsValue])
		}
		return nil
	}
	switch name {
	case "allow_other":
		o.AllowOther = true
		return known(false)
	case "store":
		o.Store = value
	case "domain":
		o.Domains = append(o.Domains, value)
	case "key-file", "key_file":
		o.KeyFiles = append(o.KeyFiles, value)
	case "uid":
		o.Owners.UID, err = parseID(value)
	case "gid":
		o.Owners.GID, err = parseID(value)
	case "mode":
		var mode uint32
		mode, err = ParseMode(value)
		o.Owners.Mode = &mode
	case "cache":
		o.Cache, err = ParseSize(value)
	case "remount":
		return fmt.Errorf("a mounted tree cannot be changed: unmount it first")
	default:
		return unknownOption(option)
	}
	if err != nil {
		return fmt.Errorf("mount option %q: %w", option, err)
	}
	return known(true)
}

func parseID(text string) (*uint32, error) {
	id, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not a number of a user or group", text)
	}
	short := uint32(id)
	return &short, nil
}

// ParseSize reads the value of a cache option: bytes, as in 256M or 256MiB.
func ParseSize(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > 1<<50 {
		return 0, fmt.Errorf("%q is not a number of bytes like 256M or 256MiB", text)
	}
	if n < minCache {
		return 0, fmt.Errorf("%q is less than %d MiB", text, minCache>>20)
	}
	return int64(n), nil
}
