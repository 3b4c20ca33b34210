package ssh

import (
	"context"
	"errors"
	"regexp"
	"strings"

	"vmsync/internal/proc"
)

// relativeInclude finds an Include of /etc/ssh/ssh_config whose path is meant
// relative to /etc/ssh, which the parser would look for in the user's home.
var relativeInclude = regexp.MustCompile(`(?im)^[ \t]*include[ \t=]+[^/ \t]`)

// maxEffectiveConfig bounds what `ssh -G` may print, in bytes.
const maxEffectiveConfig = 1 << 20

// effectiveSource is the output of `ssh -G`: keywords in lower case with the
// values that apply.
type effectiveSource map[string][]string

// askOpenSSH has OpenSSH's client evaluate its own configuration. It covers what
// no parser but its own does (Match, canonical names); that parser is not used
// throughout because the ssh program need not be installed. Reason is why it is
// asked, to be reported when it cannot be.
func askOpenSSH(ctx context.Context, alias, configFile string, reason *ConfigError) (source, error) {
	argv := []string{"ssh", "-G"}
	if configFile != "" {
		argv = append(argv, "-F", configFile)
	}
	argv = append(argv, "--", alias)
	out, err := proc.Output(ctx, proc.Cmd{Argv: argv, Package: "openssh-client"}, maxEffectiveConfig)
	if missing := (*proc.NotFoundError)(nil); errors.As(err, &missing) && reason != nil {
		reason.Hint = "this needs OpenSSH's own ssh program (package openssh-client) to be evaluated; " +
			"install it, or give a simpler file, without Match, with --ssh-config"
		return nil, reason
	}
	if err != nil {
		return nil, &ConfigError{File: configFile, Err: err}
	}
	return parseEffective(string(out)), nil
}

// parseEffective reads lines of "keyword value".
func parseEffective(text string) effectiveSource {
	e := effectiveSource{}
	for line := range strings.Lines(text) {
		keyword, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if keyword != "" && value != "" {
			e[keyword] = append(e[keyword], value)
		}
	}
	return e
}

func (e effectiveSource) values(keyword string) ([]string, error) {
	return e[strings.ToLower(keyword)], nil
}
