package fakeclaude

import (
	"bytes"
	"net/http"
)

// Shapes lists the values of FaultShape: what comes with status 200 in place of an answer of the API.
//
//	code     a vendor's business code
//	openai   a completion of OpenAI's, or its stream
//	wrapped  a message inside of another object
//	blank    a message with neither content nor output tokens
func Shapes() []string { return []string{"code", "openai", "wrapped", "blank"} }

// Dialects lists the values of FaultDialect: how an unusual but healthy answer is written.
//
//	bom      a byte order mark stands before it
//	cr, crlf the lines of a stream end so
//	nameless the events of a stream have data lines alone
//	chatter  a stream has events between those of the API whose data is text
func Dialects() []string { return []string{"bom", "cr", "crlf", "nameless", "chatter"} }

// shaped is the response that FaultShape sends instead of the normal one.
func (f Fault) shaped(c *call, ans answer) answer {
	const (
		message = `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":0,"output_tokens":0}}`
		chunk   = `data: {"id":"c1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"}}]}` + "\n\n"
		start   = "event: message_start\ndata: " + `{"type":"message_start","message":` + message + "}\n\n"
		end     = "event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":0}}` +
			"\n\nevent: message_stop\ndata: " + `{"type":"message_stop"}` + "\n\n"
	)
	ans.status = http.StatusOK
	if c.stream && (f.Form == "openai" || f.Form == "blank") {
		ans.media = mediaStream
	}
	switch {
	case f.Form == "code":
		ans.body = []byte(`{"code":500,"msg":"404 NOT_FOUND","success":false}`)
	case f.Form == "wrapped":
		ans.body = []byte(`{"code":0,"data":` + message + `}`)
	case f.Form == "openai" && c.stream:
		ans.body = []byte(chunk + chunk + "data: [DONE]\n\n")
	case f.Form == "openai":
		ans.body = []byte(`{"id":"c1","object":"chat.completion","choices":[{"message":{"role":"assistant","content":"hi"}}]}`)
	case c.stream:
		ans.body = []byte(start + end)
	default:
		ans.body = []byte(message)
	}
	return ans
}

// spoken writes a response in a dialect.
func (f Fault) spoken(ans answer) answer {
	const mark = "\ufeff"
	if ans.events == nil {
		if f.Form == "bom" && !ans.replaced && ans.problem == nil {
			ans.body = append([]byte(mark), ans.body...)
		}
		return ans
	}
	events := make([]event, len(ans.events))
	for i, e := range ans.events {
		e.frame = f.frame(e.frame, i == 0, i == len(events)-1)
		events[i] = e
	}
	ans.events = events
	return ans
}

// frame writes one event in a dialect.
func (f Fault) frame(frame []byte, first, last bool) []byte {
	switch f.Form {
	case "bom":
		if first {
			return append([]byte("\ufeff"), frame...)
		}
	case "cr":
		return bytes.ReplaceAll(frame, []byte("\n"), []byte("\r"))
	case "crlf":
		return bytes.ReplaceAll(frame, []byte("\n"), []byte("\r\n"))
	case "nameless":
		if _, data, named := bytes.Cut(frame, []byte("\n")); named && bytes.HasPrefix(frame, []byte("event: ")) {
			return data
		}
	case "chatter":
		out := append([]byte("data: wait\n\nevent: ping\ndata: still there\n\nevent: notice\ndata: in words\n\n"), frame...)
		if last {
			out = append(out, "data: [DONE]\n\n"...)
		}
		return out
	}
	return frame
}
