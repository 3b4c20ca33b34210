package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"vmsync/internal/event"
	"vmsync/internal/history"
	"vmsync/internal/ui"
)

// DefaultSocket is where the service listens unless its configuration says otherwise.
const DefaultSocket = "/run/vmsync/vmsync.sock"

// ErrNotRunning means that nobody serves the socket.
var ErrNotRunning = errors.New("the service does not run")

// maxLine bounds one event of a stream, in bytes.
const maxLine = 1 << 20

// Client talks to a service. Its methods may be called from several goroutines. Their
// errors are an [*Error] where the service has refused something, and wrap [ErrNotRunning]
// where there is none.
type Client struct {
	socket string
	http   *http.Client
}

// NewClient makes a client of the service at a unix socket; it does not connect yet.
func NewClient(socket string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "unix", socket)
	}
	return &Client{socket: socket, http: &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}}
}

// Status tells how everything stands.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	s := &Status{}
	return s, c.call(ctx, http.MethodGet, "/status", nil, s)
}

// Machine tells how one machine stands. Name is a domain, or source/domain.
func (c *Client) Machine(ctx context.Context, name string) (*Machine, error) {
	m := &Machine{}
	return m, c.call(ctx, http.MethodGet, machinePath(name, ""), nil, m)
}

// Runs lists a machine's last runs, the newest first, at most limit.
func (c *Client) Runs(ctx context.Context, name string, limit int) ([]history.Run, error) {
	var runs []history.Run
	path := machinePath(name, "/runs")
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	return runs, c.call(ctx, http.MethodGet, fmt.Sprintf("%s%slimit=%d", path, sep, limit), nil, &runs)
}

// Pause keeps a machine from being synced. It says whether that is new.
func (c *Client) Pause(ctx context.Context, name, reason string) (bool, error) {
	var r Changed
	err := c.call(ctx, http.MethodPost, machinePath(name, "/pause"), PauseRequest{reason}, &r)
	return r.Changed, err
}

// Resume takes a pause back.
func (c *Client) Resume(ctx context.Context, name string) (bool, error) {
	var r Changed
	err := c.call(ctx, http.MethodPost, machinePath(name, "/resume"), struct{}{}, &r)
	return r.Changed, err
}

// Reload has the service read its configuration again.
func (c *Client) Reload(ctx context.Context) error {
	return c.call(ctx, http.MethodPost, "/reload", struct{}{}, nil)
}

// Sync asks for a run now, and passes its events on until its last, which is a Summary, a
// Skipped or an Error. A run that has begun goes on also when ctx ends.
func (c *Client) Sync(ctx context.Context, name string, req SyncRequest, out event.Sink) error {
	resp, err := c.send(ctx, http.MethodPost, machinePath(name, "/sync"), req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		e, err := ui.DecodeJSON(lines.Bytes())
		if err != nil {
			return err
		}
		if e == nil {
			continue
		}
		out.Emit(e)
		switch e.(type) {
		case event.Summary, event.Skipped, event.Error:
			return nil
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("the service ended in the middle of the run, see its log: %w", errors.Join(lines.Err(), io.ErrUnexpectedEOF))
}

// machinePath is the path of a machine, or of something of it.
func machinePath(name, of string) string {
	source, domain, found := strings.Cut(name, "/")
	if !found {
		return "/machines/" + url.PathEscape(name) + of
	}
	return "/machines/" + url.PathEscape(domain) + of + "?source=" + url.QueryEscape(source)
}

func (c *Client) call(ctx context.Context, method, path string, body, answer any) error {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if answer == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
		return fmt.Errorf("read the service's answer: %w", err)
	}
	return nil
}

// send sends a request and returns the answer to one that was not refused.
func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var content io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://vmsync/"+Version+path, content)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return nil, fmt.Errorf("%s: %w; start it with: systemctl start vmsync", c.socket, ErrNotRunning)
	case errors.Is(err, fs.ErrPermission):
		return nil, &Error{Kind: KindDenied, Message: "no access to " + c.socket, Hint: "be root, or in the group that the configuration names under api"}
	default:
		return nil, fmt.Errorf("talk to the service at %s: %w", c.socket, err)
	}
	if resp.StatusCode < 300 {
		return resp, nil
	}
	defer resp.Body.Close()
	refused := &Error{}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil || json.Unmarshal(data, refused) != nil || refused.Message == "" {
		return nil, fmt.Errorf("the service at %s answered %s", c.socket, resp.Status)
	}
	return nil, refused
}
