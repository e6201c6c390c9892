package claude

import (
	"bytes"
	"strings"
)

const (
	// maxRefusal bounds the bytes of a refusal that are read to classify it.
	maxRefusal = 8 << 10
	// maxRefusalTexts bounds the number of codes and of texts that are read.
	maxRefusalTexts = 8
)

// Refusal holds the codes and texts of an error response of any form. It only serves to classify
// the response (see Reading), and is never shown.
type Refusal struct {
	Enveloped bool     // it is an error of the Messages API: {"type":"error","error":{…}}
	Page      bool     // it is a web page
	Codes     []string // machine-readable codes and types, in lower case
	Text      string   // its human-readable text, in lower case
}

// ReadRefusal reads the body of an error response, or the data of an error event. Vendors write
//
//	{"type":"error","error":{"type":…,"message":…,"details":{"error_code":…}}}   Anthropic
//	{"error":{"message":…,"type":…,"code":…}}                                    OpenAI, new-api, one-api
//	{"error":"…","message":"…"}  {"code":…,"msg":…}  {"success":false,"message":…}
//	{"detail":…}  {"errors":[…]}  {"errorCode":…,"errorMessage":…}  [{"error":…}]
//
// and plain text. A body that is too long or broken counts as plain text.
func ReadRefusal(body []byte) Refusal {
	body = bytes.TrimSpace(bytes.TrimPrefix(body[:min(len(body), maxRefusal)], []byte("\ufeff")))
	r := Refusal{Page: isPage(body)}
	if r.Page || len(body) == 0 {
		return r
	}
	body = onlyElement(body)
	if body[0] != '{' {
		r.Text = strings.ToLower(string(body))
		return r
	}
	r.scan(body)
	if r.Text == "" && len(r.Codes) == 0 {
		r.Text = strings.ToLower(string(body))
	}
	return r
}

// RefusalOf is ReadRefusal for an error whose body is not known.
func RefusalOf(e Error) Refusal {
	r := Refusal{Enveloped: true, Text: strings.ToLower(e.Message)}
	r.addCode(string(e.Type))
	r.addCode(e.Code)
	return r
}

func (r *Refusal) scan(body []byte) {
	_, envelope := ParseError(body)
	top, texts := "", []string{}
	s := scanner{text: body}
	for name := range s.document {
		if string(name) == "type" {
			s.replace(&top)
		}
	}
	r.Enveloped = envelope && top == "error"
	s = scanner{text: body}
	for name := range s.within {
		switch string(name) {
		case "type", "code", "errorCode", "error_code", "err_code":
			r.scanCode(&s)
		case "message", "msg", "detail", "error", "errors", "errmsg", "err_msg", "error_msg", "errorMessage", "error_message", "error_description", "title", "reason":
			if s.peek() == '"' {
				if text, _ := s.string(); text != "" && len(texts) < maxRefusalTexts {
					texts = append(texts, unwrapLiteLLM(text))
				}
			}
		}
	}
	r.Text = strings.ToLower(strings.Join(texts, "\n"))
}

// scanCode reads a code that is a string or a number. Any other value stays unread, so that it is
// searched too.
func (r *Refusal) scanCode(s *scanner) {
	switch c := s.peek(); {
	case c == '"':
		code, _ := s.string()
		r.addCode(code)
	case c != '{' && c != '[':
		r.addCode(string(s.value()))
	}
}

func (r *Refusal) addCode(code string) {
	if code != "" && len(code) <= 100 && len(r.Codes) < maxRefusalTexts {
		r.Codes = append(r.Codes, strings.ToLower(code))
	}
}

// onlyElement returns the element of an array of one object, as Vertex AI wraps its errors, and any
// other body unchanged.
func onlyElement(body []byte) []byte {
	inner, opened := bytes.CutPrefix(body, []byte("["))
	inner, closed := bytes.CutSuffix(inner, []byte("]"))
	if inner = bytes.TrimSpace(inner); opened && closed && IsObject(inner) {
		return inner
	}
	return body
}

// unwrapLiteLLM returns the text of an error that LiteLLM wraps in a printed Python dictionary:
// {'error': '…'}.
func unwrapLiteLLM(text string) string {
	inner, ok := strings.CutPrefix(text, "{'error': '")
	if !ok {
		return text
	}
	return strings.TrimSuffix(inner, "'}")
}

// isPage reports whether a body is a web page, by its first bytes.
func isPage(body []byte) bool {
	start := strings.ToLower(string(body[:min(len(body), 64)]))
	for _, prefix := range [...]string{"<!doctype html", "<html", "<head", "<!--"} {
		if strings.HasPrefix(start, prefix) {
			return true
		}
	}
	return false
}
