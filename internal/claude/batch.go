package claude

// BatchModels lists the models that the messages of a batch ask for (message batches API), each once, in the order of the body.
func BatchModels(body []byte) []string {
	var models []string
	add := func(model string) {
		for _, known := range models {
			if known == model {
				return
			}
		}
		models = append(models, model)
	}
	s := scanner{text: body}
	for name := range s.document {
		if string(name) != "requests" {
			continue
		}
		for range s.elements {
			for name := range s.members {
				if string(name) == "params" {
					for name := range s.members {
						if string(name) == "model" {
							if model, ok := s.string(); ok {
								add(model)
							}
						}
					}
				}
			}
		}
	}
	return models
}
