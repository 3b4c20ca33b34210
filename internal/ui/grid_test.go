package ui

import (
	"strings"
	"testing"
)

func TestGridShortensThenDropsThenCuts(t *testing.T) {
	columns := []GridColumn{{Title: "machine"}, {Title: "size in bytes", Short: "size", Right: true, Drop: 1}, {Title: "role", Drop: 2}, {Title: "remark", Drop: 3, Least: 8}}
	cell := func(long, short string) Cell { return Cell{Text: Words(long), Short: Words(short)} }
	rows := [][]Cell{
		{{Text: Words("database")}, cell("5.0 GiB", "5G"), {Text: Words("replica")}, {Text: Words("it is shut off; start it")}},
		{{Text: Words("web")}},
	}
	for width, want := range map[int]string{
		0: `machine   size in bytes  role     remark
database        5.0 GiB  replica  it is shut off; start it
web
`,
		45: `machine   size in bytes  role     remark
database        5.0 GiB  replica  it is shut…
web
`,
		41: `machine   size  role     remark
database    5G  replica  it is shut off;…
web
`,
		32: `machine   size  role
database    5G  replica
web
`,
		20: `machine   size
database    5G
web
`,
		9: `machine
database
web
`,
		6: `machi…
datab…
web
`,
		1: "…\n…\n…\n",
	} {
		var b strings.Builder
		for _, l := range Grid(width, columns, rows) {
			b.WriteString(l.Plain() + "\n")
		}
		if got := b.String(); got != want {
			t.Errorf("%d columns:\n%swant\n%s", width, got, want)
		}
	}
}
