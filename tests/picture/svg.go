package main

import (
	"encoding/xml"
	"fmt"
	"image/color"
	"strings"

	uv "github.com/charmbracelet/ultraviolet"
	"github.com/charmbracelet/x/ansi"
)

// A cell of the picture, and what is around the screen, in pixels.
const (
	cellWidth  = 8.4
	cellHeight = 18.0
	border     = 16.0
	fontSize   = 14.0
)

// The colours of the picture, those of many terminals' dark themes.
var (
	background = "#16181d"
	foreground = "#d5d8de"
	palette    = map[ansi.BasicColor]string{ansi.Black: "#2b2f37", ansi.Red: "#f0716b", ansi.Green: "#7fc97a", ansi.Yellow: "#e5c05c",
		ansi.Blue: "#6ca4f0", ansi.Magenta: "#c792ea", ansi.Cyan: "#5fc7d0", ansi.White: "#d5d8de"}
)

// svg draws a screen. Each run of cells of one style is a text of its own, whose length is
// fixed: a picture must not depend on the width of the reader's font.
func svg(screen [][]uv.Cell) string {
	columns := 0
	for _, row := range screen {
		columns = max(columns, len(row))
	}
	width, height := border*2+cellWidth*float64(columns), border*2+cellHeight*float64(len(screen))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.1f %.1f" role="img" aria-label="vmsync status --watch">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" rx="8" fill="%s"/>`+"\n", background)
	fmt.Fprintf(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="%.0f" xml:space="preserve">`+"\n", fontSize)
	for y, row := range screen {
		for x := 0; x < len(row); {
			end := x
			for end < len(row) && row[end].Style.Equal(&row[x].Style) {
				end++
			}
			text(&b, row[x:end], x, y)
			x = end
		}
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// text draws cells of one style that begin at a place.
func text(b *strings.Builder, cells []uv.Cell, x, y int) {
	var s strings.Builder
	columns := 0
	for i := 0; i < len(cells); i += max(1, cells[i].Width) {
		content := cells[i].Content
		if content == "" {
			content = " "
		}
		s.WriteString(content)
		columns = i + max(1, cells[i].Width)
	}
	plain := strings.TrimRight(s.String(), " ")
	if plain == "" {
		return
	}
	columns -= len(s.String()) - len(plain)
	lead := len(plain) - len(strings.TrimLeft(plain, " "))
	plain, columns, x = plain[lead:], columns-lead, x+lead
	style := cells[0].Style
	attributes := fmt.Sprintf(`fill="%s"`, colour(style.Fg))
	if style.Attrs&uv.AttrBold != 0 {
		attributes += ` font-weight="bold"`
	}
	if style.Attrs&uv.AttrFaint != 0 {
		attributes += ` opacity="0.6"`
	}
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs" %s>`, border+cellWidth*float64(x),
		border+cellHeight*(float64(y)+0.75), cellWidth*float64(columns), attributes)
	_ = xml.EscapeText(b, []byte(plain)) // a builder takes everything
	b.WriteString("</text>\n")
}

// colour is a colour as SVG writes it.
func colour(c color.Color) string {
	if c == nil {
		return foreground
	}
	if basic, ok := c.(ansi.BasicColor); ok && palette[basic] != "" {
		return palette[basic]
	}
	r, g, b, _ := c.RGBA()
	return fmt.Sprintf("#%02x%02x%02x", r>>8, g>>8, b>>8)
}
