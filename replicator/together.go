package replicator

import (
	"context"
	"sync"
	"time"
)

// together runs the parts of a transfer at the same time, and returns their errors
// when all have ended.
//
// When one part fails the others see no more than a closed connection, and end as
// well. What they have to say may be the better error, so they get some time before
// they are cancelled.
func together(ctx context.Context, parts ...func(context.Context) error) []error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(parts))
	var wg sync.WaitGroup
	for i, part := range parts {
		wg.Go(func() {
			if errs[i] = part(ctx); errs[i] != nil {
				time.AfterFunc(lastWords, cancel)
			}
		})
	}
	wg.Wait()
	return errs
}
