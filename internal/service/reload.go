package service

import (
	"context"

	"vmsync/internal/api"
	"vmsync/internal/config"
)

// Reload reads the configuration again and goes on with it. Runs that are under way end as
// they began. One that is not sound changes nothing; the error is an [api.Error] that says
// what is wrong.
func (s *Service) Reload(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	c, err := s.opts.Load()
	if err == nil {
		err = s.opts.Listen(c.Metrics.Listen)
	}
	if err != nil {
		s.log.Error("the new configuration is refused, the old one stays: " + err.Error())
		return &api.Error{Kind: api.KindBadConfig, Message: err.Error(), Hint: "the service goes on as before; correct the file, and reload again"}
	}
	return s.do(ctx, func() {
		s.adopt(c)
		s.events.tell(api.Event{Event: api.EventReloaded})
		s.log.Info("the configuration was read again", "file", s.opts.Path, "machines", len(s.machines))
	})
}

// adopt goes on with a configuration.
func (s *Service) adopt(c *config.Config) {
	if s.cfg != nil && (c.API != s.cfg.API || c.History != s.cfg.History) {
		s.log.Warn("what the configuration says of api and history holds from the next start on")
	}
	s.cfg = c
	s.notifier.Adopt(c.Notifications)
	for _, m := range s.machines {
		m.mark = nil // another policy may want something of a replica although nothing has changed
	}
	for name, src := range s.sources {
		if h, stays := c.Source(name); !stays || h != src.host {
			src.stop()
			delete(s.sources, name)
		}
	}
	for _, h := range c.Sources {
		if s.sources[h.Name] == nil {
			s.sources[h.Name] = s.follow(h)
		}
	}
	s.muster()
}
