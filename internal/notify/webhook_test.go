package notify

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"vmsync/internal/config"
)

// got is a request that a webhook had.
type got struct {
	path, user, password string
	header               http.Header
	body                 []byte
}

// hook is a webhook that answers as f says, or with 204.
func hook(t *testing.T, secure *tls.Certificate, f http.HandlerFunc) (address string, requests chan got) {
	t.Helper()
	requests = make(chan got, 9)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		user, password, _ := r.BasicAuth()
		requests <- got{r.URL.String(), user, password, r.Header, body}
		if f == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		f(w, r)
	}))
	if secure != nil {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{*secure}}
		s.EnableHTTP2 = true
		s.Config.ErrorLog = nil
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return s.URL, requests
}

func TestWebhookGetsTheMessage(t *testing.T) {
	for name, secure := range map[string]*tls.Certificate{"http": nil, "https with a CA of one's own": &served} {
		t.Run(name, func(t *testing.T) {
			url, requests := hook(t, secure, nil)
			address := strings.Replace(url, "://", "://us%20er:s3cret@", 1) + "/hooks/x?token=s3cret"
			if err := sendTo(t, config.Notification{Webhook: address}, broken("vm1"), broken("vm2")); err != nil {
				t.Fatal(err)
			}
			r := <-requests
			if r.path != "/hooks/x?token=s3cret" || r.user != "us er" || r.password != "s3cret" ||
				r.header.Get("Content-Type") != "application/json" || r.header.Get("User-Agent") != "vmsync/1.2" {
				t.Errorf("%+v", r)
			}
			var m struct {
				Version int
				ID      string
				Host    string
				Subject string
				Text    string
				Events  []map[string]any
			}
			if err := json.Unmarshal(r.body, &m); err != nil {
				t.Fatal(err)
			}
			if m.Version != 1 || m.Host != "hostb" || m.Subject != "[vmsync hostb] 2 replicas older than promised" || len(m.ID) != 16 || len(m.Events) != 2 {
				t.Errorf("%s", r.body)
			}
			e := m.Events[1]
			if e["event"] != "rpo_broken" || e["domain"] != "vm2" || e["source"] != "hosta" || e["since"] != "2026-11-22T05:00:03Z" || e["rpo_seconds"] != 1800.0 ||
				e["error"].(map[string]any)["kind"] != "unreachable" || e["id"] != "id-vm2" || e["time"] != "2026-11-22T05:00:08Z" {
				t.Errorf("%v", e)
			}
		})
	}
}

func TestWebhookThatDoesNotTakeTheMessage(t *testing.T) {
	other, stolen := hook(t, nil, nil)
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", other+"/s3cret")
			w.WriteHeader(code)
			io.WriteString(w, "no such page: "+r.URL.String())
		}
	}
	for name, c := range map[string]struct {
		secure  *tls.Certificate
		answer  http.HandlerFunc
		refused bool
		words   []string
	}{
		"server's fault":        {nil, status(503), false, []string{"answers 503 Service Unavailable"}},
		"too many":              {nil, status(429), false, []string{"answers 429"}},
		"not found":             {nil, status(404), true, []string{"answers 404 Not Found"}},
		"redirected":            {nil, status(302), true, []string{"answers 302", "redirects are not followed"}},
		"redirected, same body": {nil, status(307), true, []string{"answers 307", "redirects are not followed"}},
		"hangs up": {nil, func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			c.Close()
		}, false, []string{"EOF"}},
		"endless headers": {nil, func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
			for range 1000 {
				if _, err := io.WriteString(c, strings.Repeat("x", 1024)); err != nil {
					break
				}
			}
			c.Close()
		}, false, []string{"exceeded"}},
		"stranger's certificate": {ptr(strange(t)), nil, false, []string{"certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			url, _ := hook(t, c.secure, c.answer)
			err := sendTo(t, config.Notification{Webhook: strings.Replace(url, "://", "://u:s3cret@", 1) + "/s3cret?s3cret"}, broken("vm1"))
			fails(t, err, c.refused, append(c.words, "post to 127.0.0.1:")...)
		})
	}
	if len(stolen) > 0 {
		t.Error("a redirect was followed")
	}
}

func ptr[T any](v T) *T { return &v }

func TestWebhookThatNobodyServes(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = sendTo(t, config.Notification{Webhook: "http://u:s3cret@" + l.Addr().String() + "/s3cret"}, broken("vm1"))
	fails(t, err, false, "connection refused")
}

func TestWebhookThatHangs(t *testing.T) {
	done := make(chan struct{})
	url, _ := hook(t, nil, func(http.ResponseWriter, *http.Request) { <-done })
	t.Cleanup(func() { close(done) })
	err := sendTo(t, config.Notification{Webhook: url + "/s3cret", Timeout: 200 * time.Millisecond}, broken("vm1"))
	fails(t, err, false, "it took longer than 200ms", "timeout")
}

func TestWebhookThatSaysTooMuchIsNotHeardOut(t *testing.T) {
	said := make(chan int, 1)
	url, _ := hook(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		n := 0
		for range 64 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				break
			}
			n++
		}
		said <- n
	})
	if err := sendTo(t, config.Notification{Webhook: url}, broken("vm1")); err != nil {
		t.Fatal(err)
	}
	if n := <-said; n == 64 {
		t.Error("all of it was read")
	}
}
