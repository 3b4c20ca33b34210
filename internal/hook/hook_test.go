package hook

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// helperEnv makes the test binary act as a program instead of running tests.
const helperEnv = "HOOK_TEST_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "supervisor":
		if err := Main(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "caller":
		// Runs a program that never ends, until it is killed.
		err := Run(context.Background(), supervisorArgv(), Command{Argv: os.Args[1:], Timeout: time.Hour}, func(line string) { fmt.Println(line) })
		fmt.Println("ended:", err)
	}
	os.Exit(2)
}

// supervisorArgv runs this binary as the supervisor, whatever the environment says.
func supervisorArgv() []string {
	return []string{"/usr/bin/env", helperEnv + "=supervisor", os.Args[0]}
}

// shell runs a script and returns the lines that it wrote.
func shell(t *testing.T, ctx context.Context, timeout time.Duration, script string) ([]string, error) {
	t.Helper()
	return run(t, ctx, Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}, Timeout: timeout})
}

func run(t *testing.T, ctx context.Context, c Command) ([]string, error) {
	t.Helper()
	var lines []string
	err := Run(ctx, supervisorArgv(), c, func(line string) { lines = append(lines, line) })
	return lines, err
}

// failure is the error of a program that did not end well.
func failure(t *testing.T, err error) *Failure {
	t.Helper()
	f, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("got %v, want a failure", err)
	}
	return f
}

// gone checks that no process has one of these numbers.
func gone(t *testing.T, pids ...string) {
	t.Helper()
	for _, text := range pids {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatalf("%q is no process", text)
		}
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is still there: %v", pid, err)
		}
	}
}

func TestProgramHasNothingButWhatItIsGiven(t *testing.T) {
	t.Setenv("SECRET", "not for hooks")
	lines, err := run(t, t.Context(), Command{Argv: []string{"/bin/sh", "-c", `/usr/bin/env; pwd; readlink /proc/self/fd/0; ls /proc/self/fd | tr '\n' ' '; echo; printf '%s|' "$@"; echo; echo to stderr >&2`,
		"sh", "a b", `"$HOME" ; *`, ""}, Env: []string{"ONE=1", "TWO=a b"}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	// ls has the folder open that it reads, as 3. The shell sets PWD.
	want := []string{"ONE=1", "TWO=a b", "PWD=/", "/", "/dev/null", "0 1 2 3", `a b|"$HOME" ; *||`, "to stderr"}
	slices.Sort(lines[:3])
	slices.Sort(want[:3])
	if !slices.Equal(lines, want) {
		t.Errorf("got  %q\nwant %q", lines, want)
	}
}

func TestHowItEndedIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		want   Failure
		text   string
	}{
		"status": {"echo looking; echo not found >&2; exit 3", Failure{Status: 3, Output: "looking; not found"}, "it ended with status 3: looking; not found"},
		"signal": {"kill -SEGV $$", Failure{Status: -1, Signal: syscall.SIGSEGV}, "signal 11 (segmentation fault) ended it"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := shell(t, t.Context(), time.Minute, c.script)
			if f := failure(t, err); *f != c.want || f.Error() != c.text {
				t.Errorf("%+v: %v", f, f)
			}
		})
	}
}

func TestWhatCannotBeStartedSaysWhy(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, c := range map[string]struct{ program, want string }{
		"missing":        {filepath.Join(dir, "missing"), "no such program"},
		"not executable": {file("data", "#!/bin/sh\n", 0o644), "may not be executed"},
		"a folder":       {dir, "may not be executed"},
		"no program":     {file("text", "hello\n", 0o755), "first line like #!/bin/sh"},
		"no interpreter": {file("script", "#!/no/such/shell\n", 0o755), "interpreter"},
		"relative":       {"bin/true", "not an absolute path"},
		"without slash":  {"true", "not an absolute path"},
		"none":           {"", "no program"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := run(t, t.Context(), Command{Argv: []string{c.program}, Timeout: time.Minute})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestSupervisorRefusesWhatItsCallerShouldHave(t *testing.T) {
	for name, c := range map[string]Command{
		"relative":   {Argv: []string{"true"}, Timeout: time.Second},
		"no timeout": {Argv: []string{"/bin/true"}},
		"for ever":   {Argv: []string{"/bin/true"}, Timeout: MaxTimeout + 1},
		"NUL":        {Argv: []string{"/bin/true", "a\x00b"}, Timeout: time.Second},
		"too long":   {Argv: []string{"/bin/true", strings.Repeat("x", maxBytes)}, Timeout: time.Second},
		"too many":   {Argv: []string{"/bin/true"}, Env: make([]string, maxArguments+1), Timeout: time.Second},
	} {
		if err := c.check(); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// stubborn starts a child, a grandchild that has a session of its own, and one whose parent
// has gone; none of them heeds SIGTERM. It prints the numbers of all, and then itself hangs.
const stubborn = `trap "" TERM
sleep 3600 & echo $!
setsid sh -c 'trap "" TERM HUP; echo $$; sleep 3600' &
sh -c 'setsid sleep 3600 & echo $!'
sleep 0.3
echo $$
while :; do sleep 1; done`

func TestTimeoutLeavesNothing(t *testing.T) {
	t.Parallel()
	began := time.Now()
	lines, err := shell(t, t.Context(), time.Second, stubborn)
	f := failure(t, err)
	if f.Timeout != time.Second || f.Signal != syscall.SIGKILL || !strings.HasPrefix(f.Error(), "it took longer than 1s and was ended") {
		t.Errorf("%+v: %v", f, f)
	}
	if took := time.Since(began); took < time.Second+grace || took > 10*time.Second+grace {
		t.Errorf("it was ended after %v", took)
	}
	if len(lines) != 4 {
		t.Fatalf("%q", lines)
	}
	gone(t, lines...)
}

func TestTimeoutLetsItEndCleanly(t *testing.T) {
	t.Parallel()
	lines, err := shell(t, t.Context(), 200*time.Millisecond, `trap 'echo undone; exit 0' TERM; while :; do sleep 0.05; done`)
	if f := failure(t, err); f.Timeout == 0 || f.Status != 0 || len(lines) == 0 || lines[len(lines)-1] != "undone" {
		t.Errorf("%+v, %q", f, lines)
	}
}

func TestContextEndLeavesNothing(t *testing.T) {
	t.Parallel()
	cause := errors.New("the run was given up")
	ctx, cancel := context.WithCancelCause(t.Context())
	var lines []string
	err := Run(ctx, supervisorArgv(), Command{Argv: []string{"/bin/sh", "-c", stubborn}, Env: os.Environ(), Timeout: time.Hour}, func(line string) {
		if lines = append(lines, line); len(lines) == 4 {
			cancel(cause)
		}
	})
	if !errors.Is(err, cause) || len(lines) != 4 {
		t.Fatalf("got %v, %q", err, lines)
	}
	gone(t, lines...)
	if _, err := shell(t, ctx, time.Minute, "true"); !errors.Is(err, cause) {
		t.Errorf("run although the context had ended: %v", err)
	}
}

func TestKilledCallerLeavesNothing(t *testing.T) {
	t.Parallel()
	caller := exec.Command(os.Args[0], "/bin/sh", "-c", "PATH=/usr/bin:/bin; "+stubborn)
	caller.Env = append(os.Environ(), helperEnv+"=caller")
	out, err := caller.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := caller.Start(); err != nil {
		t.Fatal(err)
	}
	var pids []string
	for in := bufio.NewScanner(out); len(pids) < 4 && in.Scan(); {
		pids = append(pids, in.Text())
	}
	supervisors := childrenOf(caller.Process.Pid)
	if len(pids) != 4 || len(supervisors) != 1 {
		t.Fatalf("processes %q, supervisors %v", pids, supervisors)
	}
	if err := caller.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = caller.Wait()
	for deadline := time.Now().Add(grace + killLimit); syscall.Kill(supervisors[0], 0) == nil && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	gone(t, append(pids, strconv.Itoa(supervisors[0]))...)
}

func TestKilledSupervisorTakesTheProgramWithIt(t *testing.T) {
	t.Parallel()
	lines, err := run(t, t.Context(), Command{Argv: []string{"/bin/sh", "-c", `echo $$; kill -KILL $PPID; exec sleep 3600`}, Env: []string{"PATH=/usr/bin:/bin"}, Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "has died") || len(lines) != 1 {
		t.Fatalf("got %v, %q", err, lines)
	}
	// Its new parent reaps it when it likes.
	for range 100 {
		stat, err := os.ReadFile("/proc/" + lines[0] + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("process %s is still there", lines[0])
}

func TestWhatIsLeftInTheBackgroundEndsWithTheProgram(t *testing.T) {
	t.Parallel()
	began := time.Now()
	lines, err := shell(t, t.Context(), time.Minute, `sleep 3600 & echo $!; setsid sh -c 'echo $$; sleep 3600' & sleep 0.3`)
	if err != nil || len(lines) != 2 {
		t.Fatalf("%v, %q", err, lines)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("it took %v", took)
	}
	gone(t, lines...)
}

func TestHugeOutputIsReadAndBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script, end string
		lines       int
	}{
		"many lines":    {`yes 0123456789 | head -n 100000; echo the end; exit 1`, "the end", maxLines + 1},
		"one long line": {`head -c 5000000 /dev/zero | tr '\0' x; echo; echo the end; exit 1`, "the end", maxPassed/maxLine + 1},
	} {
		t.Run(name, func(t *testing.T) {
			lines, err := shell(t, t.Context(), time.Minute, c.script)
			f := failure(t, err)
			if len(lines) != c.lines || !strings.Contains(lines[len(lines)-1], "not shown") {
				t.Errorf("%d lines, the last %.100q", len(lines), lines[len(lines)-1])
			}
			if len(f.Output) > maxEnd || !strings.HasSuffix(f.Output, c.end) {
				t.Errorf("the end is %d bytes: %.100q", len(f.Output), f.Output)
			}
		})
	}
}

func TestLinesComeAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	flag := filepath.Join(t.TempDir(), "seen")
	err := Run(t.Context(), supervisorArgv(), Command{Argv: []string{"/bin/sh", "-c", `echo first; while [ ! -e "$0" ]; do sleep 0.01; done`, flag},
		Env: []string{"PATH=/usr/bin:/bin"}, Timeout: 20 * time.Second}, func(string) {
		if err := os.WriteFile(flag, nil, 0o600); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestLinesAreClean(t *testing.T) {
	var lines []string
	o := NewOutput(func(line string) { lines = append(lines, line) })
	for _, part := range []string{"a\tb\r\n\n  \n\x1b[31mred", "\x1b[0m\nbad \xff utf-8\nwide ö", "\u202e\nlast"} {
		if n, err := o.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatal(n, err)
		}
	}
	o.Close()
	want := []string{"a b", "\uFFFD[31mred\uFFFD[0m", "bad \uFFFD utf-8", "wide ö\uFFFD", "last"}
	if !slices.Equal(lines, want) {
		t.Errorf("%q", lines)
	}
	if got := o.End(); got != strings.Join(want, "; ") {
		t.Errorf("%q", got)
	}
}

func TestParentIsReadWhateverTheProgramIsCalled(t *testing.T) {
	for stat, want := range map[string]int{
		"12 (sh) S 7 12 12 0":            7,
		"12 (a) S 9 ) (b) ) R 42 1 1 0":  42,
		"12 (sh) Z 1 12 12 0 -1 4194560": 1,
		"":                               0,
		"12 (sh)":                        0,
		"12 (sh) S x":                    0,
	} {
		if got := parentIn([]byte(stat)); got != want {
			t.Errorf("%q: got %d", stat, got)
		}
	}
}
