package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// Serve lets [Configure] change the wire through a unix socket at path, until
// ctx ends.
func (w *Wire) Serve(ctx context.Context, path string) error {
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("wire: %w", err)
		}
		w.answer(c)
	}
}

// answer serves one request: a Quality in JSON, answered by an error or nothing.
func (w *Wire) answer(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	var q Quality
	err := json.NewDecoder(io.LimitReader(c, 4096)).Decode(&q)
	if err == nil {
		err = w.Set(q)
	}
	if err != nil {
		fmt.Fprint(c, err)
		return
	}
	fmt.Fprint(c, "ok")
}

// Configure changes the quality of the wire that serves at path.
func Configure(ctx context.Context, path string, q Quality) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if err := json.NewEncoder(c).Encode(q); err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	reply, err := io.ReadAll(io.LimitReader(c, 4096))
	if err != nil {
		return fmt.Errorf("wire: %w", err)
	}
	if string(reply) != "ok" {
		return errors.New(string(reply))
	}
	return nil
}
