package config

import (
	"net/url"

	"vmsync/internal/units"
)

// View is a [Config] as people and programs see it, in YAML or JSON: what the file says,
// with all defaults filled in, and each entry of machines as all its layers together. Of
// a web address only the host is shown; the rest is often a secret.
type View struct {
	Version       int                         `yaml:"version" json:"version"`
	Target        hostView                    `yaml:"target" json:"target"`
	Sources       map[string]hostView         `yaml:"sources" json:"sources"`
	Exclude       []string                    `yaml:"exclude,omitempty,flow" json:"exclude,omitempty"`
	Machines      []PolicyView                `yaml:"machines" json:"machines"`
	Concurrency   concurrencyView             `yaml:"concurrency" json:"concurrency"`
	Retry         retryView                   `yaml:"retry" json:"retry"`
	Jitter        string                      `yaml:"jitter" json:"jitter"`
	Notifications map[string]notificationView `yaml:"notifications,omitempty" json:"notifications,omitempty"`
	API           apiView                     `yaml:"api" json:"api"`
	Metrics       *metricsView                `yaml:"metrics,omitempty" json:"metrics,omitempty"`
	History       historyView                 `yaml:"history" json:"history"`
}

type hostView struct {
	URI          string `yaml:"uri" json:"uri"`
	IdentityFile string `yaml:"identity_file,omitempty" json:"identity_file,omitempty"`
	KnownHosts   string `yaml:"known_hosts,omitempty" json:"known_hosts,omitempty"`
	SSHConfig    string `yaml:"ssh_config,omitempty" json:"ssh_config,omitempty"`
	TLSDir       string `yaml:"tls_dir,omitempty" json:"tls_dir,omitempty"`
}

type concurrencyView struct {
	Total         int `yaml:"total" json:"total"`
	PerSource     int `yaml:"per_source" json:"per_source"`
	PerTargetHost int `yaml:"per_target_host" json:"per_target_host"`
}

type retryView struct {
	First string `yaml:"first" json:"first"`
	Max   string `yaml:"max" json:"max"`
}

type apiView struct {
	Socket string `yaml:"socket" json:"socket"`
	Group  string `yaml:"group,omitempty" json:"group,omitempty"`
}

type metricsView struct {
	Listen string `yaml:"listen" json:"listen"`
}

type historyView struct {
	Path     string `yaml:"path" json:"path"`
	KeepRuns int    `yaml:"keep_runs" json:"keep_runs"`
	KeepFor  string `yaml:"keep_for" json:"keep_for"`
}

type notificationView struct {
	Webhook string    `yaml:"webhook,omitempty" json:"webhook,omitempty"`
	Command []string  `yaml:"command,omitempty,flow" json:"command,omitempty"`
	SMTP    *smtpView `yaml:"smtp,omitempty" json:"smtp,omitempty"`
	Timeout string    `yaml:"timeout" json:"timeout"`
	Events  []Event   `yaml:"events,flow" json:"events"`
}

type smtpView struct {
	Host         string   `yaml:"host" json:"host"`
	Port         int      `yaml:"port" json:"port"`
	From         string   `yaml:"from" json:"from"`
	To           []string `yaml:"to,flow" json:"to"`
	User         string   `yaml:"user,omitempty" json:"user,omitempty"`
	PasswordFile string   `yaml:"password_file,omitempty" json:"password_file,omitempty"`
	StartTLS     string   `yaml:"starttls" json:"starttls"`
}

// View shows the configuration.
func (c *Config) View() View {
	v := View{
		Version:       Version,
		Target:        c.Target.view(),
		Sources:       map[string]hostView{},
		Exclude:       c.exclude,
		Concurrency:   concurrencyView(c.Concurrency),
		Retry:         retryView{units.FormatDuration(c.Retry.First), units.FormatDuration(c.Retry.Max)},
		Jitter:        units.FormatDuration(c.Jitter),
		Notifications: map[string]notificationView{},
		API:           apiView(c.API),
		History:       historyView{c.History.Path, c.History.KeepRuns, units.FormatDuration(c.History.KeepFor)},
	}
	for _, s := range c.Sources {
		v.Sources[s.Name] = s.view()
	}
	for i := range c.entries {
		v.Machines = append(v.Machines, c.viewEntry(&c.entries[i])...)
	}
	for name, n := range c.Notifications {
		v.Notifications[name] = n.view()
	}
	if c.Metrics.Listen != "" {
		m := metricsView(c.Metrics)
		v.Metrics = &m
	}
	return v
}

// viewEntry shows an entry, and once more for sources on which it takes settings from
// another pattern.
func (c *Config) viewEntry(e *entry) []PolicyView {
	var all []PolicyView
	variants := c.variants(e)
	for _, v := range variants {
		p := v.merged.complete(&findings{})
		p.Domain = e.name
		view := p.View()
		if len(e.sources) > 0 || len(variants) > 1 {
			view.Source = v.sources
		}
		all = append(all, view)
	}
	return all
}

func (h Host) view() hostView {
	return hostView{h.URI, h.IdentityFile, h.KnownHosts, h.SSHConfig, h.TLSDir}
}

func (n Notification) view() notificationView {
	v := notificationView{Command: n.Command, Timeout: units.FormatDuration(n.Timeout), Events: n.Events}
	if u, err := url.Parse(n.Webhook); n.Webhook != "" && err == nil {
		v.Webhook = u.Scheme + "://" + u.Host + "/…"
	}
	if m := n.SMTP; m != nil {
		v.SMTP = &smtpView{m.Host, m.Port, m.From, m.To, m.User, m.PasswordFile, map[bool]string{true: "yes", false: "no"}[m.StartTLS]}
	}
	return v
}
