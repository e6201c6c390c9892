package fakeclaude

import (
	"bytes"
	"iter"
)

// withoutCacheControl returns a JSON object without its cache_control members and those of the
// objects in its content list. It does not change the bytes of other values. The object must be
// valid.
func withoutCacheControl(object []byte) []byte {
	bare := append(make([]byte, 0, len(object)), '{')
	for m := range membersButCacheControl(object) {
		bare = append(appendKey(bare, object, m), ':')
		if value := object[m.valueStart:m.valueEnd]; value[0] == '[' && string(object[m.keyStart:m.keyEnd]) == `"content"` {
			bare = appendList(bare, value)
		} else {
			bare = append(bare, value...)
		}
	}
	return append(bare, '}')
}

// appendList copies a list without the cache_control members of its elements. The API has none in
// deeper levels.
func appendList(dst, list []byte) []byte {
	dst = append(dst, '[')
	first := true
	for start, end := range elements(list) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		element := list[start:end]
		if element[0] != '{' {
			dst = append(dst, element...)
			continue
		}
		dst = append(dst, '{')
		for m := range membersButCacheControl(element) {
			dst = append(appendKey(dst, element, m), ':')
			dst = append(dst, element[m.valueStart:m.valueEnd]...)
		}
		dst = append(dst, '}')
	}
	return append(dst, ']')
}

func appendKey(dst, object []byte, m member) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	return append(dst, object[m.keyStart:m.keyEnd]...)
}

// membersButCacheControl iterates over the members besides cache_control.
func membersButCacheControl(object []byte) iter.Seq[member] {
	return func(yield func(member) bool) {
		for m := range members(object) {
			if string(object[m.keyStart:m.keyEnd]) != `"cache_control"` && !yield(m) {
				return
			}
		}
	}
}

// memberValue returns the value of the last member with this quoted key, or nil.
func memberValue(object []byte, key string) (value []byte) {
	for m := range members(object) {
		if string(object[m.keyStart:m.keyEnd]) == key {
			value = object[m.valueStart:m.valueEnd]
		}
	}
	return value
}

// member is the byte ranges of a key, with its quotes, and of its value.
type member struct{ keyStart, keyEnd, valueStart, valueEnd int }

// members iterates over the members of a valid JSON object.
func members(object []byte) iter.Seq[member] {
	return func(yield func(member) bool) {
		at := skipSpace(object, 1)
		for at < len(object) && object[at] == '"' {
			m := member{keyStart: at, keyEnd: skipString(object, at)}
			m.valueStart = skipSpace(object, skipSpace(object, m.keyEnd)+1)
			m.valueEnd = skipValue(object, m.valueStart)
			if !yield(m) {
				return
			}
			at = skipSpace(object, m.valueEnd)
			if at >= len(object) || object[at] != ',' {
				return
			}
			at = skipSpace(object, at+1)
		}
	}
}

// elements iterates over the byte ranges of the elements of a valid JSON array.
func elements(list []byte) iter.Seq2[int, int] {
	return func(yield func(start, end int) bool) {
		at := skipSpace(list, 1)
		for at < len(list) && list[at] != ']' {
			end := skipValue(list, at)
			if !yield(at, end) {
				return
			}
			at = skipSpace(list, end)
			if at >= len(list) || list[at] != ',' {
				return
			}
			at = skipSpace(list, at+1)
		}
	}
}

func skipSpace(b []byte, at int) int {
	for at < len(b) && (b[at] == ' ' || b[at] == '\n' || b[at] == '\t' || b[at] == '\r') {
		at++
	}
	return at
}

// skipString returns the end of the string that begins at at: after the next quote with an even
// number of backslashes before it.
func skipString(b []byte, at int) int {
	for at++; ; at++ {
		next := bytes.IndexByte(b[at:], '"')
		if next < 0 {
			return len(b)
		}
		at += next
		slash := at
		for b[slash-1] == '\\' {
			slash--
		}
		if (at-slash)%2 == 0 {
			return at + 1
		}
	}
}

// skipValue returns the end of the value that begins at at.
func skipValue(b []byte, at int) int {
	depth := 0
	for at < len(b) {
		switch b[at] {
		case '"':
			at = skipString(b, at)
		case '{', '[':
			depth++
			at++
		case '}', ']':
			if depth == 0 {
				return at
			}
			depth--
			at++
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 {
				return at
			}
			at++
			continue
		default:
			at++
			continue
		}
		if depth == 0 {
			return at
		}
	}
	return at
}
