package config

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
)

// checkErrorRules checks that every rule of error_rules compiles and can match.
func (d *decoder) checkErrorRules(cfg *Config) {
	first := map[ErrorRule]int{}
	for i, r := range cfg.ErrorRules {
		path := fmt.Sprintf("error_rules[%d]", i)
		at := d.nodes[path].offset
		cfg.ErrorRules[i].Line, _ = d.src.position(at)
		if r.Server == "" && r.Status == 0 && r.Type == "" && r.Message == "" && r.Header == "" && d.fine(path) {
			d.errorf(at, path, "has no condition: write at least one of server, status, type, message, header")
			continue
		}
		d.checkRuleServer(cfg, r, path)
		d.checkRuleStatus(r, path)
		d.checkExpression(path+".message", r.Message)
		d.checkRuleHeader(r, path+".header")
		if n, ok := d.wrote(path + ".duration"); ok && r.Scope == ErrorScopeRequest && r.Duration > 0 {
			d.warnf(n.offset, path+".duration", `is ignored with scope "request": this scope causes no cooldown`)
		}
		conditions := r
		conditions.Scope, conditions.Duration, conditions.Line = "", 0, 0
		if other, known := first[conditions]; known {
			d.warnf(at, path, "never fits: error_rules[%d] has the same conditions and comes first", other)
			continue
		}
		first[conditions] = i
	}
}

func (d *decoder) checkRuleServer(cfg *Config, r ErrorRule, path string) {
	n, ok := d.wrote(path + ".server")
	if !ok || r.Server == "" {
		return
	}
	var shown []string // names without variables
	for i, s := range cfg.Servers {
		name, url := fmt.Sprintf("servers[%d].name", i), fmt.Sprintf("servers[%d].url", i)
		if s.Name == r.Server || !d.fine(name) || !d.fine(url) { // a server that could not be decoded may be the one in the rule
			return
		}
		source, written := d.nodes[name]
		if !written {
			source = d.nodes[url]
		}
		if source.shown != "" {
			shown = append(shown, s.Name)
		}
	}
	hint := ""
	if best := nearest(n.shown, shown); best != "" {
		hint = fmt.Sprintf(", did you mean %q?", best)
	}
	d.errorf(n.offset, path+".server", "%s is not the name of a server%s", n.label(), hint)
}

func (d *decoder) checkRuleStatus(r ErrorRule, path string) {
	if n, ok := d.wrote(path + ".status"); ok && r.Status != 0 && r.Status < 400 {
		d.errorf(n.offset, path+".status", "must be at least 400: rules judge errors")
	}
}

func (d *decoder) checkRuleHeader(r ErrorRule, path string) {
	n, ok := d.wrote(path)
	if !ok || r.Header == "" {
		return
	}
	name, expression := r.HeaderParts()
	other := func(c rune) bool { return !isAlphanumeric(c) && !strings.ContainsRune("-_.", c) }
	if name == "" || strings.ContainsFunc(name, other) {
		d.errorf(n.offset, path, `%s does not begin with the name of a header: write "name" or "name: expression"`, n.label())
		return
	}
	d.checkExpression(path, expression)
}

// checkExpression reports a regular expression that does not compile.
func (d *decoder) checkExpression(path, expression string) {
	n, ok := d.wrote(path)
	if !ok {
		return
	}
	_, err := regexp.Compile(expression)
	if err == nil {
		return
	}
	why := "it does not compile"
	if e, ok := errors.AsType[*syntax.Error](err); ok {
		why = string(e.Code)
		if n.shown != "" {
			why += " at " + fmt.Sprintf("%.40q", e.Expr)
		}
	}
	d.errorf(n.offset, path, "%s is not a regular expression: %s", n.label(), why)
}
