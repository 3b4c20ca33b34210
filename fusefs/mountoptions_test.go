package fusefs

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMountOptions(t *testing.T) {
	id := func(n uint32) *uint32 { return &n }
	for text, want := range map[string]Options{
		"": {},
		"rw,noauto,_netdev,x-systemd.automount,nodev,comment=ours": {},
		"allow_other,store=/srv/a\\,b,domain=vm1,domain=vm2":       {AllowOther: true, Store: "/srv/a,b", Domains: []string{"vm1", "vm2"}},
		"uid=1000,gid=0,mode=750,cache=256MiB,key_file=/k":         {Owners: Owners{id(1000), id(0), id(0o750)}, Cache: 256 << 20, KeyFiles: []string{"/k"}},
	} {
		var got Options
		if err := got.ParseMountOptions(text, false); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got, cmpopts.EquateComparable(), cmp.AllowUnexported()); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
	for _, text := range []string{"nonsense", "uid=root", "uid", "gid=-1", "mode=888", "mode=1777", "cache=lots", "cache=1K", "allow_other=yes", "store", "remount"} {
		if err := new(Options).ParseMountOptions(text, false); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if err := new(Options).ParseMountOptions("nonsense,other=1", true); err != nil {
		t.Errorf("unknown options were to be ignored: %v", err)
	}
}
