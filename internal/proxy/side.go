package proxy

import (
	"claude-code-lb/internal/claude"
)

// isSide says whether the request is for another path than that of messages: its failures say nothing about messages.
func (x *exchange) isSide() bool { return x.query.Subject.Path != claude.PathMessages }
