package ui

import (
	"strings"
	"testing"
	"time"
)

func TestTableAlignsAndCleansItsCells(t *testing.T) {
	var b strings.Builder
	err := Table(&b, []Column{{Title: "name"}, {Title: "size", Right: true}, {Title: "by"}}, [][]string{
		{"vm1", "1.0 KiB", "mount"}, {"ホスト", "12.0 KiB", "two\nlines\x1b[2J"}, {"short"},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "name        size  by\nvm1      1.0 KiB  mount\nホスト  12.0 KiB  two   lines\uFFFD[2J\nshort\n"
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	if got := Instant(time.Time{}); got != "-" {
		t.Error(got)
	}
}
