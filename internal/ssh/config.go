package ssh

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/kevinburke/ssh_config"
)

// settings is everything a configuration decides about one connection.
type settings struct {
	alias string // the host as the user named it
	host  string // where to connect to
	port  int
	user  string

	identityFiles      []string // absolute paths
	explicitIdentities bool     // identityFiles are the user's choice, not the defaults
	identitiesOnly     bool
	certificateFiles   []string
	identityAgent      string // socket; empty for none

	userKnownHosts, globalKnownHosts []string
	knownHostsGiven                  bool // by Options.KnownHostsFile
	hostKeyAlias                     string

	jumps        []Target // the first is reached directly, the last one reaches the host
	proxyCommand string   // expanded; empty for none

	connectTimeout time.Duration
	network        string // "tcp", "tcp4" or "tcp6"
	configFile     string // Options.ConfigFile, for messages and jump hosts
}

func (s *settings) address() string { return net.JoinHostPort(s.host, strconv.Itoa(s.port)) }

// name is the host for messages: as the user named it, and where that leads.
func (s *settings) name() string {
	if s.alias == s.host && s.port == 22 {
		return s.alias
	}
	if s.alias == s.host {
		return s.address()
	}
	return fmt.Sprintf("%s (%s)", s.alias, s.address())
}

// source gives the values that apply to one host for a keyword, the one that
// counts first.
type source interface {
	values(keyword string) ([]string, error)
}

// resolve finds out how to connect to a target.
func resolve(ctx context.Context, t Target, o Options) (*settings, error) {
	alias := strings.TrimSuffix(strings.TrimPrefix(t.Host, "["), "]")
	if err := checkName("host", alias); err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, &ConfigError{Err: fmt.Errorf("who runs this program: %w", err)}
	}
	if o.home != "" {
		me.HomeDir = o.home
	}
	src, err := loadSource(ctx, alias, me.HomeDir, o.ConfigFile)
	if err != nil {
		return nil, err
	}
	r := resolver{src: src, target: t, options: o, me: me}
	s := r.settings(alias)
	if r.err != nil {
		return nil, r.err
	}
	return s, nil
}

// configFiles are the files to read, in order of precedence, and whether they
// must exist.
func configFiles(home, configFile string) (files []string, required bool) {
	switch configFile {
	case "":
		return []string{filepath.Join(home, ".ssh/config"), "/etc/ssh/ssh_config"}, false
	case "none":
		return nil, false
	}
	return []string{configFile}, true
}

// loadSource reads the configuration files. What the parser does not know, Match
// above all, is left to OpenSSH's own `ssh -G`.
func loadSource(ctx context.Context, alias, home, configFile string) (source, error) {
	files, required := configFiles(home, configFile)
	parsed := parsedSource{alias: alias}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) && !required {
			continue
		}
		if err != nil {
			return nil, &ConfigError{File: file, Err: err}
		}
		cfg, err := ssh_config.DecodeBytes(text)
		if err == nil && file == "/etc/ssh/ssh_config" && relativeInclude.Match(text) {
			err = errors.New("relative Include")
		}
		if err != nil {
			return askOpenSSH(ctx, alias, configFile, &ConfigError{File: file, Err: err})
		}
		parsed.files = append(parsed.files, cfg)
	}
	if parsed.beyondParser() {
		// Without OpenSSH at hand, what was parsed is still the best guess.
		if src, err := askOpenSSH(ctx, alias, configFile, nil); err == nil {
			return src, nil
		}
	}
	return parsed, nil
}

// parsedSource answers from parsed files.
type parsedSource struct {
	alias string
	files []*ssh_config.Config
}

func (p parsedSource) values(keyword string) ([]string, error) {
	var all []string
	for _, f := range p.files {
		v, err := f.GetAll(p.alias, keyword)
		if err != nil {
			return nil, &ConfigError{Err: fmt.Errorf("%s: %w", keyword, err)}
		}
		all = append(all, v...)
	}
	return all, nil
}

// beyondParser tells whether the files say something that the parser cannot
// evaluate: both ProxyJump and ProxyCommand, of which the one that comes first
// counts, or names to be made canonical, which other parts of the files may match.
func (p parsedSource) beyondParser() bool {
	// Errors come up again where the settings are read.
	jump, _ := p.values("ProxyJump")
	command, _ := p.values("ProxyCommand")
	canonical, _ := p.values("CanonicalizeHostname")
	return len(jump) > 0 && len(command) > 0 || len(canonical) > 0 && unquote(canonical[0]) != "no"
}
