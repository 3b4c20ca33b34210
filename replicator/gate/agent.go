package gate

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"vmsync/internal/tlslink"
)

// agent starts an agent and lets the client talk with it until either ends. When the
// client is gone, or ctx ends, the agent's stdin is closed, and the agent undoes what it
// began. It has bounds of its own for that, and is never killed.
func (g *Gate) agent(ctx context.Context, p *tlslink.Peer, log *slog.Logger) error {
	id, s, end, err := g.open(ctx, string(p.Certificate.Raw))
	if err != nil {
		return err
	}
	defer end()
	argv := g.command(Agent{From: p.From, Machines: p.Machines, StreamFolder: s.folder})
	cmd := exec.Command(argv[0], argv[1:]...)
	// Of a session of its own, as if it were started through SSH; and nobody is to take it
	// for that, or for a service.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "SSH_CONNECTION=") || strings.HasPrefix(v, "NOTIFY_SOCKET=") || strings.HasPrefix(v, "WATCHDOG_")
	})
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		log.Error("cannot start an agent", "error", err)
		return refusal("the agent could not be started")
	}
	log = log.With("agent", cmd.Process.Pid)
	log.Info("agent started")
	err = p.Reply(tlslink.Reply{Session: id})
	stop := context.AfterFunc(ctx, func() { _ = p.Conn.NetConn().Close() })
	defer stop()
	var talk sync.WaitGroup
	talk.Go(func() { tell(log, stderr) })
	talk.Go(func() {
		if err == nil {
			_, _ = io.Copy(stdin, onlyReader{p.Conn})
		}
		_ = stdin.Close()
		// Closing a connection with something unread in it takes away what is on its way to
		// the client.
		_, _ = io.Copy(io.Discard, p.Conn)
	})
	talk.Go(func() {
		_, werr := io.Copy(onlyWriter{p.Conn}, stdout)
		if werr != nil {
			// It goes on undoing, although nobody hears of it.
			_ = p.Conn.NetConn().Close()
			_, _ = io.Copy(io.Discard, stdout)
		}
		_ = p.Conn.CloseWrite()
		_ = p.Conn.SetReadDeadline(time.Now().Add(farewell))
	})
	talk.Wait()
	if werr := cmd.Wait(); werr != nil {
		return errors.Join(err, fmt.Errorf("agent %d: %w", cmd.Process.Pid, werr))
	}
	log.Info("agent ended")
	return err
}

// farewell is how long a client may take to hang up when its agent has ended.
const farewell = 5 * time.Second

// maxWords bounds a line that an agent logs, in bytes.
const maxWords = 16 << 10

// tell logs what an agent has to say.
func tell(log *slog.Logger, from io.Reader) {
	r := bufio.NewReaderSize(from, maxWords)
	for {
		line, _, err := r.ReadLine()
		if err != nil {
			return
		}
		log.Info(string(line))
	}
}

// onlyReader and onlyWriter keep io.Copy to its own small buffer.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)
