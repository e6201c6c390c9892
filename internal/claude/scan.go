package claude

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"strconv"
	"unicode/utf8"
)

// maxDepth is the maximum nesting depth, as in encoding/json.
const maxDepth = 10000

// SyntaxError is the first error in a text that should be a JSON object.
type SyntaxError struct {
	Offset int // in bytes from the start of the text
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Msg) }

// scanner reads a JSON text in one pass, without a tree and without recursion. It accepts the same
// texts as json.Valid. With loose, it does not look for unknown escapes and control characters in
// strings. After the first error, the iterators yield nothing.
type scanner struct {
	text    []byte
	at      int // offset of the next byte
	loose   bool
	depth   int // number of open objects and arrays
	err     *SyntaxError
	objects [2]uint64 // bit d is set if the container at depth d is an object
	deep    []uint64  // the same for greater depths, which are rare: a larger array would enlarge every stack with a scanner
}

// document yields the names of the members of the object that is the whole text. The loops over
// this and the other iterators must not break.
func (s *scanner) document(yield func(name []byte) bool) {
	if s.peek() != '{' {
		s.fail("want a JSON object")
		return
	}
	s.members(yield)
	if s.err == nil && (s.peek() != 0 || s.at < len(s.text)) {
		s.fail("the object is followed by something")
	}
}

// members yields the names of the members of the next value, an object. It skips any other value.
// The body of the loop reads the value of the member; a value that it does not read is skipped.
func (s *scanner) members(yield func(name []byte) bool) {
	if s.peek() != '{' {
		s.skip()
		return
	}
	for more := s.enter(); more; more = s.next() {
		name, ok := s.name()
		value := s.at
		if !ok || !yield(memberName(name)) || s.at == value && !s.skip() {
			return
		}
	}
}

// elements yields once for each element of the next value, an array. It skips any other value. The
// body of the loop reads the element; an element that it does not read is skipped.
func (s *scanner) elements(yield func() bool) {
	if s.peek() != '[' {
		s.skip()
		return
	}
	for more := s.enter(); more; more = s.next() {
		s.peek()
		element := s.at
		if !yield() || s.at == element && !s.skip() {
			return
		}
	}
}

// within yields the names of the members of all objects in the next value, at any depth. The body
// of the loop reads the value of the member; a value that it does not read is searched too.
func (s *scanner) within(yield func(name []byte) bool) {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			s.stringLiteral()
		case '{', '[':
			more = s.enter()
		default:
			s.scalar()
		}
		for taken := true; taken; {
			for !more && s.depth > outer && s.err == nil {
				more = s.next()
			}
			if !more || s.err != nil {
				return
			}
			if taken = s.inObject(); !taken {
				break
			}
			name, ok := s.name()
			value := s.at
			if !ok || !yield(memberName(name)) {
				return
			}
			taken = s.at != value
			more = !taken
		}
	}
}

// strings calls take with every string in the next value, at any depth, with its quotes. It leaves
// out the names of members.
func (s *scanner) strings(take func(raw []byte)) {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			if raw := s.stringLiteral(); s.err == nil {
				take(raw)
			}
		case '{', '[':
			more = s.enter()
		default:
			s.scalar()
		}
		for !more && s.depth > outer && s.err == nil {
			more = s.next()
		}
		if !more || s.err != nil {
			return
		}
		if s.inObject() {
			if _, ok := s.name(); !ok {
				return
			}
		}
	}
}

// value reads the next value and returns its text, or nil after an error.
func (s *scanner) value() []byte {
	s.peek()
	start := s.at
	if !s.skip() {
		return nil
	}
	return s.text[start:s.at]
}

// string reads the next value and returns it decoded if it is a string.
func (s *scanner) string() (string, bool) {
	raw := s.value()
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return decodeString(raw), true
}

// integer reads the next value and returns it if it is an integer.
func (s *scanner) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(s.value()), 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

// skip reads the next value.
func (s *scanner) skip() bool {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			s.stringLiteral()
		case '{', '[':
			more = s.enter()
		default:
			s.scalar()
		}
		for !more && s.depth > outer && s.err == nil {
			more = s.next()
		}
		if !more {
			return s.err == nil
		}
		if s.inObject() {
			if _, ok := s.name(); !ok {
				return false
			}
		}
	}
}

// enter opens the next value, an object or array, and reports whether it has an item. It closes an
// empty one.
func (s *scanner) enter() bool {
	if s.depth == maxDepth {
		return s.fail("nested too deep")
	}
	s.depth++
	word, bit := s.containerBits(), uint64(1)<<(s.depth%64)
	closer := byte(']')
	if s.text[s.at] == '{' {
		closer = '}'
		*word |= bit
	} else {
		*word &^= bit
	}
	s.at++
	if s.peek() != closer {
		return true
	}
	s.at++
	s.depth--
	return false
}

// next reports, after an item, whether the container has another one. If not, it closes the
// container.
func (s *scanner) next() bool {
	if s.err != nil {
		return false
	}
	c := s.peek()
	switch {
	case c == ',':
		s.at++
		return true
	case c == '}' && s.inObject(), c == ']' && !s.inObject():
		s.at++
		s.depth--
		return false
	case s.inObject():
		return s.fail("want a comma or the end of the object")
	default:
		return s.fail("want a comma or the end of the array")
	}
}

func (s *scanner) inObject() bool { return *s.containerBits()>>(s.depth%64)&1 == 1 }

// containerBits returns the word that has the bit of the innermost open container.
func (s *scanner) containerBits() *uint64 {
	word := s.depth / 64
	if word < len(s.objects) {
		return &s.objects[word]
	}
	for word -= len(s.objects); word >= len(s.deep); {
		s.deep = append(s.deep, 0)
	}
	return &s.deep[word]
}

// name reads the name of a member and the colon, and returns the name with its quotes and escapes.
func (s *scanner) name() ([]byte, bool) {
	if s.peek() != '"' {
		return nil, s.fail("want the name of a member")
	}
	raw := s.stringLiteral()
	if s.err != nil {
		return nil, false
	}
	if s.peek() != ':' {
		return nil, s.fail("want a colon")
	}
	s.at++
	s.peek()
	return raw, true
}

// peek skips white space and returns the next byte, 0 at the end of the text.
func (s *scanner) peek() byte {
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// stringLiteral reads the string at this position and returns its text with the quotes.
func (s *scanner) stringLiteral() []byte {
	if s.loose {
		return s.looseString()
	}
	start := s.at
	for s.at++; ; {
		s.at = plainTextEnd(s.text, s.at)
		switch s.byteAt(s.at) {
		case '"':
			s.at++
			return s.text[start:s.at]
		case '\\':
			s.at++
			if !s.escapeSequence() {
				return nil
			}
		default:
			s.fail("control character in a string")
			return nil
		}
	}
}

// looseString searches for quotes only. They are much rarer than escapes, and bytes.IndexByte is
// fast.
func (s *scanner) looseString() []byte {
	start := s.at
	for s.at++; ; s.at++ {
		quote := bytes.IndexByte(s.text[s.at:], '"')
		if quote < 0 {
			s.at = len(s.text)
			s.fail("")
			return nil
		}
		s.at += quote
		slashes := 0
		for s.text[s.at-1-slashes] == '\\' { // the loop ends at the opening quote at the latest
			slashes++
		}
		if slashes%2 == 0 {
			s.at++
			return s.text[start:s.at]
		}
	}
}

// escapeSequence reads the part of an escape after the backslash.
func (s *scanner) escapeSequence() bool {
	switch s.byteAt(s.at) {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return true
	case 'u':
		s.at++
	default:
		return s.fail("unknown escape in a string")
	}
	for range 4 {
		switch c := s.byteAt(s.at); {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f', 'A' <= c && c <= 'F':
			s.at++
		default:
			return s.fail("want a hexadecimal digit")
		}
	}
	return true
}

// scalar reads a number, true, false or null.
func (s *scanner) scalar() bool {
	for _, literal := range [...]string{"true", "false", "null"} {
		if s.byteAt(s.at) == literal[0] {
			if !bytes.HasPrefix(s.text[s.at:], []byte(literal)) {
				return s.fail("want " + literal)
			}
			s.at += len(literal)
			return true
		}
	}
	return s.number()
}

func (s *scanner) number() bool {
	if s.byteAt(s.at) == '-' {
		s.at++
	}
	if s.byteAt(s.at) == '0' {
		s.at++
	} else if !s.digits("want a value") {
		return false
	}
	if s.byteAt(s.at) == '.' {
		s.at++
		if !s.digits("want a digit after the decimal point") {
			return false
		}
	}
	if s.byteAt(s.at)|0x20 == 'e' {
		s.at++
		if c := s.byteAt(s.at); c == '+' || c == '-' {
			s.at++
		}
		return s.digits("want a digit of the exponent")
	}
	return true
}

// digits reads one or more digits.
func (s *scanner) digits(otherwise string) bool {
	start := s.at
	for c := s.byteAt(s.at); '0' <= c && c <= '9'; c = s.byteAt(s.at) {
		s.at++
	}
	return s.at > start || s.fail(otherwise)
}

// byteAt returns the byte at offset i. After the end of the text it returns 0, which JSON does not
// contain.
func (s *scanner) byteAt(i int) byte {
	if i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// fail stores the first error and returns false.
func (s *scanner) fail(msg string) bool {
	if s.at >= len(s.text) {
		msg = "the text ends too early"
	}
	if s.err == nil {
		s.err = &SyntaxError{s.at, msg}
	}
	return false
}

// plainTextEnd returns the offset, from i on, of the first byte with a special meaning in a JSON
// string: a quote, a backslash or a control character. It processes 32 bytes at a time, because
// nearly all of a request body is in strings.
func plainTextEnd(text []byte, i int) int {
	for ; i+32 <= len(text); i += 32 {
		b := text[i : i+32 : i+32]
		first, second := specialBytes(binary.LittleEndian.Uint64(b)), specialBytes(binary.LittleEndian.Uint64(b[8:]))
		third, fourth := specialBytes(binary.LittleEndian.Uint64(b[16:])), specialBytes(binary.LittleEndian.Uint64(b[24:]))
		if first|second|third|fourth == 0 {
			continue
		}
		for k, found := range [...]uint64{first, second, third, fourth} {
			if found != 0 {
				return i + 8*k + bits.TrailingZeros64(found)/8
			}
		}
	}
	for ; i+8 <= len(text); i += 8 {
		if found := specialBytes(binary.LittleEndian.Uint64(text[i:])); found != 0 {
			return i + bits.TrailingZeros64(found)/8
		}
	}
	for ; i < len(text); i++ {
		if c := text[i]; c == '"' || c == '\\' || c < ' ' {
			return i
		}
	}
	return i
}

// specialBytes sets the high bit of the first byte in w that plainTextEnd looks for, and possibly
// the high bits of later bytes.
func specialBytes(w uint64) uint64 {
	const (
		low   = 0x0101010101010101
		high  = 0x80 * low
		quote = '"' * low
		slash = '\\' * low
		space = ' ' * low
	)
	q, b := w^quote, w^slash
	// The subtraction borrows into the high bit of a byte that is 0 (below ' ' for w). A borrow may
	// carry into later bytes, never into earlier ones, so that the first set bit is always right.
	return ((q-low)&^q | (b-low)&^b | (w-space)&^w) & high
}

// memberName returns the decoded name of a member.
func memberName(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(decodeString(raw))
	}
	return raw[1 : len(raw)-1]
}

// decodeString decodes a JSON string. It treats invalid UTF-8 as encoding/json does, and returns ""
// if the string is not valid.
func decodeString(raw []byte) string {
	plain := raw[1 : len(raw)-1]
	if plainTextEnd(plain, 0) == len(plain) && utf8.Valid(plain) {
		return string(plain)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return ""
	}
	return s
}
