package replicator

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

func hop(t *testing.T, in *Error) *Error {
	t.Helper()
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	out := new(Error)
	if err := json.Unmarshal(data, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestErrorSurvivesAHop(t *testing.T) {
	in := &Error{Kind: KindDiskUnfit, Domain: "web", Disk: "vda", Op: "inspect", Hint: "convert it to qcow2", Err: errors.New("raw image")}
	out := hop(t, in)
	if out.Error() != in.Error() || KindOf(out) != KindDiskUnfit || out.Disk != "vda" || out.Domain != "web" || out.Op != in.Op || out.Hint != in.Hint {
		t.Errorf("got %#v, want %#v", out, in)
	}
	want := "inspect (domain web, disk vda): raw image; convert it to qcow2"
	if in.Error() != want {
		t.Errorf("text %q, want %q", in.Error(), want)
	}
}

func TestBusyErrorSurvivesAHop(t *testing.T) {
	in := &Error{Kind: KindBusy, Domain: "web", Op: "lock", Err: &BusyError{PID: 42, What: "sync of web"}}
	busy, ok := errors.AsType[*BusyError](hop(t, in))
	if !ok || busy.PID != 42 || busy.What != "sync of web" {
		t.Errorf("got %#v", busy)
	}
}

func TestWrappedErrorKeepsKindAndText(t *testing.T) {
	err := fmt.Errorf("sync: %w", &Error{Kind: KindDomainOff, Err: errors.New("shut off")})
	out := hop(t, AsError(err))
	if out.Kind != KindDomainOff || out.Error() != "sync: shut off" {
		t.Errorf("got kind %q text %q", out.Kind, out.Error())
	}
	// Its fields are kept too, and not told twice.
	disk := &Error{Kind: KindNoSpace, Domain: "vm1", Disk: "vda", Op: "write", Hint: "free space", Err: errors.New("full")}
	out = hop(t, AsError(errors.Join(fmt.Errorf("state s is stored, but: %w", disk), errors.New("and more"))))
	if out.Domain != "vm1" || out.Disk != "vda" || out.Hint != "free space" || out.Text() != "state s is stored, but: write: full\nand more" {
		t.Errorf("got %+v, text %q", out, out.Text())
	}
	if got := KindOf(errors.New("x")); got != KindOther {
		t.Errorf("kind of a plain error is %q", got)
	}
	if AsError(nil) != nil || KindOf(nil) != "" {
		t.Error("nil is not an error")
	}
}
