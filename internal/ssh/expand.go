package ssh

import (
	"fmt"
	"os"
	"regexp"
	"strings"
)

// tokens maps the letter after a percent sign to its value.
type tokens map[byte]string

// expand replaces percent tokens; a token that is not listed is an error, so that
// no path is ever taken for another.
func expand(s string, t tokens) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			return "", fmt.Errorf("%q ends in a lone %%", s)
		}
		if s[i] == '%' {
			b.WriteByte('%')
			continue
		}
		v, ok := t[s[i]]
		if !ok {
			return "", fmt.Errorf("%q: the token %%%c is not supported here", s, s[i])
		}
		b.WriteString(v)
	}
	return b.String(), nil
}

var envVariable = regexp.MustCompile(`\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)

// expandEnv replaces ${VARIABLE}, and nothing else that looks like a shell's.
func expandEnv(s string) string {
	return envVariable.ReplaceAllStringFunc(s, func(m string) string {
		return os.Getenv(m[2 : len(m)-1])
	})
}

// unquote removes one pair of double quotes around a value.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// splitWords splits at white space outside double quotes.
func splitWords(s string) []string {
	var words []string
	var word strings.Builder
	inWord, inQuotes := false, false
	for _, c := range s {
		switch {
		case c == '"':
			inQuotes, inWord = !inQuotes, true
		case !inQuotes && (c == ' ' || c == '\t'):
			if inWord {
				words = append(words, word.String())
			}
			word.Reset()
			inWord = false
		default:
			word.WriteRune(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words
}

// checkName refuses names of hosts and users that mean something to a shell or to
// an option parser: they end up in ProxyCommand, which is the user's shell
// command, and in advice that the user copies.
func checkName(what, name string) error {
	bad := name == "" || name[0] == '-' || strings.ContainsAny(name, "'`\"$\\;&<>|(){}*?!#") ||
		strings.ContainsFunc(name, func(c rune) bool { return c <= ' ' || c == 0x7f })
	if bad {
		return &ConfigError{Err: fmt.Errorf("%q is not the name of a %s", name, what)}
	}
	return nil
}
