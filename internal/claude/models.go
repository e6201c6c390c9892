package claude

import (
	"bytes"
	"slices"
	"strings"
)

// Models are the models that a request may use.
type Models struct {
	First  string   // the requested model
	Others []string // further models that it names, each once: of an advisor, of fallbacks
	// DefaultFallback reports that the API may choose another model (fallbacks: "default").
	DefaultFallback bool
}

// RequestModels lists the models of a Messages request. It returns false if the request is
// ambiguous: of two members with the same name, some servers use the first and others the last, and
// some servers ignore the case of names.
//
// A member named model counts everywhere it may be a setting: in tools, in fallbacks, and in
// members that the API may add. It does not count in the content of messages and system, in
// metadata, and in JSON schemas and examples, because the client chooses the names of their
// members.
func RequestModels(body []byte) (m Models, ok bool) {
	s := scanner{text: body}
	ok = m.scan(&s, s.document)
	return m, ok && s.err == nil
}

// BatchModels lists the models of all requests of a batch (message batches API); First is empty.
func BatchModels(body []byte) (m Models, ok bool) {
	ok = true
	s := scanner{text: body}
	lists := 0
	for name := range s.document {
		if !strings.EqualFold(string(name), "requests") {
			continue
		}
		lists++
		for range s.elements {
			var one Models
			ok = one.scanBatched(&s) && ok
			m.DefaultFallback = m.DefaultFallback || one.DefaultFallback
			m.add(one.First)
			for _, further := range one.Others {
				m.add(further)
			}
		}
	}
	return m, ok && lists == 1 && s.err == nil
}

func (m *Models) add(model string) {
	if model != "" && !slices.Contains(m.Others, model) {
		m.Others = append(m.Others, model)
	}
}

// scanBatched reads one request of a batch.
func (m *Models) scanBatched(s *scanner) (ok bool) {
	found, ok := 0, true
	for name := range s.members {
		if strings.EqualFold(string(name), "params") {
			found++
			ok = m.scan(s, s.members) && ok
		}
	}
	return ok && found == 1
}

// scan reads the members of a request.
func (m *Models) scan(s *scanner, members func(func([]byte) bool)) (ok bool) {
	found, ok := 0, true
	for name := range members {
		switch string(lowered(name, new([16]byte))) {
		case "model":
			found++
			if text, isText := s.string(); isText && string(name) == "model" {
				m.First = text
			}
		case "messages", "system", "metadata":
		case "fallbacks":
			if s.peek() == '"' {
				s.skip()
				m.DefaultFallback = true
				continue
			}
			ok = m.scanNames(s) && ok
		default:
			ok = m.scanMember(s, name) && ok
		}
	}
	return ok && found == 1 && m.First != ""
}

// scanMember reads the value of a member that is not named model. Members of relays such as models
// and fallback_model contain names of models.
func (m *Models) scanMember(s *scanner, name []byte) (ok bool) {
	lower := bytes.ToLower(name)
	if string(lower) == "models" || bytes.HasSuffix(lower, []byte("_model")) || bytes.HasSuffix(lower, []byte("_models")) {
		return m.scanNames(s)
	}
	return m.scanNested(s)
}

// scanNames reads the name of a model, or a list of names or of objects with models.
func (m *Models) scanNames(s *scanner) (ok bool) {
	switch s.peek() {
	case '"':
		name, ok := s.string()
		m.add(name)
		return ok
	case '[':
		ok = true
		for range s.elements {
			if s.peek() == '"' {
				name, _ := s.string()
				m.add(name)
			} else {
				ok = m.scanNested(s) && ok
			}
		}
		return ok
	}
	return m.scanNested(s)
}

// lowered returns a name in lower case, written into buf. It returns longer names unchanged.
func lowered(name []byte, buf *[16]byte) []byte {
	if len(name) > len(buf) {
		return name
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		buf[i] = c
	}
	return buf[:len(name)]
}

// scanNested reads a value and finds the models in it.
func (m *Models) scanNested(s *scanner) (ok bool) {
	ok = true
	for name := range s.within {
		switch string(lowered(name, new([16]byte))) {
		case "model":
			raw := s.value()
			if string(raw) == "null" {
				continue
			}
			isText := len(raw) > 0 && raw[0] == '"'
			ok = ok && isText && string(name) == "model"
			if isText {
				m.add(decodeString(raw))
			}
		case "input_schema", "schema", "json_schema", "properties", "input_examples", "configs": // of tools by their names
			s.skip()
		case "models", "fallback_model", "fallback_models", "fallbacks":
			inner := scanner{text: s.value()}
			ok = m.scanNames(&inner) && ok
		}
	}
	return ok
}
