// Package hosthook runs hooks as either end runs them on its own host: by `vmsync hook`,
// see package hook. It must never run one that is meant for another place.
package hosthook

import (
	"context"
	"fmt"
	"os"
	"os/user"

	"vmsync/internal/hook"
	"vmsync/replicator"
)

// path is where hooks look for programs, whatever the agent's own environment says.
const path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// Run runs a hook that is meant for an end's host. The error is a *replicator.Error.
func Run(ctx context.Context, here replicator.HookPlace, req replicator.HookRequest, output func(string)) error {
	fail := func(hint string, err error) error { return replicator.HookError(&req, hint, err) }
	if req.On != here {
		return fail("", fmt.Errorf("%w: this is the %s", hook.ErrRefused, here))
	}
	self, err := os.Executable()
	if err != nil {
		return fail("", err)
	}
	c := hook.Command{Argv: req.Command, Env: environment(&req.About), Timeout: req.Timeout}
	if err := hook.Run(ctx, []string{self, "hook"}, c, output); err != nil {
		return fail("", err)
	}
	return nil
}

// environment is all that a hook gets.
func environment(about *replicator.HookAbout) []string {
	home := "/"
	if u, err := user.Current(); err == nil && u.HomeDir != "" {
		home = u.HomeDir
	}
	return append([]string{"PATH=" + path, "HOME=" + home, "LANG=C.UTF-8"}, about.Variables()...)
}
