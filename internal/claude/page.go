package claude

import (
	"encoding/json"
	"errors"
)

// Page is one page of a list of batches, files or skills.
type Page struct {
	Data    []json.RawMessage
	IDs     []string // of the elements, "" for one without
	BuiltIn []bool   // whether the element is Anthropic's and the same for all accounts
	HasMore bool
	// UsesTokens reports that clients request the next page by NextToken instead of by an id.
	UsesTokens bool
	NextToken  string
	Members    map[string]json.RawMessage // all members
}

var errNoPage = errors.New("not a page of a list")

// ParsePage reads a response that is a page of a list.
func ParsePage(body []byte) (Page, error) {
	p := Page{}
	if err := json.Unmarshal(body, &p.Members); err != nil || p.Members == nil {
		return Page{}, errNoPage
	}
	data, ok := p.Members["data"]
	if !ok || json.Unmarshal(data, &p.Data) != nil || p.Data == nil {
		return Page{}, errNoPage
	}
	for _, each := range p.Data {
		var element struct {
			ID     string `json:"id"`
			Type   string `json:"type"`
			Source any    `json:"source"`
		}
		if json.Unmarshal(each, &element) != nil {
			return Page{}, errNoPage
		}
		p.IDs = append(p.IDs, element.ID)
		p.BuiltIn = append(p.BuiltIn, element.Type == "skill" && element.Source == "anthropic" && !isID(element.ID))
	}
	_ = json.Unmarshal(p.Members["has_more"], &p.HasMore) // stays false if it is missing or invalid
	var next *string
	text, tokens := p.Members["next_page"]
	_ = json.Unmarshal(text, &next)
	if p.UsesTokens = tokens; next != nil {
		p.NextToken = *next
	}
	p.HasMore = p.HasMore && (!tokens || p.NextToken != "") || p.NextToken != ""
	return p, nil
}

// CreatedID returns the id of the resource that a request created, from its response, in a list of
// at most one.
func CreatedID(body []byte) []string {
	var created struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &created) != nil || created.ID == "" || len(created.ID) > maxID {
		return nil
	}
	return []string{created.ID}
}
