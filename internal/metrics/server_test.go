package metrics

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// serving is a server whose log a test can read.
type serving struct {
	*Server
	log *bytes.Buffer
}

func newServing(t *testing.T, m *Metrics) *serving {
	log := &bytes.Buffer{}
	s := &serving{NewServer(m, slog.New(slog.NewTextHandler(log, nil))), log}
	t.Cleanup(s.Close)
	return s
}

// freePort is a port that nobody has at the moment.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// get asks an address; its error is that of the connection.
func get(method, address string) (int, string, error) {
	req, err := http.NewRequest(method, "http://"+address+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return res.StatusCode, string(body), err
}

func serves(t *testing.T, address string) {
	t.Helper()
	if code, body, err := get(http.MethodGet, address); err != nil || code != http.StatusOK || !strings.Contains(body, "\nvmsync_replica_age_seconds{") {
		t.Errorf("%s: %d %v\n%s", address, code, err, body)
	}
}

func TestServerMovesAndEnds(t *testing.T) {
	s := newServing(t, New(well().standing))
	one, two := freePort(t), freePort(t)
	first := fmt.Sprint("127.0.0.1:", one)
	second := fmt.Sprint("127.0.0.1:", two)
	everywhere := fmt.Sprint("0.0.0.0:", two)
	for _, step := range []struct {
		address, serves, not string
	}{{first, first, second}, {first, first, second}, {second, second, first}, {everywhere, second, first}, {"", "", second}, {first, first, second}} {
		if err := s.Listen(step.address); err != nil {
			t.Fatalf("%s: %v", step.address, err)
		}
		if step.serves != "" {
			serves(t, step.serves)
		}
		if _, _, err := get(http.MethodGet, step.not); err == nil {
			t.Errorf("%s is served still", step.not)
		}
	}
	s.Close()
	if _, _, err := get(http.MethodGet, first); err == nil {
		t.Error("it is served after the end")
	}
	if log := s.log.String(); strings.Count(log, "no encryption") != 1 || !strings.Contains(log, "http://"+first+"/metrics") {
		t.Error(log)
	}
}

func TestPortThatIsTakenIsSaidAndNothingChanges(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	s := newServing(t, New(well().standing))
	for _, before := range []string{"", fmt.Sprint("127.0.0.1:", freePort(t)), fmt.Sprint("127.0.0.2:", port)} {
		if err := s.Listen(before); err != nil {
			t.Fatal(err)
		}
		for _, address := range []string{fmt.Sprint("127.0.0.1:", port), fmt.Sprint("0.0.0.0:", port)} {
			err := s.Listen(address)
			if err == nil || !strings.Contains(err.Error(), "address already in use") || !strings.Contains(err.Error(), fmt.Sprintf("ss -ltnp 'sport = :%d'", port)) {
				t.Errorf("%v", err)
			}
		}
		if before != "" {
			serves(t, before)
		}
	}
	if err := refused("127.0.0.1:80", &net.OpError{Op: "listen", Net: "tcp", Err: syscall.EACCES}); !strings.Contains(err.Error(), "below 1024") {
		t.Errorf("%v", err)
	}
	if err := s.Listen("no-such-host.invalid:9108"); err == nil || !strings.Contains(err.Error(), "metrics: listen in the configuration") {
		t.Errorf("%v", err)
	}
}

func TestOnlyGetsAreAnsweredAndHeadersAreBounded(t *testing.T) {
	s := newServing(t, New(well().standing))
	address := fmt.Sprint("127.0.0.1:", freePort(t))
	if err := s.Listen(address); err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete} {
		if code, _, err := get(method, address); code != http.StatusMethodNotAllowed || err != nil {
			t.Errorf("%s: %d %v", method, code, err)
		}
	}
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /metrics HTTP/1.1\r\nHost: x\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	if answer, err := io.ReadAll(conn); !strings.HasPrefix(string(answer), "HTTP/1.1 431 ") {
		t.Errorf("%.200s %v", answer, err)
	}
}
