package fakeclaude

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"unicode/utf8"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

const (
	controlPrefix  = "/_fake/"
	maxControlBody = 8 << 20
)

// newControl returns the API that controls the server. It checks a body completely before it
// applies any of it.
func (s *Server) newControl() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, f func(*http.Request) (any, error)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { respondControl(w, r, f) })
	}
	handle("GET "+controlPrefix+"faults", func(*http.Request) (any, error) { return s.Faults(), nil })
	handle("PUT "+controlPrefix+"faults", s.putFaults)
	handle("DELETE "+controlPrefix+"faults", func(*http.Request) (any, error) {
		s.SetFaults()
		s.Script()
		return s.Faults(), nil
	})
	handle("GET "+controlPrefix+"script", func(*http.Request) (any, error) { return s.ScriptLeft(), nil })
	handle("POST "+controlPrefix+"script", s.postScript)
	handle("GET "+controlPrefix+"settings", func(*http.Request) (any, error) { return s.Settings(), nil })
	handle("PUT "+controlPrefix+"settings", s.putSettings)
	handle("GET "+controlPrefix+"stats", func(*http.Request) (any, error) { return s.Stats(), nil })
	handle("GET "+controlPrefix+"requests", s.getRequests)
	handle("POST "+controlPrefix+"reset", func(*http.Request) (any, error) {
		s.Reset()
		return s.Stats(), nil
	})
	mux.HandleFunc(controlPrefix, func(w http.ResponseWriter, _ *http.Request) {
		writeControl(w, http.StatusNotFound, controlError{"not found; there are faults, script, settings, stats, requests and reset"})
	})
	return mux
}

type controlError struct {
	Error string `json:"error"`
}

func respondControl(w http.ResponseWriter, r *http.Request, f func(*http.Request) (any, error)) {
	value, err := f(r)
	if err != nil {
		writeControl(w, http.StatusBadRequest, controlError{err.Error()})
		return
	}
	writeControl(w, http.StatusOK, value)
}

func writeControl(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", mediaJSON)
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	_ = enc.Encode(value) // fails only if the client has left
}

func readControl(r *http.Request, into any) error {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxControlBody+1))
	if err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if len(body) > maxControlBody {
		return fmt.Errorf("body is larger than %d bytes", maxControlBody)
	}
	if err := fault.DecodeStrict(body, into); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("body is empty, want JSON")
		}
		return err
	}
	return nil
}

func (s *Server) putFaults(r *http.Request) (any, error) {
	var rules []fault.Rule
	if err := readControl(r, &rules); err != nil {
		return nil, err
	}
	s.SetFaults(rules...)
	return s.Faults(), nil
}

func (s *Server) postScript(r *http.Request) (any, error) {
	var script []fault.Fault
	if err := readControl(r, &script); err != nil {
		return nil, err
	}
	s.Script(script...)
	return s.ScriptLeft(), nil
}

// putSettings changes the settings in the body and keeps the others.
func (s *Server) putSettings(r *http.Request) (any, error) {
	n := s.Settings()
	if err := readControl(r, &n); err != nil {
		return nil, err
	}
	if err := s.SetSettings(n); err != nil {
		return nil, err
	}
	return s.Settings(), nil
}

// requestView is a recorded request in a readable form.
type requestView struct {
	RecordedRequest
	Body       string `json:"body,omitempty"`
	BodyBase64 []byte `json:"body_base64,omitempty"` // in place of a body that is not UTF-8
}

func (s *Server) getRequests(r *http.Request) (any, error) {
	list := s.Requests()
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("limit is %q, want a number", text)
		}
		list = list[max(0, len(list)-n):]
	}
	views := make([]requestView, len(list))
	for i, e := range list {
		e.Header = maskCredentials(e.Header)
		views[i] = requestView{RecordedRequest: e}
		if utf8.Valid(e.Body) {
			views[i].Body = string(e.Body)
		} else {
			views[i].BodyBase64 = e.Body
		}
	}
	return views, nil
}

// maskCredentials keeps only the last characters of credentials, which are enough to recognize
// them.
func maskCredentials(h http.Header) http.Header {
	h = h.Clone()
	for _, name := range []string{"X-Api-Key", "Authorization"} {
		for i, value := range h[name] {
			shown := value[max(0, len(value)-4):]
			if len(value) < 12 {
				shown = ""
			}
			h[name][i] = "[redacted]" + shown
		}
	}
	return h
}
