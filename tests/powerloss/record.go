package powerloss

import (
	"bufio"
	"bytes"
	"encoding/gob"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Recorder is a folder under observation. It is for one goroutine; the folder
// is for as many programs as like.
type Recorder struct {
	t       testing.TB
	dir     string
	log     string
	base    *tree
	server  *exec.Cmd
	life    io.Closer // the server ends when this process closes it or ends
	errors  bytes.Buffer
	stopped bool
}

// Log is what happened to a folder, and what it held before. It is safe for use by
// several goroutines.
type Log struct {
	// Ops are the operations in their order. Nobody may change them.
	Ops  []Op
	base *tree
}

// Record begins to observe a folder, of which everything that is in it counts as
// durable. From now on it is to be changed under [Recorder.Dir] only. The test is skipped
// where there is no FUSE or no permission to mount.
func Record(t testing.TB, folder string) *Recorder {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("this test needs to be root, to mount a file system")
	}
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("this test needs /dev/fuse")
	}
	dir := t.TempDir()
	r := &Recorder{t: t, dir: filepath.Join(dir, "mnt"), log: filepath.Join(dir, "log")}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	var err error
	if r.base, err = load(folder, true); err != nil {
		t.Fatal(err)
	}
	r.server = exec.Command("/proc/self/exe")
	r.server.Env = append(os.Environ(), serveEnv+"="+strings.Join([]string{folder, r.dir, r.log}, "\n"))
	r.server.Stderr = &r.errors
	if r.life, err = r.server.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := r.server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
		_ = r.server.Wait()
		r.stopped = true
		t.Fatalf("the recording file system did not come up: %s", r.errors.String())
	}
	return r
}

// Dir is the folder to work in.
func (r *Recorder) Dir() string { return r.dir }

// Mark says that from here on something is promised: crashes after it carry the mark. The
// text must be good for a file's name.
func (r *Recorder) Mark(text string) {
	r.t.Helper()
	if strings.ContainsAny(text, "/\x00") || len(text) > 200 {
		r.t.Fatalf("bad mark %q", text)
	}
	// The file system sees that somebody looks for a file of this name.
	if _, err := os.Lstat(filepath.Join(r.dir, markPrefix+text)); !os.IsNotExist(err) {
		r.t.Fatalf("mark %q: %v", text, err)
	}
}

// Stop ends the observation and returns what was seen. All files of the folder have to
// be closed. The folder given to [Record] has what was done; Dir is gone.
func (r *Recorder) Stop() *Log {
	r.t.Helper()
	if err := unix.Unmount(r.dir, 0); err != nil {
		r.t.Fatalf("unmount %s: %v (is a file in it still open?)", r.dir, err)
	}
	r.stopped = true
	if err := r.server.Wait(); err != nil {
		r.t.Fatalf("the recording file system: %v: %s", err, r.errors.String())
	}
	f, err := os.Open(r.log)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	var got recording
	if err := gob.NewDecoder(f).Decode(&got); err != nil {
		r.t.Fatal(err)
	}
	if got.Bad != "" {
		r.t.Fatalf("the recording is not complete: %s", got.Bad)
	}
	return &Log{Ops: got.Ops, base: r.base}
}

// close ends what a failed test left.
func (r *Recorder) close() {
	if !r.stopped {
		r.life.Close()
		_ = r.server.Wait()
	}
}
