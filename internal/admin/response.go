package admin

import (
	_ "embed"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/9bingyin/claude-code-lb/internal/config"
)

//go:embed openapi.yaml
var description []byte

func (h *Handler) openAPI(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/yaml")
	w.Write(description)
}

// problem is an error response.
type problem struct {
	status   int
	Type     string          `json:"type"`
	Message  string          `json:"message"`
	Problems []configProblem `json:"problems,omitempty"`
}

// configProblem is a problem of the configuration file.
type configProblem struct {
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`
	Message string `json:"message"`
	Warning bool   `json:"warning"`
}

func configProblems(list config.Problems) []configProblem {
	out := make([]configProblem, 0, len(list))
	for _, p := range list {
		out = append(out, configProblem{p.Line, p.Col, p.Path, p.Msg, p.Warning})
	}
	return out
}

func newProblem(status int, kind, message string) *problem {
	return &problem{status: status, Type: kind, Message: message}
}

func (p *problem) write(w http.ResponseWriter) {
	writeJSON(w, p.status, map[string]*problem{"error": p})
}

// writeJSON writes a JSON response.
func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil { // the value contains something that JSON does not have, such as NaN
		status, body = http.StatusInternalServerError, []byte(`{"error": {"type": "api_error", "message": "The answer cannot be written as JSON."}}`)
	}
	body = append(body, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	w.Write(body)
}
