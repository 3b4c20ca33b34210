package ours

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vmsync/replicator"
)

func TestPlaceIsOfOneUserAlone(t *testing.T) {
	mine, me := t.TempDir(), os.Geteuid()
	file := filepath.Join(mine, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(mine, "theirs")
	if err := os.Mkdir(theirs, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(theirs, 64055, -1); err != nil {
		t.Skip("only root can give folders away:", err)
	}
	absent := filepath.Join(mine, "absent")
	for name, c := range map[string]struct {
		uid  int
		dir  string
		want Place
		says string // of an error
	}{
		"root, no account":          {0, absent, Place{RunDir: RunDir}, ""},
		"somebody, no account":      {1000, absent, Place{}, "is not root, and there is no " + absent},
		"the account":               {64055, theirs, Place{theirs, AccountScratchDir, true}, ""},
		"root beside the account":   {0, theirs, Place{}, "replicates, to whom " + theirs + " belongs, and not root"},
		"another beside it":         {1000, theirs, Place{}, "replicates, to whom " + theirs + " belongs"},
		"folder of root":            {me, mine, Place{}, mine + " belongs to root"},
		"something else is there":   {0, file, Place{}, file + " is no folder"},
		"no way to see whose it is": {0, file + "/below", Place{}, "not a directory"},
	} {
		got, err := placeOf(c.uid, c.dir)
		if got != c.want {
			t.Errorf("%s: %+v", name, got)
		}
		var e *replicator.Error
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (!errors.As(err, &e) || e.Kind != replicator.KindDenied || e.Hint == "" || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: error %v, want %s", name, err, c.says)
		}
	}
}

func TestScratchFilesInFolderAreOfOneImage(t *testing.T) {
	const checkpoint = "vmsync-0a1b2c3d-7"
	dir := t.TempDir()
	a, b := Image{Path: "/img/a-b/c.qcow2", Scratch: dir}, Image{Path: "/img/a/b-c.qcow2", Scratch: dir}
	for _, i := range []Image{a, b} {
		if err := os.WriteFile(ScratchFile(i, checkpoint), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	found, err := FindScratch(a)
	if err != nil || len(found) != 1 || found[0] != ScratchFile(a, checkpoint) || filepath.Dir(found[0]) != dir {
		t.Errorf("found %v, error %v", found, err)
	}
	if found[0] == ScratchFile(b, checkpoint) {
		t.Error("two images have one scratch file")
	}
}
