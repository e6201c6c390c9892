package claude

// Request holds the members of a Messages request that a load balancer needs.
type Request struct {
	Model string
	// ModelStart and ModelEnd are the byte range of the model's JSON string with its quotes, for
	// replacing it. Both are 0 without a Model.
	ModelStart, ModelEnd int
	Stream               bool
	// StreamUnclear is set if stream is not true, false or null. Some servers accept "true" or 1 as
	// true.
	StreamUnclear bool
	MaxTokens     int64
	UserID        string // metadata.user_id
	Messages      int    // number of messages
	// The price depends on Speed and InferenceGeo, unless the response reports other values. Speed
	// is "fast", or "" if the request does not set it.
	Speed, InferenceGeo string
}

// ScanRequest reads a request body in one pass. It builds no tree and allocates only its strings. A
// member that is missing or of the wrong type stays zero, because the upstream reports such errors
// best. Of members with the same name the last one counts, as in encoding/json.
//
// The error is a *SyntaxError if body is not a JSON object. The Request then has the members before
// the error.
func ScanRequest(body []byte) (Request, error) { return scanRequest(body, nil) }

// scanRequest is ScanRequest that also scans the prompt, unless p is nil.
func scanRequest(body []byte, p *PromptScanner) (Request, error) {
	var r Request
	s := scanner{text: body, loose: p != nil}
	for name := range s.document {
		switch string(name) {
		case "model":
			r.scanModel(&s)
		case "stream":
			r.scanStream(s.value())
		case "max_tokens":
			r.MaxTokens, _ = s.integer()
		case "speed":
			s.enumString(&r.Speed)
		case "inference_geo":
			s.enumString(&r.InferenceGeo)
		case "metadata":
			r.scanMetadata(&s)
		case "messages":
			r.scanMessages(&s, p)
		case "tools":
			if p != nil {
				p.scanTools(&s)
			}
		case "container":
			if p != nil {
				p.ids.addContainer(s.value())
			}
		case "cache_control": // of the whole request
			if p != nil {
				p.scanCacheControl(&s)
			}
		case "system":
			if p != nil {
				p.scanSystem(&s)
			}
		case "thread", "resumption":
			if p != nil {
				p.continuationIDs.addStrings(s.value())
			}
		case "requests": // of a batch
		case "diagnostics": // compares with an earlier message, but needs no particular account
		default:
			if p != nil {
				p.continuationIDs.addMessageIDs(s.value())
			}
		}
	}
	if s.err != nil {
		return r, s.err
	}
	return r, nil
}

func (r *Request) scanMessages(s *scanner, p *PromptScanner) {
	r.Messages = 0
	if p != nil {
		p.turns = p.turns[:0]
		r.Messages = p.scanMessages(s)
		return
	}
	for range s.elements {
		r.Messages++
	}
}

func (r *Request) scanStream(value []byte) {
	switch string(value) {
	case "true":
		r.Stream, r.StreamUnclear = true, false
	case "false", "null":
		r.Stream, r.StreamUnclear = false, false
	default:
		r.Stream, r.StreamUnclear = false, true
	}
}

// IsRequest reports whether body is a JSON object. Like PromptScanner, it does not check the text
// in strings.
func IsRequest(body []byte) bool {
	s := scanner{text: body, loose: true}
	for range s.document {
	}
	return s.err == nil
}

func (r *Request) scanModel(s *scanner) {
	start := s.at
	model, ok := s.string()
	if !ok {
		r.Model, r.ModelStart, r.ModelEnd = "", 0, 0
		return
	}
	r.Model, r.ModelStart, r.ModelEnd = model, start, s.at
}

func (r *Request) scanMetadata(s *scanner) {
	r.UserID = ""
	for name := range s.members {
		if string(name) == "user_id" {
			r.UserID, _ = s.string()
		}
	}
}
