package proc

import "runtime"

// lockAndLeave ends a goroutine that is locked to its thread, so that the Go
// runtime ends the thread.
func lockAndLeave() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
	}()
	<-done
}
