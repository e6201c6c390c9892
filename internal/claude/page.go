package claude

import (
	"encoding/json"
	"errors"
)

// Page is one page of a list of batches, files or skills.
type Page struct {
	Data    []json.RawMessage
	IDs     []string // of the elements, "" for one without
	BuiltIn []bool   // the element is Anthropic's own and known everywhere
	HasMore bool
	// ByToken reports a list that pages by tokens, of which NextToken is the next, instead of by ids.
	ByToken   bool
	NextToken string
	Members   map[string]json.RawMessage // all members
}

var errNoPage = errors.New("not a page of a list")

// ParsePage reads an answer that is a page of a list.
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
	_ = json.Unmarshal(p.Members["has_more"], &p.HasMore) // missing or odd: no
	var next *string
	text, tokens := p.Members["next_page"]
	_ = json.Unmarshal(text, &next)
	if p.ByToken = tokens; next != nil {
		p.NextToken = *next
	}
	p.HasMore = p.HasMore && (!tokens || p.NextToken != "") || p.NextToken != ""
	return p, nil
}

// CreatedID is the id of what a request has created, by the answer to it, in a list of at most one.
func CreatedID(body []byte) []string {
	var created struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &created) != nil || created.ID == "" || len(created.ID) > maxID {
		return nil
	}
	return []string{created.ID}
}
