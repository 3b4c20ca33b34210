package replicator

import (
	"context"
	"time"
)

// patience is how long a run waits for a lock before it says that another run
// holds it. A run that was killed or cut off holds it until its agents have
// noticed and cleaned up; running the sync again right away is to succeed.
const patience = 10 * time.Second

// Patiently tries to take a lock until it is not busy (an error of KindBusy) any
// more, or for some seconds.
func Patiently(ctx context.Context, take func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := take()
		if KindOf(err) != KindBusy {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}
