package service

import (
	"context"
	"os"
	"time"

	"vmsync/internal/history"
	"vmsync/internal/notify"
)

// lastWords is how long notifications may take that are left when the service ends.
const lastWords = 10 * time.Second

// newNotifier makes a service's notifier, that sends as its options say.
func newNotifier(o *Options) *notify.Notifier {
	send := o.Notify
	if send == nil {
		host, err := os.Hostname()
		if err != nil {
			host = "localhost"
		}
		send = notify.Sender{Host: host, Version: o.Version}.Send
	}
	return notify.New(notify.Options{Send: send, Log: o.Log})
}

// sayLastWords sends what is left to be told.
func (s *Service) sayLastWords() {
	ctx, cancel := context.WithTimeout(context.Background(), lastWords)
	defer cancel()
	s.notifier.Close(ctx)
}

// heralds is what is to be told of machines, and kept as told.
type heralds struct {
	told map[string]history.Told
	news []herald
}

type herald struct {
	to   []string
	news notify.News
}

// listen notes what is to be told of a machine.
func (s *Service) listen(h *heralds, m *machine, v *view, now time.Time) {
	if len(m.policy.Notify) == 0 {
		return // nobody: they will be told when there is somebody
	}
	src := s.sources[m.policy.Source]
	st := conditionOf(m, v, src.lost, src.err, s.cfg.Retry.First, now)
	before := m.record.Told
	events, told := changes(before, st)
	if len(events) == 0 {
		return
	}
	for _, e := range events {
		h.news = append(h.news, herald{m.policy.Notify, newsOf(e, m, v, &st, &before, now)})
	}
	m.record.Told = told
	h.told[m.key] = told
}

// tellNews keeps as told what there is to tell, and has it told.
func (s *Service) tellNews(h *heralds) {
	if len(h.news) == 0 {
		return
	}
	if err := s.hist.Tell(h.told); err != nil {
		s.log.Warn("cannot keep in the history who was told what: after a restart it is told again", "error", err)
	}
	for _, one := range h.news {
		s.notifier.Tell(one.to, one.news)
	}
}
