package replicator

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestTheErrorThatSaysMostIsChosen(t *testing.T) {
	full := &Error{Kind: KindNoSpace, Disk: "vda", Err: errors.New("no space")}
	peer := &Error{Kind: KindPeer, Err: errors.New("reset by peer")}
	plain := errors.New("relay: broken pipe")
	cancelled := fmt.Errorf("wait: %w", context.Canceled)
	for name, c := range map[string]struct {
		errs []error
		want error
	}{
		"cause before symptom":       {[]error{peer, full, plain}, full},
		"symptom before cancelled":   {[]error{cancelled, peer, nil}, peer},
		"first of two symptoms":      {[]error{peer, nil, plain}, peer},
		"one that is no typed error": {[]error{nil, nil, plain}, plain},
	} {
		if got := chooseError(context.Background(), c.errs...); got != c.want {
			t.Errorf("%s: got %v", name, got)
		}
	}
	stopped := errors.New("the user's interrupt")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stopped)
	if got := chooseError(ctx, full); got != stopped {
		t.Errorf("after an interrupt: got %v", got)
	}
}

func TestEndsThatSawDifferentStreamsDoNotAgree(t *testing.T) {
	a := DiskResult{Name: "vda", DataBytes: 1, ZeroBytes: 2, Digest: "x"}
	b := DiskResult{Name: "vdb", DataBytes: 3, Digest: "y"}
	if err := agree(&StreamResult{Disks: []DiskResult{a, b}}, &StreamResult{Disks: []DiskResult{b, a}}); err != nil {
		t.Errorf("the order of disks matters: %v", err)
	}
	hashed := b
	hashed.Content = "c"
	if err := agree(&StreamResult{Disks: []DiskResult{a, b}}, &StreamResult{Disks: []DiskResult{a, hashed}}); err != nil {
		t.Errorf("what only one end computes matters: %v", err)
	}
	other := a
	other.Digest = "z"
	for name, received := range map[string][]DiskResult{"digest": {other, b}, "disk missing": {a}, "disk twice": {a, a}, "none": nil} {
		if agree(&StreamResult{Disks: []DiskResult{a, b}}, &StreamResult{Disks: received}) == nil {
			t.Errorf("%s: they agree", name)
		}
	}
}
