package fault

import "bytes"

// Dialects lists the forms of a Dialect fault: unusual but valid ways to write a healthy response.
//
//	bom      begins with a byte order mark
//	cr, crlf the lines of a stream end with CR or CRLF
//	nameless the events of a stream have only data lines
//	chatter  a stream also has events that the API does not send, with text as data
func Dialects() []string { return []string{"bom", "cr", "crlf", "nameless", "chatter"} }

const byteOrderMark = "\ufeff"

// RewriteBody writes a plain response in the dialect.
func (f Fault) RewriteBody(body []byte) []byte {
	if f.Form == "bom" {
		return append([]byte(byteOrderMark), body...)
	}
	return body
}

// RewriteEvent writes one event of a stream in the dialect. first and last mark the ends of the
// stream.
func (f Fault) RewriteEvent(event []byte, first, last bool) []byte {
	switch f.Form {
	case "bom":
		if first {
			return append([]byte(byteOrderMark), event...)
		}
	case "cr":
		return bytes.ReplaceAll(event, []byte("\n"), []byte("\r"))
	case "crlf":
		return bytes.ReplaceAll(event, []byte("\n"), []byte("\r\n"))
	case "nameless":
		if _, data, named := bytes.Cut(event, []byte("\n")); named && bytes.HasPrefix(event, []byte("event: ")) {
			return data
		}
	case "chatter":
		out := append([]byte("data: wait\n\nevent: ping\ndata: still there\n\nevent: notice\ndata: in words\n\n"), event...)
		if last {
			out = append(out, "data: [DONE]\n\n"...)
		}
		return out
	}
	return event
}
