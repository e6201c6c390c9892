package config

import (
	"net/url"
	"reflect"
	"slices"
	"time"
)

// Redacted is the configuration in effect, as indented JSON in the form of the
// file: defaults filled in, derived names written out, what has no effect left
// out, and every secret replaced by "[redacted]".
func (c *Config) Redacted() []byte {
	return append(encode(effective(reflect.ValueOf(c.withoutUnused()).Elem()), "  "), '\n')
}

// withoutUnused returns a copy in which the fields that have no effect are zero.
func (c *Config) withoutUnused() *Config {
	out := *c
	out.SchemaURL, out.Fallback = "", false
	if out.Listen != "" {
		out.Port = ""
	}
	if out.Mode == ModeFallback {
		out.Algorithm = ""
	}
	if out.Affinity == AffinityOff {
		out.BurstHold, out.IndexMemoryMB = 0, 0
	}
	if !out.Auth {
		out.AuthKeys = nil
	}
	if out.Admin == AdminOff {
		out.AdminKey = Secret{}
	}
	out.Servers = slices.Clone(c.Servers)
	for i := range out.Servers {
		s := &out.Servers[i]
		if out.Mode == ModeLoadBalance {
			s.Priority = 0
		}
		if s.BalanceCheck.Empty() {
			s.BalanceCheckInterval, s.BalanceThreshold = 0, 0
		}
		if !s.HealthCheck.Enabled() {
			s.HealthCheck = HealthCheck{}
		}
	}
	return &out
}

// effective renders the struct v.
func effective(v reflect.Value) document {
	var out document
	for _, f := range fieldsOf(v.Type()) {
		if value := v.Field(f.index); !f.omitZero || !value.IsZero() {
			out.add(f.name, effectiveValue(f, value))
		}
	}
	return out
}

func effectiveValue(f field, v reflect.Value) any {
	switch f.shape {
	case shapeSection:
		return effective(v)
	case shapeList:
		elements := make([]any, v.Len())
		for i := range elements {
			elements[i] = effectiveValue(f.element(), v.Index(i))
		}
		return elements
	case shapeText, shapeChoice:
		return escapeVariables(v.String())
	case shapeAddress:
		u, _ := reflect.TypeAssert[*url.URL](v)
		if u == nil {
			return ""
		}
		return escapeVariables(u.String())
	case shapeDuration:
		return formatDuration(time.Duration(v.Int()))
	default:
		return v.Interface()
	}
}
