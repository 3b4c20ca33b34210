package config

import (
	"fmt"

	"vmsync/internal/hosturi"
)

// Host is a host, and how to reach it.
type Host struct {
	Name string // of a source, in the configuration; empty for the target
	URI  string // libvirt's, as in the file
	At   hosturi.Endpoint

	IdentityFile string // SSH private key, absolute path; empty: as SSH's configuration says
	KnownHosts   string // absolute path; empty: as SSH's configuration says
	SSHConfig    string // absolute path, or none; empty: ~/.ssh/config and /etc/ssh/ssh_config
	TLSDir       string // folder with certificates, absolute path; empty: remote's default
}

// thisHost is libvirt on the host itself.
const thisHost = "qemu:///system"

// readHost reads a host, for which its URI alone does too.
func readHost(n *node, name string, f *findings) Host {
	if n.kind == scalar && !n.empty {
		n = &node{position: n.position, kind: mapping, fields: []field{{&node{position: n.position, text: "uri"}, n}}}
	}
	s := readSection(n, name, hostKeys(), f)
	h := Host{
		Name:         name,
		IdentityFile: orElse(s, "identity_file", "", absolute),
		KnownHosts:   orElse(s, "known_hosts", "", absolute),
		SSHConfig: orElse(s, "ssh_config", "", func(text string) (string, error) {
			if text == none {
				return text, nil
			}
			return absolute(text)
		}),
		TLSDir: orElse(s, "tls_dir", "", absolute),
	}
	s.need("uri", "uri: qemu+ssh://root@host/system")
	if at := one(s, "uri", hosturi.Parse); at != nil {
		h.At, h.URI = *at, s.values["uri"].text
	}
	for _, key := range hostKeys()[1:] {
		tls := key == "tls_dir"
		switch {
		case s.values[key] == nil:
		case h.At.Local && !tls:
			f.add(s.at(key), "%s: %s is this host, and SSH is not used: remove it, or use a qemu+ssh:// URI", key, h.URI)
		case h.At.TLS && !tls:
			f.add(s.at(key), "%s: %s is reached over TLS, and SSH is not used: remove it", key, h.URI)
		case !h.At.TLS && tls && h.URI != "":
			f.add(s.at(key), "%s: %s is not reached over TLS: remove it, or use a vmsync+tls:// URI", key, h.URI)
		}
	}
	return h
}

// maxSources and maxMachines bound what Parse has to compare.
const (
	maxSources  = 100
	maxMachines = 10_000
	maxPatterns = 500
)

// readSources reads the sources in the order of the file. Two of them must not be one
// host: its machines would be synced twice at once.
func readSources(top section) []Host {
	if !top.need("sources", "sources with a name and a URI each, like hosta: qemu+ssh://root@hosta/system") {
		return nil
	}
	s := top.child("sources", nil)
	if top.values["sources"].kind == mapping && len(top.values["sources"].fields) == 0 {
		top.f.add(top.at("sources"), "sources: there are none: add one, like hosta: qemu+ssh://root@hosta/system")
	}
	if len(s.values) > maxSources {
		top.f.add(top.at("sources"), "sources: more than %d: use several services", maxSources)
		return nil
	}
	taken := map[string]string{}
	var sources []Host
	for _, key := range s.inOrder() {
		if _, err := name(key); err != nil {
			top.f.add(s.keys[key], "sources: %v", err)
			continue
		}
		h := readHost(s.values[key], key, top.f)
		where := whereIs(h.At)
		switch other := taken[where]; {
		case h.URI == "":
		case other != "":
			top.f.add(s.keys[key], "sources: %s is the same host as %s: remove one of them", key, other)
		default:
			taken[where] = key
		}
		sources = append(sources, h)
	}
	return sources
}

// whereIs tells hosts apart. One is the same over SSH and over TLS, each at its usual port.
func whereIs(e hosturi.Endpoint) string {
	if e.TLS && e.Port == hosturi.TLSPort {
		e.Port = 0
	}
	return fmt.Sprintf("%s:%d", e.Host, e.Port)
}
