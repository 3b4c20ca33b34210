package ssh

import (
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// resolver reads settings from a source and remembers the first error.
type resolver struct {
	src     source
	target  Target
	options Options
	me      *user.User
	err     error
}

func (r *resolver) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *resolver) failValue(keyword, value, want string) {
	r.fail(&ConfigError{File: r.options.ConfigFile,
		Err: fmt.Errorf("%s %q: want %s", keyword, value, want)})
}

// all returns every value of a keyword.
func (r *resolver) all(keyword string) []string {
	v, err := r.src.values(keyword)
	if err != nil {
		r.fail(err)
	}
	return v
}

// one returns the value of a keyword that counts, without quotes; empty if unset.
func (r *resolver) one(keyword string) string {
	if v := r.all(keyword); len(v) > 0 {
		return unquote(v[0])
	}
	return ""
}

// settings evaluates every keyword this package knows.
func (r *resolver) settings(alias string) *settings {
	s := &settings{alias: alias, configFile: r.options.ConfigFile, network: "tcp"}
	s.host = alias
	if name := r.one("HostName"); name != "" {
		host, err := expand(name, tokens{'h': alias, 'n': alias})
		if err != nil {
			r.fail(&ConfigError{Err: fmt.Errorf("HostName: %w", err)})
		}
		s.host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	s.port = r.port()
	s.user = firstNonEmpty(r.target.User, r.options.User, r.one("User"), r.me.Username)
	if r.err == nil {
		r.fail(checkName("host", s.host))
		r.fail(checkName("user", s.user))
	}
	s.connectTimeout = r.connectTimeout()
	switch strings.ToLower(r.one("AddressFamily")) {
	case "inet":
		s.network = "tcp4"
	case "inet6":
		s.network = "tcp6"
	}
	s.hostKeyAlias = r.one("HostKeyAlias")

	tok := r.tokens(s)
	r.identity(s, tok)
	s.userKnownHosts = r.files("UserKnownHostsFile", tok, "~/.ssh/known_hosts ~/.ssh/known_hosts2")
	s.globalKnownHosts = r.files("GlobalKnownHostsFile", tok,
		"/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
	if file := r.options.KnownHostsFile; file != "" {
		s.userKnownHosts, s.globalKnownHosts, s.knownHostsGiven = []string{file}, nil, true
	}
	r.proxy(s, tok)
	return s
}

func (r *resolver) port() int {
	if p := r.target.Port; p != 0 {
		if p < 0 || p > 65535 {
			r.failValue("port", strconv.Itoa(p), "1 to 65535")
		}
		return p
	}
	v := r.one("Port")
	if v == "" {
		return 22
	}
	p, err := strconv.Atoi(v)
	if err != nil || p < 1 || p > 65535 {
		r.failValue("Port", v, "1 to 65535")
	}
	return p
}

func (r *resolver) connectTimeout() time.Duration {
	v := r.one("ConnectTimeout")
	if v == "" || v == "none" || v == "0" {
		return DefaultConnectTimeout
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > 24*3600 {
		r.failValue("ConnectTimeout", v, "a number of seconds")
	}
	return time.Duration(n) * time.Second
}

// tokens are the values of OpenSSH's percent tokens.
func (r *resolver) tokens(s *settings) tokens {
	host, _ := os.Hostname() // only %l and %L need it
	short, _, _ := strings.Cut(host, ".")
	return tokens{
		'h': s.host, 'n': s.alias, 'p': strconv.Itoa(s.port), 'r': s.user,
		'd': r.me.HomeDir, 'u': r.me.Username, 'i': r.me.Uid, 'l': host, 'L': short,
		'k': firstNonEmpty(s.hostKeyAlias, s.alias),
	}
}

// path expands ~, ${VARIABLE} and percent tokens of a file's name.
func (r *resolver) path(keyword, value string, tok tokens) string {
	p, err := expand(expandEnv(value), tok)
	if err != nil {
		r.fail(&ConfigError{File: r.options.ConfigFile, Err: fmt.Errorf("%s: %w", keyword, err)})
		return ""
	}
	if p == "~" || strings.HasPrefix(p, "~/") {
		return filepath.Join(r.me.HomeDir, strings.TrimPrefix(p[1:], "/"))
	}
	return p
}

// files evaluates a keyword that lists files on one line.
func (r *resolver) files(keyword string, tok tokens, def string) []string {
	value := def
	if v := r.all(keyword); len(v) > 0 {
		value = v[0]
	}
	var files []string
	for _, w := range splitWords(value) {
		if w != "none" {
			files = append(files, r.path(keyword, w, tok))
		}
	}
	return files
}

func (r *resolver) identity(s *settings, tok tokens) {
	s.identitiesOnly = strings.EqualFold(r.one("IdentitiesOnly"), "yes")
	values := r.all("IdentityFile")
	// `ssh -G` lists the default files as if they had been asked for.
	_, s.explicitIdentities = r.src.(parsedSource)
	if len(values) == 0 {
		s.explicitIdentities = false
		values = []string{"~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa"}
	}
	for _, v := range values {
		if v = unquote(v); v != "none" {
			s.identityFiles = append(s.identityFiles, r.path("IdentityFile", v, tok))
		}
	}
	for _, v := range r.all("CertificateFile") {
		if v = unquote(v); v != "none" {
			s.certificateFiles = append(s.certificateFiles, r.path("CertificateFile", v, tok))
		}
	}
	switch agent := r.one("IdentityAgent"); {
	case agent == "" || agent == "SSH_AUTH_SOCK":
		s.identityAgent = os.Getenv("SSH_AUTH_SOCK")
	case agent == "none":
	case strings.HasPrefix(agent, "$") && !strings.HasPrefix(agent, "${"):
		s.identityAgent = os.Getenv(agent[1:])
	default:
		s.identityAgent = r.path("IdentityAgent", agent, tok)
	}
}

func (r *resolver) proxy(s *settings, tok tokens) {
	if v := r.one("ProxyJump"); v != "" && v != "none" {
		jumps, err := parseJumps(v)
		if err != nil {
			r.fail(&ConfigError{File: r.options.ConfigFile, Err: fmt.Errorf("ProxyJump %q: %w", v, err)})
		}
		s.jumps = jumps
		return
	}
	v := r.all("ProxyCommand")
	if len(v) == 0 || v[0] == "none" {
		return
	}
	if strings.EqualFold(r.one("ProxyUseFdpass"), "yes") {
		r.fail(&ConfigError{File: r.options.ConfigFile,
			Err: fmt.Errorf("host %s: ProxyUseFdpass is not supported", s.alias)})
	}
	command, err := expand(v[0], tok)
	if err != nil {
		r.fail(&ConfigError{File: r.options.ConfigFile, Err: fmt.Errorf("ProxyCommand: %w", err)})
	}
	s.proxyCommand = command
}

// parseJumps reads "[user@]host[:port]" and "ssh://[user@]host[:port]" between
// commas.
func parseJumps(v string) ([]Target, error) {
	var jumps []Target
	for hop := range strings.SplitSeq(v, ",") {
		hop = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(hop), "ssh://"), "/")
		var t Target
		if i := strings.LastIndexByte(hop, '@'); i >= 0 {
			t.User, hop = hop[:i], hop[i+1:]
		}
		t.Host = hop
		// More than one colon without brackets is an IPv6 address without a port.
		if strings.HasPrefix(hop, "[") && !strings.HasSuffix(hop, "]") || strings.Count(hop, ":") == 1 {
			host, port, err := net.SplitHostPort(hop)
			if err != nil {
				return nil, err
			}
			if t.Port, err = strconv.Atoi(port); err != nil || t.Port < 1 || t.Port > 65535 {
				return nil, fmt.Errorf("%q is not a port", port)
			}
			t.Host = host
		}
		if t.Host == "" {
			return nil, fmt.Errorf("a host is missing")
		}
		jumps = append(jumps, t)
	}
	return jumps, nil
}

func firstNonEmpty(list ...string) string {
	for _, s := range list {
		if s != "" {
			return s
		}
	}
	return ""
}
