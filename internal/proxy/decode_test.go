package proxy

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"

	"github.com/9bingyin/claude-code-lb/internal/quota"
	"github.com/9bingyin/claude-code-lb/internal/verdict"
)

// encoder is the common interface of the writers of all codings.
type encoder interface {
	io.WriteCloser
	Flush() error
}

// encoderOf returns the writer of one coding. "raw deflate" is what some servers send as deflate.
func encoderOf(t testing.TB, coding string, w io.Writer) encoder {
	t.Helper()
	switch coding {
	case "gzip", "x-gzip":
		return gzip.NewWriter(w)
	case "deflate":
		return zlib.NewWriter(w)
	case "raw deflate":
		z, err := flate.NewWriter(w, flate.DefaultCompression)
		if err != nil {
			t.Fatal(err)
		}
		return z
	case "br":
		return brotli.NewWriter(w)
	case "zstd":
		return zstdEncoder(t, w)
	}
	t.Fatalf("no encoder for %q", coding)
	return nil
}

func zstdEncoder(t testing.TB, w io.Writer, options ...zstd.EOption) encoder {
	t.Helper()
	z, err := zstd.NewWriter(w, append([]zstd.EOption{zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(64 << 10)}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// stacked applies several codings, the first one innermost.
type stacked []encoder

func stack(t testing.TB, codings []string, w io.Writer) stacked {
	t.Helper()
	s := make(stacked, len(codings))
	for i := len(codings) - 1; i >= 0; i-- {
		s[i] = encoderOf(t, codings[i], w)
		w = s[i]
	}
	return s
}

func (s stacked) Write(p []byte) (int, error) { return s[0].Write(p) }

func (s stacked) Flush() error {
	for _, e := range s {
		if err := e.Flush(); err != nil {
			return err
		}
	}
	return nil
}

func (s stacked) Close() error {
	for _, e := range s {
		if err := e.Close(); err != nil {
			return err
		}
	}
	return nil
}

// encoded returns the pieces in the given codings, each piece flushed.
func encoded(t testing.TB, codings []string, pieces ...string) []byte {
	t.Helper()
	var buf bytes.Buffer
	s := stack(t, codings, &buf)
	for _, p := range pieces {
		if _, err := io.WriteString(s, p); err != nil {
			t.Fatal(err)
		}
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// header returns the Content-Encoding for codings.
func header(codings []string) string {
	return strings.ReplaceAll(strings.Join(codings, ", "), "raw ", "")
}

func allCodings() [][]string {
	return [][]string{{"gzip"}, {"x-gzip"}, {"deflate"}, {"raw deflate"}, {"br"}, {"zstd"}, {"gzip", "br"}, {"zstd", "deflate", "gzip"}}
}

// decodeAll reads a body to its end.
func decodeAll(t testing.TB, encoding string, body io.Reader) (string, error) {
	t.Helper()
	r, changed, err := decoded(io.NopCloser(body), []string{encoding})
	if err != nil || !changed {
		t.Fatalf("%s: changed %t, %v", encoding, changed, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	return string(got), err
}

func TestDecodedRoundTrip(t *testing.T) {
	long := strings.Repeat(wholeReply, 500)
	for _, codings := range allCodings() {
		for _, pieces := range [][]string{{startEvent, blockEvent, textEvent, stopEvent}, {long}, {""}} {
			sent, want := encoded(t, codings, pieces...), strings.Join(pieces, "")
			for name, split := range map[string]func(io.Reader) io.Reader{
				"bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "error with data": iotest.DataErrReader,
				"whole": func(r io.Reader) io.Reader { return r },
			} {
				got, err := decodeAll(t, header(codings), split(bytes.NewReader(sent)))
				if got != want || err != nil {
					t.Errorf("%v, %s: %d bytes of %d, %v", codings, name, len(got), len(want), err)
				}
			}
		}
	}
}

func TestDecodedParsesContentEncoding(t *testing.T) {
	f := func(known bool, changed bool, lines ...string) {
		t.Helper()
		body := io.NopCloser(strings.NewReader(""))
		r, got, err := decoded(body, lines)
		switch {
		case known && (err != nil || got != changed || !changed && r != body):
			t.Errorf("%q: changed %t, %v", lines, got, err)
		case !known && !errors.Is(err, verdict.ErrUnusable):
			t.Errorf("%q: %v", lines, err)
		}
	}
	f(true, false)
	f(true, false, "")
	f(true, false, "identity", "Identity, ,")
	f(true, true, "GZip")
	f(true, true, "identity", " br ,identity")
	f(true, true, "gzip, br", "zstd")
	f(false, false, "gzip, br", "zstd,deflate")
	f(false, false, "compress")
	f(false, false, "gzip;q=1")
	f(false, false, "gzip", "sk-secret")
	if _, _, err := decoded(http.NoBody, []string{"sk-secret"}); strings.Contains(err.Error(), "sk-") {
		t.Errorf("the error quotes the upstream: %v", err)
	}
}

func TestContentEncodingLinesAreJoined(t *testing.T) {
	sent := encoded(t, []string{"deflate", "gzip", "br"}, wholeReply)
	r, _, err := decoded(io.NopCloser(bytes.NewReader(sent)), []string{"deflate, identity", "gzip", "br"})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got, err := io.ReadAll(r); string(got) != wholeReply || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestDecodedDelaysNothing checks that every event arrives before the next one is written. In a
// bubble, a reader that waits for more is a deadlock and fails at once.
func TestDecodedDelaysNothing(t *testing.T) {
	events := []string{startEvent, pingEvent, blockEvent, textEvent, strings.Repeat(textEvent, 400), deltaEvent, stopEvent}
	for _, codings := range allCodings() {
		t.Run(strings.Join(codings, " "), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				in, out := io.Pipe()
				r, _, err := decoded(in, []string{header(codings)})
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				next := make(chan string)
				go func() {
					s := stack(t, codings, out)
					for e := range next {
						if _, err := io.WriteString(s, e); err != nil || s.Flush() != nil {
							t.Error(err)
						}
					}
					out.CloseWithError(s.Close())
				}()
				for _, e := range events {
					next <- e
					got := make([]byte, len(e))
					if _, err := io.ReadFull(r, got); err != nil || string(got) != e {
						t.Fatalf("got %q, %v, want %q", got, err, e)
					}
				}
				close(next)
				if rest, err := io.ReadAll(r); len(rest) > 0 || err != nil {
					t.Errorf("after the end: %q, %v", rest, err)
				}
			})
		})
	}
}

// TestEncodedBodiesInARow sends every event as a separate body.
func TestEncodedBodiesInARow(t *testing.T) {
	for _, coding := range []string{"gzip", "zstd"} {
		synctest.Test(t, func(t *testing.T) {
			in, out := io.Pipe()
			r, _, err := decoded(in, []string{coding})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for range 3 {
				go out.Write(encoded(t, []string{coding}, textEvent))
				got := make([]byte, len(textEvent))
				if _, err := io.ReadFull(r, got); err != nil || string(got) != textEvent {
					t.Fatalf("%s: got %q, %v", coding, got, err)
				}
			}
			go out.Close()
			if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
				t.Errorf("%s: %d bytes and %v at the end", coding, n, err)
			}
		})
	}
	for _, coding := range []string{"deflate", "br"} {
		twice := bytes.Repeat(encoded(t, []string{coding}, textEvent), 2)
		if got, err := decodeAll(t, coding, bytes.NewReader(twice)); got != textEvent || !errors.Is(err, verdict.ErrUnusable) {
			t.Errorf("%s: got %q, %v", coding, got, err)
		}
	}
}

func TestTruncationIsNeverACleanEnd(t *testing.T) {
	errCut := errors.New("connection reset")
	for _, codings := range allCodings() {
		sent := encoded(t, codings, startEvent, textEvent, stopEvent)
		for n := range len(sent) {
			got, err := decodeAll(t, header(codings), bytes.NewReader(sent[:n]))
			if !errors.Is(err, io.ErrUnexpectedEOF) || !errors.Is(err, verdict.ErrUnusable) {
				t.Fatalf("%v: %d of %d bytes end with %v", codings, n, len(sent), err)
			}
			if !strings.HasPrefix(startEvent+textEvent+stopEvent, got) {
				t.Fatalf("%v: %d of %d bytes give %q", codings, n, len(sent), got)
			}
		}
		for _, cut := range []error{errCut, io.ErrUnexpectedEOF} {
			for n := range len(sent) + 1 {
				body := io.MultiReader(bytes.NewReader(sent[:n]), iotest.ErrReader(cut))
				if _, err := decodeAll(t, header(codings), body); err != cut {
					t.Fatalf("%v: a body that fails after %d of %d bytes ends with %v", codings, n, len(sent), err)
				}
			}
		}
	}
}

func TestCorruptDataIsUnusable(t *testing.T) {
	f := func(name, encoding string, body []byte) {
		t.Helper()
		if _, err := decodeAll(t, encoding, bytes.NewReader(body)); !errors.Is(err, verdict.ErrUnusable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, codings := range allCodings() {
		f("a page as "+header(codings), header(codings), []byte("<html><body>Bad gateway</body></html>"))
		f("text after "+header(codings), header(codings), append(encoded(t, codings, wholeReply), "more"...))
	}
	for _, coding := range []string{"gzip", "deflate", "zstd"} { // those with a checksum
		body := encoded(t, []string{coding}, wholeReply)
		tail := len(body) - 4
		if coding == "gzip" {
			tail = len(body) - 8
		}
		body[tail] ^= 1
		f("wrong checksum in "+coding, coding, body)
	}
	f("gzip as br", "br", encoded(t, []string{"gzip"}, wholeReply))
	f("br as zstd", "zstd", encoded(t, []string{"br"}, wholeReply))
}

func TestWindowsAreBounded(t *testing.T) {
	large := strings.Repeat(wholeReply, 1_000)
	frame := func(window int) []byte {
		var buf bytes.Buffer
		z := zstdEncoder(t, &buf, zstd.WithWindowSize(window))
		// Without the flush, the frame would be one segment without a window.
		if _, err := io.WriteString(z, large); err != nil || z.Flush() != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return buf.Bytes()
	}
	if got, err := decodeAll(t, "zstd", bytes.NewReader(frame(maxWindow))); got != large || err != nil {
		t.Errorf("zstd with 8 MB: %d bytes, %v", len(got), err)
	}
	f := func(name, encoding string, body []byte) {
		t.Helper()
		if got, err := decodeAll(t, encoding, bytes.NewReader(body)); got != "" || !errors.Is(err, verdict.ErrUnusable) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	f("zstd with 16 MB", "zstd", frame(2*maxWindow))
	f("zstd in one segment of 16 MB", "zstd", []byte("\x28\xb5\x2f\xfd\xa0\x00\x00\x00\x01\x02\x00\x00a"))
	var wide bytes.Buffer
	z := brotli.NewWriterOptions(&wide, brotli.WriterOptions{Quality: 1, LGWin: 24})
	if _, err := io.WriteString(z, wholeReply); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	f("br with 16 MB", "br", wide.Bytes())
}

// closes counts how often a body was closed.
type closes struct {
	io.Reader
	n int
}

func (c *closes) Close() error { c.n++; return nil }

func TestDecodedClosesTheBody(t *testing.T) {
	for _, codings := range allCodings() {
		body := &closes{Reader: bytes.NewReader(encoded(t, codings, wholeReply))}
		r, _, err := decoded(body, []string{header(codings)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil || body.n != 1 {
			t.Errorf("%v: closed %d times, %v", codings, body.n, err)
		}
		if n, err := r.Read(make([]byte, 10)); n != 0 || err == nil {
			t.Errorf("%v: %d bytes, %v after Close", codings, n, err)
		}
	}
}

func FuzzDecodedRoundTrip(f *testing.F) {
	f.Add(byte(0), []byte("event: ping"), []byte{1, 2, 3})
	f.Add(byte(4), bytes.Repeat([]byte("data: {}\n\n"), 100), []byte{200})
	f.Fuzz(func(t *testing.T, which byte, data, cuts []byte) {
		codings := allCodings()[int(which)%len(allCodings())]
		var pieces []string
		rest := string(data)
		for _, c := range cuts[:min(len(cuts), 20)] {
			n := min(int(c), len(rest))
			pieces, rest = append(pieces, rest[:n]), rest[n:]
		}
		sent := encoded(t, codings, append(pieces, rest)...)
		got, err := decodeAll(t, header(codings), iotest.HalfReader(bytes.NewReader(sent)))
		if got != string(data) || err != nil {
			t.Fatalf("%v: got %q, %v, want %q", codings, got, err, data)
		}
	})
}

// FuzzDecodeAnything checks that decoding ends, with an error that wraps verdict.ErrUnusable if
// there is one.
func FuzzDecodeAnything(f *testing.F) {
	for i, codings := range allCodings() {
		f.Add(byte(i), encoded(f, codings, textEvent))
	}
	f.Fuzz(func(t *testing.T, which byte, body []byte) {
		codings := allCodings()[int(which)%len(allCodings())]
		r, _, err := decoded(io.NopCloser(bytes.NewReader(body)), []string{header(codings)})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if _, err := io.Copy(io.Discard, io.LimitReader(r, maxPlainBody)); err != nil && !errors.Is(err, verdict.ErrUnusable) {
			t.Fatalf("%v: %v", codings, err)
		}
	})
}

// FuzzDecodeRequest checks that decoding stays within the limit and the granted memory, and returns
// a refusal for every other problem.
func FuzzDecodeRequest(f *testing.F) {
	for _, codings := range allCodings() {
		f.Add(header(codings), encoded(f, codings, `{"model":"m"}`))
	}
	f.Add("lzma", []byte("x"))
	f.Add("gzip", []byte(`{"model":"m"}`))
	f.Fuzz(func(t *testing.T, encoding string, body []byte) {
		const most = 1 << 20
		granted := int64(0)
		text, err := DecodeRequest(body, []string{encoding}, most, func(n int64) bool { granted += n; return granted <= 4*most })
		refusal, refused := errors.AsType[*quota.Refusal](err)
		switch {
		case err == nil && (len(text) > most || int64(cap(text)) > granted):
			t.Fatalf("%d bytes, %d granted", len(text), granted)
		case err != nil && (!refused || refusal.Message == "" || refusal.Status != 400 && refusal.Status != 415):
			t.Fatalf("%v", err)
		}
	})
}
