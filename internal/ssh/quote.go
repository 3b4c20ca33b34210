package ssh

import "strings"

// Quote turns an argument list into a command for a POSIX shell that runs exactly
// these arguments. It is the only place where this program makes a shell command
// of its own. Arguments must not contain NUL bytes, which no shell can pass.
func Quote(argv []string) string {
	quoted := make([]string, len(argv))
	for i, arg := range argv {
		quoted[i] = quoteOne(arg)
	}
	return strings.Join(quoted, " ")
}

func quoteOne(arg string) string {
	plain := arg != "" && !strings.ContainsFunc(arg, func(c rune) bool {
		return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			strings.ContainsRune("@%+:,./_-", c))
	})
	if plain {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}
