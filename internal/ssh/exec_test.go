package ssh

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vmsync/internal/proc"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var awkwardArguments = []string{
	"", " ", "a b", "'", "''", `"`, `\`, `\'`, "a'b'c", "*", "?", "[a-z]", "~", "~root", "$HOME", "$(id)", "`id`",
	"a\nb", "\n", "a\tb", "a;b", "a&b", "a|b", "a>b", "#", "!", "!!", "{a,b}", "=", "a=b", "-n", "--", "%s", "\\n",
	"ü", "\xff\xfe", "\x01\x7f", "\r", "(", ")", "a ' \" $x * \\ b",
}

func TestArgumentsReachAProgramUnchanged(t *testing.T) {
	_, c := connected(t)
	out, stderr, err := run(t, c, append([]string{"printf", `%s\0`}, awkwardArguments...)...)
	if err != nil || stderr != "" {
		t.Fatal(err, stderr)
	}
	got := strings.Split(strings.TrimSuffix(out, "\x00"), "\x00")
	if !slices.Equal(got, awkwardArguments) {
		t.Errorf("got %q", got)
	}
}

// throughShell is what a shell makes of a quoted argument list.
func throughShell(t *testing.T, args []string) []string {
	t.Helper()
	argv := []string{"sh", "-c", Quote(append([]string{"printf", `%s\0`}, args...))}
	out, err := proc.Output(t.Context(), proc.Cmd{Argv: argv}, 1<<20)
	if err != nil {
		t.Fatalf("%q: %v", argv, err)
	}
	return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
}

func TestQuoteSurvivesAShell(t *testing.T) {
	if got := throughShell(t, awkwardArguments); !slices.Equal(got, awkwardArguments) {
		t.Errorf("got %q", got)
	}
}

func TestQuoteLeavesPlainWordsReadable(t *testing.T) {
	got := Quote([]string{"ssh-keyscan", "-p", "22", "/a/b_c.d", "a b"})
	if got != "ssh-keyscan -p 22 /a/b_c.d 'a b'" {
		t.Error(got)
	}
}

func FuzzQuote(f *testing.F) {
	for _, a := range awkwardArguments {
		f.Add(a, a)
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		if strings.ContainsRune(a+b, 0) {
			t.Skip()
		}
		if got := throughShell(t, []string{a, b}); !slices.Equal(got, []string{a, b}) {
			t.Errorf("%q became %q", []string{a, b}, got)
		}
	})
}

func TestExitStatusIsTyped(t *testing.T) {
	_, c := connected(t)
	var exit *ExitError
	if _, stderr, err := run(t, c, "sh", "-c", "echo no >&2; exit 3"); !errors.As(err, &exit) || exit.Status != 3 ||
		stderr != "no\n" {
		t.Errorf("%v, %q", err, stderr)
	}
	if _, _, err := run(t, c, "sh", "-c", "kill -KILL $$"); !errors.As(err, &exit) || exit.Signal != "KILL" {
		t.Error(err)
	}
	var missing *NotFoundError
	if _, _, err := run(t, c, "no-such-program"); !errors.As(err, &missing) || missing.Program != "no-such-program" {
		t.Error(err)
	}
}

func TestBadArgumentListsAreRefused(t *testing.T) {
	_, c := connected(t)
	for _, argv := range [][]string{nil, {"echo", "a\x00b"}} {
		if _, err := c.Command(t.Context(), argv); err == nil {
			t.Errorf("%q was accepted", argv)
		}
	}
}

func TestStdinReachesTheProgramAndEnds(t *testing.T) {
	_, c := connected(t)
	p, err := c.Command(t.Context(), []string{"sh", "-c", "cat; echo end"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Stdin.Write([]byte("hello\n")); err != nil {
		t.Fatal(err)
	}
	p.Stdin.Close()
	var out strings.Builder
	if _, err := copyAll(&out, p.Stdout); err != nil || out.String() != "hello\nend\n" {
		t.Fatalf("%q, %v", out.String(), err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestContextEndLetsGoOfTheProgram(t *testing.T) {
	_, c := connected(t)
	cause := errors.New("the user pressed ^C")
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := c.Command(ctx, []string{"sleep", "60"})
	if err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if err := p.Wait(); !errors.Is(err, cause) {
		t.Fatal(err)
	}
	works(t, c)
}

func TestCloseEndsEverything(t *testing.T) {
	_, c := connected(t)
	p, err := c.Command(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if err := p.Wait(); err == nil {
		t.Error("a program whose connection was closed ended well")
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-c.Done():
	default:
		t.Error("not done after Close")
	}
	if _, err := c.Command(t.Context(), []string{"true"}); err == nil {
		t.Error("a closed connection runs programs")
	}
}

func TestCloseLeavesNoGoroutineBehind(t *testing.T) {
	jump, s := startServer(t), startServer(t)
	o := clientConfig(t, jump.knownHost+s.knownHost, "IdentityFile "+jump.userKey,
		fmt.Sprintf("Host inner\n HostName 127.0.0.1\n Port %d\n IdentityFile %s\n ProxyJump 127.0.0.1:%d",
			s.port, s.userKey, jump.port))
	before := runtime.NumGoroutine()
	c := connect(t, Target{Host: "inner"}, o)
	if _, err := c.Command(t.Context(), []string{"cat"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DialUnix(t.Context(), "/nonexistent/socket"); err == nil {
		t.Fatal("connected to nothing")
	}
	if runtime.NumGoroutine() <= before {
		t.Fatal("the test counts nothing")
	}
	c.Close()
	// Those of the library end on their own account once the connection has.
	for range 500 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	stacks := make([]byte, 1<<16)
	t.Fatalf("left behind:\n%s", stacks[:runtime.Stack(stacks, true)])
}

func TestStoppedPeerIsGivenUp(t *testing.T) {
	s := startServer(t)
	o := clientConfig(t, s.knownHost)
	o.KeyFile, o.Keepalive, o.KeepaliveLimit = s.userKey, 100*time.Millisecond, 3*time.Second
	c := connect(t, s.target(), o)
	p, err := c.Command(t.Context(), []string{"cat"})
	if err != nil {
		t.Fatal(err)
	}
	// Silence alone is not death: the peer answers when asked.
	time.Sleep(4 * time.Second)
	if err := c.Err(); err != nil {
		t.Fatalf("an idle connection was given up: %v", err)
	}
	for _, pid := range s.children(t) {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer syscall.Kill(pid, syscall.SIGKILL)
	}
	select {
	case <-c.Done():
	case <-time.After(time.Minute):
		t.Fatal("nobody noticed")
	}
	var lost *ConnectError
	if err := p.Wait(); !errors.As(err, &lost) || lost.Op != OpLost || !strings.Contains(err.Error(), "sign of life") {
		t.Errorf("the program's end says %v", err)
	}
}

func killAll(t *testing.T, pids []int) {
	t.Helper()
	if len(pids) == 0 {
		t.Fatal("there is nothing to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && err != syscall.ESRCH {
			t.Fatal(err)
		}
	}
}
