package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// maxAnswer bounds what is read of an answer's headers, and of its body, in bytes.
const maxAnswer = 64 << 10

// post sends a message to a webhook. Redirects are not followed: they would carry the
// message, and secrets of the address, to wherever the answer says.
func (s Sender) post(ctx context.Context, address string, m *Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return errors.New("post to the webhook: its address is not valid")
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "vmsync/"+s.Version)
	client := &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			MaxResponseHeaderBytes: maxAnswer, TLSHandshakeTimeout: time.Minute},
	}
	host := req.URL.Host
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("post to %s: %w", host, bare(err))
	}
	defer resp.Body.Close()
	// What it says may have the address in it, and decides nothing.
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	if code := resp.StatusCode; code >= 300 {
		err := fmt.Errorf("post to %s: it answers %d %s", host, code, http.StatusText(code))
		switch {
		case code < 400:
			err = fmt.Errorf("%w, and redirects are not followed: write the address that it leads to into the configuration", err)
		case code >= 500, slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests}, code):
			return err
		}
		return &RefusedError{err}
	}
	return nil
}

// bare takes the address out of an error of package http.
func bare(err error) error {
	if e := (*url.Error)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
