package ssh

import (
	"context"
	"errors"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestJumpHostsAreParsed(t *testing.T) {
	for v, want := range map[string][]Target{
		"a":                        {{Host: "a"}},
		"u@a:2222":                 {{User: "u", Host: "a", Port: 2222}},
		"a, ssh://u@b:22/":         {{Host: "a"}, {User: "u", Host: "b", Port: 22}},
		"[::1]:2222,::1,[fe80::1]": {{Host: "::1", Port: 2222}, {Host: "::1"}, {Host: "[fe80::1]"}},
		"u@dom@a":                  {{User: "u@dom", Host: "a"}},
	} {
		if got, err := parseJumps(v); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %+v, %v", v, got, err)
		}
	}
	for _, v := range []string{"", "a,", "a:b", "a:0", "a:70000", "u@", "[::1"} {
		if got, err := parseJumps(v); err == nil {
			t.Errorf("%q was accepted as %+v", v, got)
		}
	}
}

func TestTokensAreExpanded(t *testing.T) {
	tok := tokens{'h': "host", 'p': "22"}
	if got, err := expand("%h:%p %% 100%%", tok); err != nil || got != "host:22 % 100%" {
		t.Errorf("%q, %v", got, err)
	}
	for _, s := range []string{"%", "a%", "%x"} {
		if _, err := expand(s, tok); err == nil {
			t.Errorf("%q was accepted", s)
		}
	}
}

func TestWordsAreSplitOutsideQuotes(t *testing.T) {
	got := splitWords(` a  "b c" "" d"e f"` + "\tg ")
	if want := []string{"a", "b c", "", "de f", "g"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestEffectiveConfigurationIsRead(t *testing.T) {
	e := parseEffective("host a\nidentityfile ~/x y\nidentityfile z\nproxycommand\n\nport 2222\n")
	got, _ := e.values("IdentityFile")
	if want := []string{"~/x y", "z"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got, _ := e.values("ProxyCommand"); got != nil {
		t.Errorf("%q", got)
	}
}

// settingsFor resolves a host with nothing but this configuration.
func settingsFor(t *testing.T, host, config string) (*settings, error) {
	t.Helper()
	dir := t.TempDir()
	return resolve(t.Context(), Target{Host: host}, Options{ConfigFile: writeFile(t, dir+"/config", config), home: dir})
}

func TestSettingsFollowTheConfiguration(t *testing.T) {
	t.Setenv("KEYS", "/keys")
	s, err := settingsFor(t, "a", `
Host a b !c
  HostName %h.example
  ConnectTimeout 7
  AddressFamily inet6
  UserKnownHostsFile "/with space/%k" ~/second
  IdentityFile ${KEYS}/%r@%h
  IdentityFile ~/other
  User admin
Host *
  User nobody
`)
	if err != nil {
		t.Fatal(err)
	}
	if s.address() != "a.example:22" || s.user != "admin" || s.connectTimeout != 7*time.Second || s.network != "tcp6" {
		t.Errorf("%+v", s)
	}
	if len(s.userKnownHosts) != 2 || s.userKnownHosts[0] != "/with space/a" ||
		!strings.HasSuffix(s.userKnownHosts[1], "/second") || s.userKnownHosts[1][0] != '/' {
		t.Errorf("%q", s.userKnownHosts)
	}
	if len(s.identityFiles) != 2 || s.identityFiles[0] != "/keys/admin@a.example" {
		t.Errorf("%q", s.identityFiles)
	}
}

func TestDefaultsAreThoseOfSSH(t *testing.T) {
	s, err := settingsFor(t, "a", "")
	if err != nil {
		t.Fatal(err)
	}
	if s.address() != "a:22" || s.user == "" || len(s.identityFiles) != 3 || s.explicitIdentities ||
		len(s.userKnownHosts) != 2 || s.globalKnownHosts[0] != "/etc/ssh/ssh_known_hosts" {
		t.Errorf("%+v", s)
	}
}

func TestKnownHostsFileGivenIsTheOnlyOne(t *testing.T) {
	dir := t.TempDir()
	config := writeFile(t, dir+"/config", "Host a\n UserKnownHostsFile /other\n GlobalKnownHostsFile /third\n HostKeyAlias b\n")
	s, err := resolve(t.Context(), Target{Host: "a"}, Options{ConfigFile: config, KnownHostsFile: "/etc/vmsync/known_hosts", home: dir})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(s.userKnownHosts, []string{"/etc/vmsync/known_hosts"}) || len(s.globalKnownHosts) > 0 {
		t.Errorf("%q, %q", s.userKnownHosts, s.globalKnownHosts)
	}
	fix := (&hostKeys{settings: s}).fix(&HostKeyError{Kind: HostKeyUnknown})
	if !strings.Contains(fix, `-o 'UserKnownHostsFile="/etc/vmsync/known_hosts"'`) {
		t.Error(fix)
	}
}

func TestProxyCommandThatComesFirstWins(t *testing.T) {
	s, err := settingsFor(t, "a", "Host a\n ProxyCommand relay %h %p\nHost *\n ProxyJump jump\n")
	if err != nil {
		t.Fatal(err)
	}
	if s.proxyCommand != "relay a 22" || s.jumps != nil {
		t.Errorf("%+v", s)
	}
}

func TestUnusableSettingsAreNamed(t *testing.T) {
	for config, word := range map[string]string{
		"Port many":                          "Port",
		"Port 0":                             "Port",
		"ConnectTimeout soon":                "ConnectTimeout",
		"ProxyJump a:b":                      "ProxyJump",
		"HostName a;b":                       "a;b",
		"IdentityFile %Q":                    "IdentityFile",
		"ProxyCommand x\nProxyUseFdpass yes": "ProxyUseFdpass",
	} {
		_, err := settingsFor(t, "a", config)
		var c *ConfigError
		if !errors.As(err, &c) || !strings.Contains(err.Error(), word) {
			t.Errorf("%q: %v", config, err)
		}
	}
}

func TestHintsFitTheError(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"refused":  {&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, "sshd"},
		"no route": {syscall.EHOSTUNREACH, "route"},
		"timeout":  {errTimeout(time.Second), "firewall"},
		"kernel":   {os.NewSyscallError("connect", syscall.ETIMEDOUT), "firewall"},
		"name":     {&net.DNSError{IsNotFound: true}, "HostName"},
		"else":     {context.Canceled, ""},
	} {
		if got := connectHint(c.err, "a", "a:22"); !strings.Contains(got, c.want) || (got == "") != (c.want == "") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestIncludedFilesAreRead(t *testing.T) {
	included := writeFile(t, t.TempDir()+"/extra.conf", "Host a\n Port 2222\n")
	s, err := settingsFor(t, "a", "Include "+included+"\nHost *\n Port 1\n")
	if err != nil || s.port != 2222 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRelativeIncludesAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"Include /etc/ssh/ssh_config.d/*.conf\n":    false,
		"Host *\n\tinclude \t ssh_config.d/*.conf":  true,
		"Include=conf.d/*":                          true,
		"# Include conf.d/*\nUser includer\n":       false,
		"Include \t /etc/ssh/a\nHost *\n  Port 22 ": false,
	} {
		if got := relativeInclude.MatchString(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
