package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"vmsync/internal/api"
	"vmsync/internal/ui"
)

// roleInService changes whether the service syncs a machine, where the service has it and
// the command line does not name a store; done says whether that is so.
func roleInService(cmd *cobra.Command, p *place, name, reason string, pause bool) (done bool, err error) {
	client := served(cmd, name, "store", "target-uri")
	if client == nil {
		return false, nil
	}
	if err := notForTheService(cmd, name, "json", "reason"); err != nil {
		return true, err
	}
	was := map[bool]string{true: "paused already", false: "not paused"}[pause]
	now := map[bool]string{true: "paused: the service leaves it alone until vmsync resume", false: "the service goes on with it"}[pause]
	changed, err := setPaused(cmd, client, name, reason, pause)
	switch {
	case err != nil:
		return true, err
	case p.json:
		return true, printJSON(struct {
			Domain  string `json:"domain"`
			Paused  bool   `json:"paused"`
			Changed bool   `json:"changed"`
		}{name, pause, changed})
	case !changed:
		now = was
	}
	_, err = fmt.Printf("%s: %s\n", ui.Clean(name), now)
	return true, err
}

func setPaused(cmd *cobra.Command, client *api.Client, name, reason string, pause bool) (bool, error) {
	if pause {
		return client.Pause(cmd.Context(), name, reason)
	}
	return client.Resume(cmd.Context(), name)
}
