package main

import (
	"regexp"
	"strconv"
)

// escaped is a byte as systemd-escape(1) writes it.
var escaped = regexp.MustCompile(`\\x[0-9a-fA-F]{2}`)

// instanceName is the domain that the instance of a systemd unit stands for. As people
// write vmsync-sync@my-vm.timer without a thought of systemd-escape, which would make
// my\x2dvm of it, a dash is a dash and not a slash: no domain's name has one of these.
func instanceName(instance string) string {
	return escaped.ReplaceAllStringFunc(instance, func(e string) string {
		b, err := strconv.ParseUint(e[len(`\x`):], 16, 8)
		if err != nil {
			return e
		}
		return string([]byte{byte(b)})
	})
}
