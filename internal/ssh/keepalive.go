package ssh

import (
	"fmt"
	"time"
)

// startKeepalive watches the peer until the connection ends. A peer that has been
// silent for interval is asked for a sign of life; one that stays silent for limit
// is given up. Anything it sends counts: an answer may be stuck behind data on a
// slow link.
func (c *Client) startKeepalive(interval, limit time.Duration) {
	pings := make(chan struct{}, 1)
	c.tasks.Go(func() {
		// Asking blocks until the answer or the end of the connection.
		for range pings {
			if _, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil); err != nil {
				return
			}
		}
	})
	c.tasks.Go(func() {
		defer close(pings)
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-c.done:
				return
			case <-ticker.C:
			}
			silence := c.conn.silence()
			if silence >= limit {
				c.giveUp(fmt.Errorf("no sign of life for %s", silence.Round(time.Millisecond)))
				return
			}
			if silence >= interval {
				select {
				case pings <- struct{}{}:
				default: // the last one is still unanswered
				}
			}
		}
	})
}
