package claude

import (
	"slices"
	"strings"
)

// SoleModel is the model that a request's body asks for. It reports false when that can be read in more than one way:
// some servers take the first of two members with one name and others the last, and some disregard the case of names.
func SoleModel(body []byte) (model string, ok bool) {
	s := scanner{text: body}
	model, ok = s.soleModel(s.document)
	return model, ok && s.err == nil
}

// soleModel takes the members of an object.
func (s *scanner) soleModel(members func(func([]byte) bool)) (model string, ok bool) {
	found := 0
	for name := range members {
		if strings.EqualFold(string(name), "model") {
			found++
			if text, isText := s.string(); isText && string(name) == "model" {
				model = text
			}
		}
	}
	return model, found == 1 && model != ""
}

// BatchModels lists the models that the messages of a batch ask for (message batches API), each once, in the order of the
// body. It reports false when some can be read in more than one way.
func BatchModels(body []byte) (models []string, ok bool) {
	ok = true
	s := scanner{text: body}
	lists := 0
	for name := range s.document {
		if !strings.EqualFold(string(name), "requests") {
			continue
		}
		lists++
		for range s.elements {
			model, sole := s.batchedModel()
			ok = ok && sole
			if sole && !slices.Contains(models, model) {
				models = append(models, model)
			}
		}
	}
	return models, ok && lists == 1 && s.err == nil
}

// batchedModel takes one request of a batch.
func (s *scanner) batchedModel() (model string, ok bool) {
	found, ok := 0, true
	for name := range s.members {
		if strings.EqualFold(string(name), "params") {
			found++
			var sole bool
			model, sole = s.soleModel(s.members)
			ok = ok && sole
		}
	}
	return model, ok && found == 1
}
