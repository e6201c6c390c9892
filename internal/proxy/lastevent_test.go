package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// TestStreamsWithOddEnds checks that a stream that lacks only the blank line after message_stop is
// complete, and that a stream may begin with unknown fields.
func TestStreamsWithOddEnds(t *testing.T) {
	noBlank, noLine := strings.TrimSuffix(wholeReply, "\n"), strings.TrimSuffix(wholeReply, "\n\n")
	pieces := func(parts ...string) http.HandlerFunc { return stream(nil, parts...) }
	cut := len(wholeReply) - 10
	tests := map[string]struct {
		handler http.HandlerFunc
		want    string // begins with
	}{
		"no blank line":              {pieces(noBlank), wholeReply},
		"no end of the line":         {pieces(noLine), wholeReply},
		"no blank line, late":        {pieces(noBlank[:cut], noBlank[cut:]), wholeReply},
		"no end of the line, late":   {pieces(noLine[:cut], noLine[cut:]), wholeReply},
		"an unknown field first":     {pieces("vendor: x\n" + wholeReply), "vendor: x\n" + wholeReply},
		"an unknown field, no event": {pieces("vendor: x\n\n" + wholeReply), "vendor: x\n\n" + wholeReply},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, test.handler, whole)
			got := r.post("/v1/messages", streamBody)
			if got.Err != nil || got.StatusCode != 200 || !strings.HasPrefix(got.Body, test.want) || strings.Contains(got.Body, "event: error") {
				t.Errorf("client got %d %q, %v", got.StatusCode, got.Body, got.Err)
			}
			if e := r.last(); len(e.Attempts) != 1 {
				t.Errorf("attempts %+v", e.Attempts)
			}
		})
	}
}

// TestIncompleteLastEventIsTruncation checks that a stream whose last event has incomplete data
// counts as broken off.
func TestIncompleteLastEventIsTruncation(t *testing.T) {
	for name, end := range map[string]string{
		"half of its data": "event: message_stop\ndata: {\"type\":\"message_",
		"no data":          "event: message_stop\n",
		"another event":    strings.TrimSuffix(deltaEvent, "\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, stream(nil, startEvent+blockEvent+textEvent+end))
			if got := r.post("/v1/messages", streamBody); !strings.Contains(got.Body, "event: error") {
				t.Errorf("client got %q, %v", got.Body, got.Err)
			}
		})
	}
}

// TestRelayFailureIsNoTokenCount covers a relay's own failure in the form of a refusal.
func TestRelayFailureIsNoTokenCount(t *testing.T) {
	for _, body := range []string{
		`{"type":"error","error":{"type":"invalid_request_error","message":"Error from provider: Upstream request failed"}}`,
		`{"error":{"message":"bad request","type":"invalid_request_error"}}`,
	} {
		fault := respond(400, jsonType, body)
		r := newRig(t, bySide(fault), bySide(fault))
		if got := r.post("/v1/messages/count_tokens", countBody); got.StatusCode != 404 {
			t.Errorf("%s: client got %d %q", body, got.StatusCode, got.Body)
		}
	}
}
