package config

import (
	"reflect"
	"slices"
	"strings"
)

// unknown reports a field that does not exist, with the one that was probably meant. It returns
// that one if it belongs here.
func (d *decoder) unknown(offset int, path, name string, here []field) (meant string) {
	names := make([]string, len(here))
	for i, f := range here {
		names[i] = f.name
	}
	shown := shorten(name)
	if strings.HasPrefix(name, "_") || strings.HasPrefix(name, "//") || strings.HasPrefix(name, "#") {
		d.errorf(offset, path, "unknown field %q: write a comment as // … or /* … */", shown)
		return ""
	}
	if elsewhere := sectionOf(name); elsewhere != "" {
		d.errorf(offset, path, "unknown field %q: it belongs %s", shown, elsewhere)
		return ""
	}
	if best := nearest(name, names); best != "" {
		d.errorf(offset, path, "unknown field %q, did you mean %q?", shown, best)
		return best
	}
	if best := nearest(name, allNames()); best != "" {
		d.errorf(offset, path, "unknown field %q, did you mean %q? It belongs %s", shown, best, sectionOf(best))
		return ""
	}
	d.errorf(offset, path, "unknown field %q", shown)
	return ""
}

func allNames() []string {
	var names []string
	for _, l := range listings("", reflect.TypeFor[Config]()) {
		names = append(names, l.name)
	}
	return names
}

// sectionOf returns the part of the file in which a field of this name exists, "" if there is none.
func sectionOf(name string) string {
	all := listings("", reflect.TypeFor[Config]())
	i := slices.IndexFunc(all, func(l listing) bool { return l.name == name })
	if i < 0 {
		return ""
	}
	if all[i].path == name {
		return "at the top of the file"
	}
	return "in " + strings.TrimSuffix(all[i].path, "."+name)
}

// nearest returns the candidate of which s is most likely a misspelling or the first words, "" if
// none is close enough.
func nearest(s string, candidates []string) string {
	plain := func(s string) string { return strings.ReplaceAll(strings.ToLower(s), "-", "_") }
	best, bestDistance := "", 1+min(len(s), 40)/4
	if len(s) > 2*40 {
		return ""
	}
	for _, c := range candidates {
		if d := distance(plain(s), plain(c)); d <= bestDistance && d < len(c) && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	if best != "" || len(s) < 4 {
		return best
	}
	for _, c := range candidates {
		if strings.HasPrefix(c, plain(s)+"_") {
			return c
		}
	}
	return ""
}

// distance returns the number of typing errors between a and b: an extra, missing or wrong
// character, or two exchanged neighbors (optimal string alignment).
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	rows := make([][]int, len(x)+1)
	for i := range rows {
		rows[i] = make([]int, len(y)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(x); i++ {
		for j := 1; j <= len(y); j++ {
			wrong := 1
			if x[i-1] == y[j-1] {
				wrong = 0
			}
			d := min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+wrong)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				d = min(d, rows[i-2][j-2]+1)
			}
			rows[i][j] = d
		}
	}
	return rows[len(x)][len(y)]
}
