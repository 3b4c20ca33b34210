package e2e

import (
	"context"
	"time"
)

// cleanupContext is for cleaning up after a test whose own context has ended.
func cleanupContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), time.Minute)
}
