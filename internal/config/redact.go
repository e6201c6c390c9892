package config

import (
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
)

// Redacted returns the configuration in effect, as indented JSON in the format of the file: with
// defaults and derived names, without fields that have no effect, and with "[redacted]" for every
// secret.
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
		out.AuthKeys, out.KeysFile, out.Resources = nil, "", ""
	}
	if out.Admin == AdminOff {
		out.AdminKey = Secret{}
	} else if out.Admin == "" && !strings.HasSuffix(out.Address(), defaultAdmin[strings.LastIndex(defaultAdmin, ":"):]) {
		out.Admin = defaultAdmin
	}
	out.AuthKeys = writtenKeys(out.AuthKeys)
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

// writtenKeys returns the keys of the file, without derived names.
func writtenKeys(all []ClientKey) []ClientKey {
	var keys []ClientKey
	for _, k := range all {
		if !strings.HasPrefix(k.Place, "auth_keys") {
			continue
		}
		if k.Name == usualKeyName(&k) {
			k.Name = ""
		}
		keys = append(keys, k)
	}
	return keys
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
		if short, ok := shorthandOf(f.typ); ok && bare(v, short) {
			return effectiveValue(short, v.Field(short.index))
		}
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
