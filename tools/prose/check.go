package main

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
)

// pattern is a wording that readers have to decode, with the wording to prefer.
type pattern struct {
	name   string
	match  *regexp.Regexp
	prefer string
}

// patterns returns the wordings that the check refuses.
func patterns() []pattern {
	p := func(name, match, prefer string) pattern {
		return pattern{name, regexp.MustCompile(match), prefer}
	}
	return []pattern{
		p("bare who", `(?:^|[.;:(] )[Ww]ho(?:m|se)?\b|(?:^|[^\w])[Ww]ho(?:so)?ever\b|\b(?:tells?|says?|knows?|shows?|decides?|names?|sees?|by|of|for|to|and|or|than|with|from|but|if|when) who(?:m)?\b`, "name the actor"),
		p("bare what", `[.;] What (?:is|was|has|had|can|cannot|does|comes?|came|a|an|the|it|they|we|no|nothing|only|one)\b`, "name the thing"),
		p("is none", `(?:^|[^e]|[^r]e|[^e]re|[^h]ere|[^tT]here) (?:is|are|was|were|be) none\b`, `"is not", or name what is missing`),
		p("anew", `\banew\b`, "again, new"),
		p("told", `\b[Tt]old\b`, "reported, known, received, returned"),
		p("tells", `\b[Tt]ells? (?:what|whether|how|if|which|who|where|when|that|of)\b`, "reports, returns, states"),
		p("says", `\b[Ss]ays? (?:what|whether|how|if|which|who|where|when)\b`, "reports, states"),
		p("causative", `\b(?:has|have|had) (?:the|its|their|it|them|every|each|this|that|such|these|those|all) (?:[a-z]+ )?[a-z]{2,}(?:ed|ken|own)(?:[.,;:)]|$| (?:by|in|for|to|at|from|with|when|until|before|after|and|again|first)\b)`, "let the actor be the subject"),
		p("of its own", `\bof (?:its|their|his|our|one's) own(?:[.,;:)]|$| (?:that|which|and|or|for|in|is|are|to|with|by|as|of|on|at|when|if|because)\b)`, "own, separate"),
		p("as far as", `\bas far as\b`, "as much as, if, while"),
		p("lest", `\blest\b`, "so that … not"),
		p("person", `\b(?:[Ss]omebody|[Nn]obody|[Aa]nybody)\b|(?:^|[^\w'./])[Hh](?:e|is|im)\b(?:[^-/.\w]|$)`, "client, caller, upstream, goroutine"),
		p("whatever", `\b[Ww]hatever (?:he|she|it|they|comes|came|is|was|there|else|has|had)\b`, "regardless of, any"),
	}
}

// allowed lists passages that a pattern matches and that stay: by the end of the path and the pattern, "" for all.
func allowed(p passage, name string) bool {
	for _, a := range []struct{ file, name string }{
		{"tools/prose/check.go", ""},               // the patterns themselves
		{"internal/fakeclaude/prose.go", ""},       // words of simulated responses
		{"bench/request.go", "says"},               // text of a simulated prompt
		{"docs/decisions/README.md", "of its own"}, // a placeholder
	} {
		if strings.HasSuffix(filepath.ToSlash(p.file), a.file) && (a.name == "" || a.name == name) {
			return true
		}
	}
	return false
}

// check returns a line for each pattern that a passage matches.
func check(texts []passage) []string {
	var findings []string
	all := patterns()
	for _, t := range texts {
		for _, p := range all {
			at := p.match.FindStringIndex(t.text)
			if at == nil || allowed(t, p.name) || p.name == "causative" && strings.Contains(t.text[at[0]:at[1]], "cached") {
				continue
			}
			findings = append(findings, fmt.Sprintf("%s:%d: %s %q: prefer %s: %s",
				filepath.ToSlash(t.file), t.line, p.name, strings.TrimSpace(t.text[at[0]:at[1]]), p.prefer, around(t.text, at)))
		}
	}
	return findings
}

// around cuts the text next to a match.
func around(text string, at []int) string {
	const margin = 60
	from, to := max(at[0]-margin, 0), min(at[1]+margin, len(text))
	return "…" + strings.ToValidUTF8(text[from:to], "") + "…"
}
