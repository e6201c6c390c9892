package claude

import "strconv"

// The functions of this file check successful responses other than messages. Any other body with
// status 200 on these paths, such as JSON of a gateway, is not a response of the API.

// IsTokenCount reports whether body is a response of /v1/messages/count_tokens.
func IsTokenCount(body []byte) bool {
	counted := false
	s := scanner{text: body}
	for name := range s.document {
		if string(name) == "input_tokens" {
			n, err := strconv.ParseFloat(string(s.value()), 64)
			counted = err == nil && n >= 0
		}
	}
	return counted && s.err == nil
}

// IsModelList reports whether body is a page of /v1/models.
func IsModelList(body []byte) bool {
	listed := false
	s := scanner{text: body}
	for name := range s.document {
		if string(name) == "data" {
			listed = s.peek() == '['
		}
	}
	return listed && s.err == nil
}

// IsModel reports whether body is a response of /v1/models/{id}.
func IsModel(body []byte) bool {
	kind, object, id := "", "", ""
	s := scanner{text: body}
	for name := range s.document {
		switch string(name) {
		case "type":
			s.replace(&kind)
		case "object":
			s.replace(&object)
		case "id":
			s.replace(&id)
		}
	}
	return s.err == nil && (kind == "model" || kind == "" && id != "" && (object == "" || object == "model"))
}
