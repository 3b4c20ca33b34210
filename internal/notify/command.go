package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/proc"
)

// lastChance is how long a command that is ended may take to end.
const lastChance = 2 * time.Second

// run runs a command with a message on its stdin. A command that fails is not known to have
// told nobody: trying for ever could page somebody for ever.
func (s Sender) run(ctx context.Context, name string, argv []string, m *Message) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	p, err := proc.Start(ctx, proc.Cmd{Argv: argv, Env: environment(name, m), Dir: "/", Stdin: bytes.NewReader(append(body, '\n')), Grace: lastChance})
	if err == nil {
		err = p.Wait()
	}
	if err != nil {
		return &RefusedError{fmt.Errorf("run the command: %w", err)}
	}
	return nil
}

// inherited are the variables that a command gets of the service's own. Others, as those by
// which systemd hears the service, are not for it.
var inherited = []string{"PATH", "HOME", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"}

// environment is a command's, with what most commands want to know of a message.
func environment(name string, m *Message) []string {
	var env []string
	for _, key := range inherited {
		if value, set := os.LookupEnv(key); set {
			env = append(env, key+"="+value)
		}
	}
	domain, source := m.News[0].Domain, m.News[0].Source
	for _, n := range m.News {
		if n.Domain != domain || n.Source != source {
			domain, source = "", "" // several
		}
	}
	return append(env,
		"VMSYNC_NOTIFICATION="+name,
		"VMSYNC_EVENT="+string(gravest(m.News)),
		"VMSYNC_EVENTS="+strconv.Itoa(len(m.News)),
		"VMSYNC_DOMAIN="+domain,
		"VMSYNC_SOURCE="+source,
		"VMSYNC_HOST="+m.Host,
		"VMSYNC_ID="+m.ID,
		"VMSYNC_SUBJECT="+strings.ReplaceAll(m.Subject, "\x00", ""))
}

// gravest is the event of a message that matters most.
func gravest(news []News) config.Event {
	for _, e := range []config.Event{config.RPOBroken, config.Failed, config.Recovered} {
		if slices.ContainsFunc(news, func(n News) bool { return n.Event == e }) {
			return e
		}
	}
	return news[0].Event
}
