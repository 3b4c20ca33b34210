package config

// member is what the first member of a consistency group has.
type member struct {
	at  position
	who string
	p   Policy
}

// groups finds machines of one group whose checkpoints could not be taken together.
type groups struct {
	members map[string]member
	f       *findings
}

func (g *groups) add(v *settings, p Policy, who string) {
	if p.Group == "" {
		return
	}
	first, known := g.members[p.Group]
	if !known {
		g.members[p.Group] = member{v.here, who, p}
		return
	}
	for _, c := range []struct {
		key   string
		equal bool
	}{
		{"every", first.p.Schedule.Every == p.Schedule.Every},
		{"cron", cronText(first.p.Schedule.Cron) == cronText(p.Schedule.Cron)},
		{"rpo", first.p.Schedule.RPO == p.Schedule.RPO},
		{"max_age", first.p.Schedule.MaxAge == p.Schedule.MaxAge},
		{"min_changed", first.p.MinChanged == p.MinChanged},
		{"min_changed_max_age", first.p.MinChangedMaxAge == p.MinChangedMaxAge},
		{"store", first.p.Store == p.Store},
	} {
		if !c.equal {
			g.f.add(v.here, "%s is not the same for %s and %s (line %d), but group %s is synced together: make it the same, or take one out of the group",
				c.key, who, first.who, first.at.line, p.Group)
			return
		}
	}
}

func cronText(c *Cron) string {
	if c == nil {
		return ""
	}
	return c.String()
}
