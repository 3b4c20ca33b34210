package replicator

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestImagesOfADefinitionAreFound(t *testing.T) {
	want := map[string]string{"vda": "/a", "vdb": "/b"}
	if diff := cmp.Diff(want, SourceImages(definition)); diff != "" {
		t.Error(diff)
	}
	if got := SourceImages("<domain"); len(got) > 0 {
		t.Errorf("of no XML: %v", got)
	}
}

func TestFormerOwnerOfAnImage(t *testing.T) {
	then := &Head{Images: map[string]string{"vda": "/a", "vdb": "/b", "vdz": "/z"}}
	for name, c := range map[string]struct {
		disk SourceDisk
		head *Head
		want string
	}{
		"where it was":        {SourceDisk{Name: "vda", Path: "/a"}, then, ""},
		"changed places":      {SourceDisk{Name: "vda", Path: "/b"}, then, "vdb"},
		"of a disk gone":      {SourceDisk{Name: "vda", Path: "/z"}, then, "vdz"},
		"moved or on top":     {SourceDisk{Name: "vda", Path: "/snap"}, then, ""},
		"no path":             {SourceDisk{Name: "vda"}, then, ""},
		"nothing is known":    {SourceDisk{Name: "vda", Path: "/b"}, &Head{}, ""},
		"shared by two disks": {SourceDisk{Name: "vda", Path: "/a"}, &Head{Images: map[string]string{"vda": "/a", "vdb": "/a"}}, ""},
	} {
		if got := formerOwner(c.disk, c.head); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
