package remote

import "strings"

// sshConnection is the variable in which sshd tells a command about its connection
// (sshd(8), ENVIRONMENT): the client's address and port, the server's address and
// port.
const sshConnection = "SSH_CONNECTION"

// Reached tells an agent over which addresses its controller reached it: where it came
// from and where it came to. Both are empty for an agent that was not started through
// SSH; one of a client that came over TLS is told in its arguments.
func Reached(getenv func(string) string) (from, to string) {
	f := strings.Fields(getenv(sshConnection))
	if len(f) != 4 {
		return "", ""
	}
	return f[0], f[2]
}
