package service

import (
	"vmsync/internal/config"
	"vmsync/replicator"
)

// hooksOf are the hooks of a machine's run.
func hooksOf(p *config.Policy, run string) replicator.Hooks {
	return replicator.Hooks{Before: hooks(p.Before), AfterCheckpoint: hooks(p.AfterCheckpoint), After: hooks(p.After), Run: run, Source: p.Source}
}

func hooks(from []config.Hook) []replicator.Hook {
	var all []replicator.Hook
	for _, h := range from {
		all = append(all, replicator.Hook{On: replicator.HookPlace(h.On), Command: h.Command, Timeout: h.Timeout, Abort: h.OnFailure == config.Abort})
	}
	return all
}
