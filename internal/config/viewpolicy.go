package config

import (
	"time"

	"vmsync/internal/transport"
	"vmsync/internal/units"
)

// PolicyView is a [Policy] as people and programs see it, in YAML or JSON: the keys of an
// entry of machines, with values that [Parse] reads as the same.
type PolicyView struct {
	Name   string   `yaml:"name" json:"name"`
	Source []string `yaml:"source,omitempty,flow" json:"source,omitempty"`
	From   []Layer  `yaml:"-" json:"from,omitempty"`

	Every  string `yaml:"every,omitempty" json:"every,omitempty"`
	Cron   string `yaml:"cron,omitempty" json:"cron,omitempty"`
	RPO    string `yaml:"rpo,omitempty" json:"rpo,omitempty"`
	MaxAge string `yaml:"max_age,omitempty" json:"max_age,omitempty"`

	MinChanged       string `yaml:"min_changed,omitempty" json:"min_changed,omitempty"`
	MinChangedMaxAge string `yaml:"min_changed_max_age,omitempty" json:"min_changed_max_age,omitempty"`

	Keep         string              `yaml:"keep,omitempty" json:"keep,omitempty"`
	Store        string              `yaml:"store" json:"store"`
	TargetDomain string              `yaml:"target_domain" json:"target_domain"`
	Disks        []string            `yaml:"disks,omitempty,flow" json:"disks,omitempty"`
	ExcludeDisks []string            `yaml:"exclude_disks,omitempty,flow" json:"exclude_disks,omitempty"`
	Compress     string              `yaml:"compress" json:"compress"`
	Transport    transport.Transport `yaml:"transport" json:"transport"`
	Rate         any                 `yaml:"rate" json:"rate"` // a text, or a list of rateView

	Quiesce           Quiesce    `yaml:"quiesce" json:"quiesce"`
	FreezeMountpoints []string   `yaml:"freeze_mountpoints,omitempty,flow" json:"freeze_mountpoints,omitempty"`
	Before            []hookView `yaml:"before,omitempty" json:"before,omitempty"`
	AfterCheckpoint   []hookView `yaml:"after_checkpoint,omitempty" json:"after_checkpoint,omitempty"`
	After             []hookView `yaml:"after,omitempty" json:"after,omitempty"`

	Notify []string `yaml:"notify,flow" json:"notify"`
	Group  string   `yaml:"group,omitempty" json:"group,omitempty"`
}

type rateView struct {
	From string   `yaml:"from" json:"from"`
	To   string   `yaml:"to" json:"to"`
	Days []string `yaml:"days,omitempty,flow" json:"days,omitempty"`
	Rate string   `yaml:"rate" json:"rate"`
}

type hookView struct {
	On        Place     `yaml:"on" json:"on"`
	Command   []string  `yaml:"command,flow" json:"command"`
	Timeout   string    `yaml:"timeout" json:"timeout"`
	OnFailure OnFailure `yaml:"on_failure" json:"on_failure"`
}

// View shows the policy.
func (p *Policy) View() PolicyView {
	notify, sources := p.Notify, []string(nil)
	if notify == nil {
		notify = []string{}
	}
	if p.Source != "" {
		sources = []string{p.Source}
	}
	return PolicyView{
		Name: p.Domain, Source: sources, From: p.From,
		Every: shown(p.Schedule.Every), Cron: cronText(p.Schedule.Cron), RPO: shown(p.Schedule.RPO), MaxAge: p.shownMaxAge(),
		MinChanged: shownSize(p.MinChanged), MinChangedMaxAge: shown(p.MinChangedMaxAge),
		Keep: p.Keep, Store: p.Store, TargetDomain: p.TargetDomain, Disks: p.Disks, ExcludeDisks: p.ExcludeDisks,
		Compress: p.Compress, Transport: p.Transport, Rate: p.Rate.view(),
		Quiesce: p.Quiesce, FreezeMountpoints: p.FreezeMountpoints, Before: hookViews(p.Before), AfterCheckpoint: hookViews(p.AfterCheckpoint), After: hookViews(p.After),
		Notify: notify, Group: p.Group,
	}
}

func shown(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return units.FormatDuration(d)
}

func shownSize(n int64) string {
	if n == 0 {
		return ""
	}
	return units.FormatSize(n)
}

func (p *Policy) shownMaxAge() string {
	if p.Schedule.RPO > 0 {
		return "" // rpo says it
	}
	return shown(p.Schedule.MaxAge)
}

func hookViews(hooks []Hook) []hookView {
	var all []hookView
	for _, h := range hooks {
		all = append(all, hookView{h.On, h.Command, units.FormatDuration(h.Timeout), h.OnFailure})
	}
	return all
}

func (r Rate) view() any {
	switch {
	case len(r.Windows) == 0:
		return none
	case len(r.Windows) == 1 && r.Windows[0].always():
		return r.Windows[0].rateText()
	}
	var all []rateView
	for _, w := range r.Windows {
		v := rateView{From: clockText(w.From), To: clockText(w.To), Rate: w.rateText()}
		if w.Days != everyDay() {
			for i, name := range dayNames() {
				if w.Days[i] {
					v.Days = append(v.Days, name)
				}
			}
		}
		all = append(all, v)
	}
	return all
}

func (w RateWindow) always() bool {
	return w.From == 0 && w.To == 24*60 && w.Days == everyDay()
}

func (w RateWindow) rateText() string {
	if w.Rate == 0 {
		return none
	}
	return units.FormatSize(w.Rate)
}
