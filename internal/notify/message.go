package notify

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"vmsync/internal/config"
	"vmsync/internal/history"
)

// Version is that of a [Message] as JSON. Within a version keys only ever get more.
const Version = 1

// Test is the event of a message that only shows that messages arrive.
const Test config.Event = "test"

// Message is what is sent, as JSON or as text. docs/CONFIG.md describes it.
type Message struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`   // the same for the same news
	Host    string    `json:"host"` // on which the service runs
	Sent    time.Time `json:"sent"`
	Subject string    `json:"subject"` // one line
	Text    string    `json:"text"`    // all of it, for people
	News    []News    `json:"events"`  // one or more, the oldest first
}

// News is one thing that happened to one machine.
type News struct {
	ID    string       `json:"id"`
	Event config.Event `json:"event"`
	// After is what a machine has recovered from.
	After []config.Event `json:"after,omitempty"`
	Time  time.Time      `json:"time"`

	Domain       string `json:"domain,omitempty"`
	Source       string `json:"source,omitempty"` // as the configuration names it
	TargetDomain string `json:"target_domain,omitempty"`

	Message string            `json:"message"`         // what happened, in a few words
	Since   time.Time         `json:"since,omitzero"`  // when it began
	Error   *history.RunError `json:"error,omitempty"` // the reason, where it is known
	Hint    string            `json:"hint,omitempty"`  // what to do next

	Fresh    time.Time `json:"fresh,omitzero"` // what the replica holds is of then; zero if there is none
	Age      float64   `json:"age_seconds,omitempty"`
	RPO      float64   `json:"rpo_seconds,omitempty"` // how old it may get
	Failures int       `json:"failures,omitempty"`    // runs that failed since the last good one
	Run      string    `json:"run,omitempty"`         // id of the last run
}

// NewID makes an id of news: 12 hex digits.
func NewID() string {
	var b [6]byte
	rand.Read(b[:]) // it does not fail
	return hex.EncodeToString(b[:])
}

// messageOf puts news into a message, at a moment.
func messageOf(host string, news []News, now time.Time) *Message {
	host = line(host)
	clean := make([]News, len(news))
	ids := sha256.New()
	for i, n := range news {
		clean[i] = n.clean()
		ids.Write([]byte(n.ID + "\n"))
	}
	return &Message{Version: Version, ID: hex.EncodeToString(ids.Sum(nil)[:8]), Host: host, Sent: now.UTC().Round(0),
		Subject: subject(host, clean), Text: text(host, clean), News: clean}
}

// clean makes what comes from elsewhere fit for any way: one line, not too long.
func (n News) clean() News {
	for _, s := range []*string{&n.Domain, &n.Source, &n.TargetDomain, &n.Message, &n.Hint} {
		*s = line(*s)
	}
	if n.Error != nil {
		e := *n.Error
		e.Message, e.Hint, e.Disk = line(e.Message), line(e.Hint), line(e.Disk)
		n.Error = &e
	}
	return n
}
