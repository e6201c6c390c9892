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

// maxDepth is how deep JSON may be nested, as in encoding/json.
const maxDepth = 10000

// SyntaxError tells where a text stops being the JSON object that it should be.
type SyntaxError struct {
	Offset int // in bytes from the start of the text
	Msg    string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Msg) }

// scanner walks once over a JSON text, building no tree and without recursion.
// It accepts what json.Valid accepts, and with loose any text in strings up to their end: unknown escapes and control characters
// are then for the one to find who reads the text next. The first error sticks, and after it nothing is yielded.
type scanner struct {
	text    []byte
	at      int // offset of the next byte
	loose   bool
	depth   int // containers open here
	err     *SyntaxError
	objects [2]uint64 // bit d is set where the container at depth d is an object
	deep    []uint64  // the same beyond: who waits for an answer with a stack of this size should not hold memory for what hardly anybody sends
}

// document yields the member names of the object that is the whole text.
// It and the other iterators demand a loop that runs to its end.
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

// members yields the member names of the object that comes next; anything else is
// skipped. The body of the loop takes the member's value, or leaves it to be skipped.
func (s *scanner) members(yield func(name []byte) bool) {
	if s.peek() != '{' {
		s.skip()
		return
	}
	for more := s.enter(); more; more = s.next() {
		name, ok := s.name()
		value := s.at
		if !ok || !yield(unescaped(name)) || s.at == value && !s.skip() {
			return
		}
	}
}

// elements yields once for each element of the array that comes next; anything
// else is skipped. The body of the loop takes the element, or leaves it to be skipped.
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

// within yields the member names of every object in the value that comes next,
// at any depth. The body of the loop takes the member's value, or leaves it to be searched too.
func (s *scanner) within(yield func(name []byte) bool) {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			s.quoted()
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
			if !ok || !yield(unescaped(name)) {
				return
			}
			taken = s.at != value
			more = !taken
		}
	}
}

// strings passes on every string in the value that comes next, at any depth, with its quotes. Names of members are none.
func (s *scanner) strings(take func(raw []byte)) {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			if raw := s.quoted(); s.err == nil {
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

// value takes the value that comes next and returns its text, nil after an error.
func (s *scanner) value() []byte {
	s.peek()
	start := s.at
	if !s.skip() {
		return nil
	}
	return s.text[start:s.at]
}

// string takes the value that comes next and returns it decoded if it is a string.
func (s *scanner) string() (string, bool) {
	raw := s.value()
	if len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return decodeString(raw), true
}

// integer takes the value that comes next and returns it if it is a whole number.
func (s *scanner) integer() (int64, bool) {
	n, err := strconv.ParseInt(string(s.value()), 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

// skip passes over the value that comes next, however deep it is.
func (s *scanner) skip() bool {
	outer := s.depth
	for {
		more := false
		switch s.peek() {
		case '"':
			s.quoted()
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

// enter opens the container that comes next and reports whether it has an item; an empty one is closed at once.
func (s *scanner) enter() bool {
	if s.depth == maxDepth {
		return s.fail("nested too deep")
	}
	s.depth++
	word, bit := s.kinds(), uint64(1)<<(s.depth%64)
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

// next stands behind an item and reports whether its container has another; if not, it closes the container.
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

func (s *scanner) inObject() bool { return *s.kinds()>>(s.depth%64)&1 == 1 }

// kinds is where the container that was opened last has its bit.
func (s *scanner) kinds() *uint64 {
	word := s.depth / 64
	if word < len(s.objects) {
		return &s.objects[word]
	}
	for word -= len(s.objects); word >= len(s.deep); {
		s.deep = append(s.deep, 0)
	}
	return &s.deep[word]
}

// name takes a member's name, still escaped, and the colon, and stops at the value.
func (s *scanner) name() ([]byte, bool) {
	if s.peek() != '"' {
		return nil, s.fail("want the name of a member")
	}
	raw := s.quoted()
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

// peek passes over white space and returns the byte behind it, 0 at the end of the text.
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

// quoted takes the string that begins here and returns its text with the quotes.
func (s *scanner) quoted() []byte {
	if s.loose {
		return s.quotedLoosely()
	}
	start := s.at
	for s.at++; ; {
		s.at = plainEnd(s.text, s.at)
		switch s.byteAt(s.at) {
		case '"':
			s.at++
			return s.text[start:s.at]
		case '\\':
			s.at++
			if !s.escaped() {
				return nil
			}
		default:
			s.fail("control character in a string")
			return nil
		}
	}
}

// quotedLoosely goes from quote to quote, for there are many fewer of them than escapes, and processors find them fast.
func (s *scanner) quotedLoosely() []byte {
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
		for s.text[s.at-1-slashes] == '\\' { // the quote that begins the string ends this
			slashes++
		}
		if slashes%2 == 0 {
			s.at++
			return s.text[start:s.at]
		}
	}
}

// escaped takes what stands behind a backslash.
func (s *scanner) escaped() bool {
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

// scalar takes a number, true, false or null.
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
		if !s.digits("want a digit behind the decimal point") {
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

// digits takes one digit or more.
func (s *scanner) digits(otherwise string) bool {
	start := s.at
	for c := s.byteAt(s.at); '0' <= c && c <= '9'; c = s.byteAt(s.at) {
		s.at++
	}
	return s.at > start || s.fail(otherwise)
}

// byteAt is the byte at offset i, 0 behind the end: no JSON holds one.
func (s *scanner) byteAt(i int) byte {
	if i >= len(s.text) {
		return 0
	}
	return s.text[i]
}

// fail notes the first error and returns false.
func (s *scanner) fail(msg string) bool {
	if s.at >= len(s.text) {
		msg = "the text ends too early"
	}
	if s.err == nil {
		s.err = &SyntaxError{s.at, msg}
	}
	return false
}

// plainEnd returns the offset, from i on, of the first byte that cannot stand for
// itself in a JSON string: a quote, a backslash or a control character. It looks at
// many bytes at a time, since nearly all of a request body is inside of strings.
func plainEnd(text []byte, i int) int {
	for ; i+32 <= len(text); i += 32 {
		b := text[i : i+32 : i+32]
		first, second := marks(binary.LittleEndian.Uint64(b)), marks(binary.LittleEndian.Uint64(b[8:]))
		third, fourth := marks(binary.LittleEndian.Uint64(b[16:])), marks(binary.LittleEndian.Uint64(b[24:]))
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
		if found := marks(binary.LittleEndian.Uint64(text[i:])); found != 0 {
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

// marks sets the high bit of the first byte in w that plainEnd looks for, and maybe of some behind it.
func marks(w uint64) uint64 {
	const (
		low   = 0x0101010101010101
		high  = 0x80 * low
		quote = '"' * low
		slash = '\\' * low
		space = ' ' * low
	)
	q, b := w^quote, w^slash
	// Subtracting borrows into the high bit of a byte that is 0 (below ' ' for w). A borrow may spill
	// into bytes behind that one, never into those before it, so that the first mark is always true.
	return ((q-low)&^q | (b-low)&^b | (w-space)&^w) & high
}

// unescaped is a member's name without its quotes.
func unescaped(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') >= 0 {
		return []byte(decodeString(raw))
	}
	return raw[1 : len(raw)-1]
}

// decodeString decodes a JSON string, bad UTF-8 as encoding/json does it; one that is not valid is empty.
func decodeString(raw []byte) string {
	plain := raw[1 : len(raw)-1]
	if plainEnd(plain, 0) == len(plain) && utf8.Valid(plain) {
		return string(plain)
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return ""
	}
	return s
}
