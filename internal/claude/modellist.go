package claude

// IsModelList says whether body is a list of models as GET /v1/models gives it: an object with the array data.
func IsModelList(body []byte) bool {
	s, found := scanner{text: body}, false
	for name := range s.document {
		if string(name) == "data" {
			found = s.peek() == '['
		}
	}
	return found && s.err == nil
}
