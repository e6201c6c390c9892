package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
)

// bar is one bar of the plot.
type bar struct {
	work, proxy string
	ratio       float64
}

// ratios returns the bars of all results that have a reference.
func ratios(all []*result) []bar {
	var bars []bar
	for _, r := range all {
		if ratio := r.ratio(all); ratio > 0 {
			bars = append(bars, bar{r.work.name + ", per " + r.work.unit, r.proxy.name, ratio})
		}
	}
	return bars
}

const plotStyle = `
    .panel { fill: #ffffff; stroke: #d0d7de; }
    .work { fill: #1f2328; font-size: 15px; font-weight: 600; }
    .name { fill: #1f2328; font-size: 13px; text-anchor: end; }
    .note { fill: #59636e; font-size: 13px; }
    .ours { fill: #0969da; } .peer { fill: #8c959f; }
    .one { stroke: #59636e; stroke-dasharray: 4 4; }
    @media (prefers-color-scheme: dark) {
      .panel { fill: #0d1117; stroke: #30363d; }
      .work, .name { fill: #f0f6fc; } .note { fill: #9198a1; }
      .ours { fill: #4493f8; } .peer { fill: #6e7681; }
      .one { stroke: #9198a1; }
    }
  `

// plot draws the bars as an SVG, grouped by work.
func plot(bars []bar) []byte {
	const (
		width, left, right = 860, 150, 90
		barHeight, barStep = 18, 24
		groupHead          = 40
	)
	longest, groups, last := 1.0, 0, ""
	for _, b := range bars {
		longest = max(longest, b.ratio)
		if b.work != last {
			groups, last = groups+1, b.work
		}
	}
	scale := (width - left - right) / longest
	height := 48 + groups*groupHead + len(bars)*barStep
	var out bytes.Buffer
	fmt.Fprintf(&out, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-labelledby="t d" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif">`+"\n", width, height)
	fmt.Fprintf(&out, "  <title id=\"t\">Processor time per unit of work</title>\n  <desc id=\"d\">%s</desc>\n  <style>%s</style>\n", describe(bars), plotStyle)
	fmt.Fprintf(&out, `  <rect class="panel" x=".5" y=".5" width="%d" height="%d" rx="10"/>`+"\n", width-1, height-1)
	fmt.Fprintf(&out, `  <text class="note" x="28" y="28">Processor time of the proxy per unit of work, as a multiple of that of the reference (1.00 ×)</text>`+"\n")
	y, last := 40, ""
	for _, b := range bars {
		if b.work != last {
			last = b.work
			y += groupHead
			fmt.Fprintf(&out, `  <text class="work" x="28" y="%d">%s</text>`+"\n", y-12, escape(b.work))
		}
		class := "peer"
		if b.proxy == ours {
			class = "ours"
		}
		fmt.Fprintf(&out, `  <text class="name" x="%d" y="%d">%s</text>`, left-10, y+14, escape(b.proxy))
		fmt.Fprintf(&out, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="3"/>`, class, left, y, b.ratio*scale, barHeight)
		fmt.Fprintf(&out, `<text class="note" x="%.1f" y="%d">%.2f ×</text>`+"\n", left+b.ratio*scale+8, y+14, b.ratio)
		y += barStep
	}
	fmt.Fprintf(&out, `  <line class="one" x1="%.1f" y1="44" x2="%.1f" y2="%d"/>`+"\n</svg>\n", left+scale, left+scale, height-10)
	return out.Bytes()
}

// describe describes the bars in words.
func describe(bars []bar) string {
	var text bytes.Buffer
	for i, b := range bars {
		if i > 0 {
			text.WriteString("; ")
		}
		fmt.Fprintf(&text, "%s: %s %.2f", b.work, b.proxy, b.ratio)
	}
	return escape(text.String())
}

func escape(text string) string {
	var out bytes.Buffer
	xml.EscapeText(&out, []byte(text)) // a bytes.Buffer returns no error
	return out.String()
}
