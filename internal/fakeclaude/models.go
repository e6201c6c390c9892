package fakeclaude

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/9bingyin/claude-code-lb/internal/fakeclaude/fault"
)

// modelInfo is one entry of GET /v1/models.
type modelInfo struct {
	Type           string `json:"type"`
	ID             string `json:"id"`
	DisplayName    string `json:"display_name"`
	CreatedAt      string `json:"created_at"`
	MaxInputTokens int64  `json:"max_input_tokens"`
	MaxTokens      int64  `json:"max_tokens"`
}

// catalog holds the models of the server. An open catalog also has every other id that contains
// "claude", so that new models need no change here.
type catalog struct {
	models []modelInfo
	open   bool
}

func newCatalog(ids []string) catalog {
	if len(ids) > 0 {
		return catalog{models: describe(ids)}
	}
	return catalog{open: true, models: describe([]string{
		"claude-opus-5-5", "claude-sonnet-5-5", "claude-haiku-5-5", "claude-fable-5-1", "claude-opus-5", "claude-sonnet-5",
		"claude-opus-4-8", "claude-sonnet-4-6", "claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001",
	})}
}

func describe(ids []string) []modelInfo {
	models := make([]modelInfo, len(ids))
	for i, id := range ids {
		models[i] = describeModel(id, i)
	}
	return models
}

func describeModel(id string, age int) modelInfo {
	window := int64(1_000_000)
	if strings.Contains(id, "haiku-4") || strings.Contains(id, "haiku-3") || strings.Contains(id, "claude-3") {
		window = 200_000
	}
	return modelInfo{
		Type:           "model",
		ID:             id,
		DisplayName:    displayName(id),
		CreatedAt:      fmt.Sprintf("2026-%02d-01T00:00:00Z", max(1, 9-age)),
		MaxInputTokens: window,
		MaxTokens:      128_000,
	}
}

// displayName returns "Claude Opus 4.5" for "claude-opus-4-5-20251101".
func displayName(id string) string {
	var name strings.Builder
	number := false
	for word := range strings.SplitSeq(id, "-") {
		_, err := strconv.Atoi(word)
		switch {
		case err == nil && len(word) == 8: // a date
			continue
		case err == nil && number:
			name.WriteByte('.')
		case name.Len() > 0:
			name.WriteByte(' ')
		}
		number = err == nil
		if word != "" {
			name.WriteString(strings.ToUpper(word[:1]) + word[1:])
		}
	}
	return name.String()
}

func (c catalog) find(id string) (modelInfo, bool) {
	for _, m := range c.models {
		if m.ID == id {
			return m, true
		}
	}
	if c.open && strings.Contains(id, "claude") {
		return describeModel(id, 0), true
	}
	return modelInfo{}, false
}

// modelPage is the body of GET /v1/models.
type modelPage struct {
	Data    []modelInfo `json:"data"`
	HasMore bool        `json:"has_more"`
	FirstID *string     `json:"first_id"`
	LastID  *string     `json:"last_id"`
}

// respondModels serves GET /v1/models with its limit, after_id and before_id.
func (s *Server) respondModels(c *call, _ fault.Fault) response {
	page, err := s.catalog.page(c.request.URL.Query())
	if err != nil {
		return invalidRequest(err.Error())
	}
	return response{status: http.StatusOK, body: mustMarshal(page)}
}

func (c catalog) page(q url.Values) (modelPage, error) {
	limit := 20
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			return modelPage{}, fmt.Errorf("limit: Input should be between 1 and 1000")
		}
		limit = n
	}
	models := c.models
	at := func(id string) int {
		return slices.IndexFunc(models, func(m modelInfo) bool { return m.ID == id })
	}
	page := modelPage{}
	if before := q.Get("before_id"); before != "" {
		models = models[:max(at(before), 0)]
		page.HasMore = len(models) > limit
		models = models[max(len(models)-limit, 0):]
	} else {
		if after := q.Get("after_id"); after != "" {
			models = models[at(after)+1:]
		}
		page.HasMore = len(models) > limit
		models = models[:min(limit, len(models))]
	}
	page.Data = append([]modelInfo{}, models...)
	if len(models) > 0 {
		page.FirstID, page.LastID = &models[0].ID, &models[len(models)-1].ID
	}
	return page, nil
}

// respondModel serves GET /v1/models/{id}.
func (s *Server) respondModel(c *call, _ fault.Fault) response {
	id := strings.TrimPrefix(c.request.URL.Path, "/v1/models/")
	m, ok := s.catalog.find(id)
	if !ok {
		return unknownModel(id)
	}
	return response{status: http.StatusOK, body: mustMarshal(m)}
}
