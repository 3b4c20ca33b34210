package replicator

import "testing"

func TestOnlyWhatIsCertainlyUnchangedIsTheSame(t *testing.T) {
	shape := Shape{Definition: "a", Disks: "b"}
	mark := Mark{Disks: []string{"vda", "vdb"}, Shape: shape}
	same := map[string]int64{"vda": 0, "vdb": 0}
	for name, c := range map[string]struct {
		mark Mark
		peek Peek
		want bool
	}{
		"nothing changed":                     {mark, Peek{Shape: shape, Changed: same}, true},
		"a disk that is left out has changed": {mark, Peek{Shape: shape, Changed: map[string]int64{"vda": 0, "vdb": 0, "vdc": 7}}, true},
		"one disk has changed":                {mark, Peek{Shape: shape, Changed: map[string]int64{"vda": 0, "vdb": 65536}}, false},
		"one disk is not tracked":             {mark, Peek{Shape: shape, Changed: map[string]int64{"vda": 0}}, false},
		"another definition":                  {mark, Peek{Shape: Shape{Definition: "x", Disks: "b"}, Changed: same}, false},
		"a disk more, or resized":             {mark, Peek{Shape: Shape{Definition: "a", Disks: "x"}, Changed: same}, false},
		"the source cannot tell":              {mark, Peek{Unknown: "domain is not running", Shape: shape, Changed: same}, false},
		"no shape is known":                   {Mark{Disks: mark.Disks}, Peek{Changed: same}, false},
		"no disks":                            {Mark{Shape: shape}, Peek{Shape: shape}, false},
		"nothing":                             {mark, Peek{}, false},
	} {
		if got := c.mark.Same(&c.peek); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
