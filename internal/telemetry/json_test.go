package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// standard is what jsonHandler has to equal.
func standard(w io.Writer, level slog.Leveler) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Value.Kind() {
		case slog.KindDuration:
			a.Value = slog.Float64Value(a.Value.Duration().Seconds())
		case slog.KindAny:
			if level, ok := a.Value.Any().(slog.Level); ok {
				a.Value = slog.StringValue(level.String())
			}
		}
		return a
	}})
}

// same compares the lines of both handlers, derived alike. What slog gets wrong has only to be right.
func same(t *testing.T, derive func(slog.Handler) slog.Handler, r slog.Record) {
	t.Helper()
	var want, got bytes.Buffer
	if err := derive(standard(&want, slog.LevelDebug)).Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if err := derive(newJSONHandler(&got, slog.LevelDebug)).Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(got.Bytes()) {
		t.Errorf("no JSON: %s", &got)
	}
	if json.Valid(want.Bytes()) && !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("\n     %s want %s", &got, &want)
	}
}

func record(attrs ...slog.Attr) slog.Record {
	r := slog.NewRecord(time.Date(2026, 1, 2, 3, 4, 5, 60_000, time.FixedZone("", 5400)), slog.LevelInfo, "said", 0)
	r.AddAttrs(attrs...)
	return r
}

type (
	text     struct{ s string } // marshals as text
	broken   struct{ how any }  // panics or fails when marshalled
	pointer  struct{ s string } // cannot be nil
	listed   []slog.Attr        // becomes a group
	both     struct{ error }    // an error with a JSON of its own
	speaking struct{ N int }    // a Stringer
)

func (t text) MarshalText() ([]byte, error) { return []byte(t.s), nil }
func (p *pointer) Error() string            { return p.s }
func (l listed) LogValue() slog.Value       { return slog.GroupValue(l...) }
func (both) MarshalJSON() ([]byte, error)   { return []byte(` {"a": "<&>"} `), nil }
func (speaking) String() string             { return "spoken" }
func (b broken) MarshalJSON() ([]byte, error) {
	if err, ok := b.how.(error); ok {
		return nil, err
	}
	panic(b.how)
}

// unusual are strings that cannot all stand as they are.
func unusual() []string {
	var all []string
	for _, special := range []string{`"`, `\`, "\n", "\r", "\t", "\b", "\x00", "\x1f", " ", "\x7f", "<&>'", "ä", "…", "🙂", "\u2028", "\u2029", "\ufffd", "\xff", "\xe2\x80", "\xed\xa0\x80"} {
		for _, before := range []string{"", "seven77", "and longer than two words"} {
			all = append(all, before+special, special+before, before+special+before)
		}
	}
	return all
}

// values are one of each that something might be made of.
func values() []any {
	var nobody *pointer
	when := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	all := []any{
		nil, true, false, 0, 1, -1, math.MinInt64, math.MaxInt64, uint64(math.MaxUint64), uint8(3), float32(0.1),
		when, when.Local(), when.Add(time.Nanosecond), when.Add(100 * time.Millisecond), time.Time{}, time.Now(), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(1600, 1, 1, 0, 0, 0, 1, time.UTC),
		time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
		errors.New("err \"or\"\n"), fmt.Errorf("in %w", &pointer{"another"}), both{errors.New("unseen")}, nobody, &pointer{"here"}, (*text)(nil), (*time.Time)(nil), (*speaking)(nil),
		slog.LevelWarn, slog.LevelError + 3, new(slog.LevelVar), slog.KindString, slog.StringValue("value"), slog.AnyValue(slog.LevelInfo),
		&slog.Source{}, (*slog.Source)(nil), &slog.Source{Function: "f", File: "<file>", Line: 3}, &slog.Source{Line: 3}, slog.Source{Line: 3},
		text{"text <&> \u2028"}, map[text]int{{"b"}: 1, {"a"}: 2}, broken{"panics"}, broken{errors.New("fails")}, broken{how: nobody}, &broken{3}, (*broken)(nil),
		speaking{3}, &speaking{4}, []byte("bytes"), []byte(nil), json.RawMessage(`{"a": [1, 2 ]}`), json.RawMessage(`{`), json.Number("1.50"), []string{"<a>", "\xff", "b"}, [2]bool{true},
		map[string]any{"b": 1.0, "a": []any{nil, "x", time.Minute}}, struct {
			A int `json:"a,omitempty"`
			B any
			c int
		}{B: []int{1}, c: 2}, make(chan int), func() {}, complex(1, 2), netip.MustParseAddr("::1"),
		listed{}, listed{slog.Int("a", 1), slog.Any("b", listed{slog.Duration("c", time.Second)})}, []slog.Attr{slog.Int("a", 1)}, []slog.Attr{},
		Listing(func(add func(slog.Attr)) {
			add(slog.Int("a", 1))
			add(slog.Group("g", "b", 2))
			add(slog.Duration("c", 3))
		}),
	}
	for _, f := range []float64{0, math.Copysign(0, -1), 0.1, 0.29, 1, 1.005, 1.1, 2.675, 4.35, 100, 123.456, 1e-3, 1e-6, 9.99e-7, 1e-7, 5e-324, 1e11 + 0.001, 1e12, 1e12 - 0.001, 999999999999.9994, 2e13 + 0.01171875, 1e15, 1e20, 1e21, 1e22, 123456789e15,
		1.0 / 3, math.Pi * 1e10, math.MaxFloat64, math.Inf(1), math.NaN(), 0.1 + 0.2, 0.0005, 0.0004999, 0.9995} {
		all = append(all, f, -f)
	}
	for _, d := range []time.Duration{0, 1, 999, time.Microsecond, time.Millisecond, 10 * time.Millisecond, 100 * time.Millisecond, 1501 * time.Millisecond, 1999 * time.Millisecond, time.Second, time.Minute + time.Nanosecond, math.MaxInt64, math.MinInt64} {
		all = append(all, d, -d)
	}
	return all
}

// TestJSONValues writes everything there is, wherever it can stand.
func TestJSONValues(t *testing.T) {
	places := map[string]func(slog.Handler) slog.Handler{
		"alone":   func(h slog.Handler) slog.Handler { return h },
		"grouped": func(h slog.Handler) slog.Handler { return h.WithGroup("g") },
		"attrs":   func(h slog.Handler) slog.Handler { return h.WithAttrs([]slog.Attr{slog.Int("x", 1)}) },
		"in attrs": func(h slog.Handler) slog.Handler {
			return h.WithGroup("g").WithAttrs([]slog.Attr{slog.Int("x", 1)}).WithGroup("h")
		},
	}
	var attrs []slog.Attr
	for _, v := range values() {
		attrs = append(attrs, slog.Any("k", v), slog.Any("", v))
	}
	for _, s := range unusual() {
		attrs = append(attrs, slog.String("k", s), slog.Int(s, 1), slog.Group(s, "a", 1))
	}
	for place, derive := range places {
		t.Run(place, func(t *testing.T) {
			for _, a := range attrs {
				same(t, derive, record(a))
				same(t, derive, record(slog.String("before", ""), a, slog.String("after", "")))
				same(t, derive, record(slog.GroupAttrs("in", a, slog.Int("after", 1)), slog.GroupAttrs("", a)))
				same(t, func(h slog.Handler) slog.Handler { return derive(h).WithAttrs([]slog.Attr{a}) }, record())
				same(t, func(h slog.Handler) slog.Handler { return derive(h).WithAttrs([]slog.Attr{a}) }, record(a))
			}
		})
	}
}

// TestJSONGroups leaves out those that are empty, as far as slog does.
func TestJSONGroups(t *testing.T) {
	a, b, none := slog.Int("a", 1), slog.Int("b", 2), slog.Attr{}
	empty, deep := slog.Group("empty"), slog.Group("g", slog.Group("h"), none)
	late := slog.Any("late", listed{}) // found out to be empty only when it is written
	with := func(attrs ...slog.Attr) func(slog.Handler) slog.Handler {
		return func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) }
	}
	in := func(name string) func(slog.Handler) slog.Handler {
		return func(h slog.Handler) slog.Handler { return h.WithGroup(name) }
	}
	records := []slog.Record{record(), record(a), record(none), record(late), record(deep), record(deep, a), record(a, deep, b), record(slog.GroupAttrs("o", deep, late), b),
		record(slog.GroupAttrs("", none, a, deep, b)), record(late, a), record(slog.GroupAttrs("o", late))}
	for _, steps := range [][]func(slog.Handler) slog.Handler{
		{}, {in("g")}, {in("")}, {in("g"), in("h")}, {with()}, {with(empty)}, {with(none)}, {with(late)}, {with(deep)}, {with(empty, none)}, {with(empty, a)}, {with(deep, a)},
		{with(a), with(b)}, {with(a), in("g")}, {in("g"), with(a)}, {in("g"), with(none)}, {in("g"), with(late)}, {in("g"), with(late), with(b)}, {in("g"), with(a), in("h"), with(b)},
		{in("g"), in("h"), with(a), in("i"), in("j")}, {in("g"), with(empty), in("h"), with(deep), in("i"), with(late)}, {in("\"<g>\xff"), with(a)},
	} {
		derive := func(h slog.Handler) slog.Handler {
			for _, step := range steps {
				h = step(h)
			}
			return h
		}
		for _, r := range records {
			same(t, derive, r)
		}
	}
	var out bytes.Buffer
	h := newJSONHandler(&out, slog.LevelInfo).WithAttrs([]slog.Attr{slog.String("long", "leaves room behind it in memory")})
	one, other := h.WithAttrs([]slog.Attr{b}).WithGroup("one"), h.WithAttrs([]slog.Attr{slog.Int("c", 3)}).WithGroup("other")
	_ = one.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0))
	_ = other.Handle(t.Context(), slog.NewRecord(time.Time{}, slog.LevelInfo, "m", 0))
	const head = `{"level":"INFO","msg":"m","long":"leaves room behind it in memory",`
	if want := head + `"b":2}` + "\n" + head + `"c":3}` + "\n"; out.String() != want {
		t.Errorf("two of one: %s", &out)
	}
}

// TestJSONHead begins every line.
func TestJSONHead(t *testing.T) {
	alone := func(h slog.Handler) slog.Handler { return h }
	for _, v := range values() {
		if when, ok := v.(time.Time); ok {
			same(t, alone, slog.NewRecord(when, slog.LevelInfo, "m", 0))
		}
	}
	for _, s := range unusual() {
		same(t, alone, slog.NewRecord(time.Now(), slog.LevelWarn, s, 0))
	}
	for level := slog.LevelDebug - 5; level < slog.LevelError+5; level++ {
		same(t, alone, slog.NewRecord(time.Now(), level, "", 1))
	}
}

// FuzzJSON compares lines of all shapes: each byte of a shape is an attribute, or what is done to those before.
func FuzzJSON(f *testing.F) {
	f.Add("message", "key", "text", int64(1500), 1.5, []byte("abcdefghijklmnopqrstuvwxyz"))
	for i, s := range unusual() {
		f.Add(s, s, s, int64(i)*1e6, float64(i)/1000, []byte{byte(i), 14, byte(i) + 1, 15, 16, byte(i) + 2, 17, byte(i)})
	}
	f.Fuzz(func(t *testing.T, message, key, s string, n int64, x float64, shape []byte) {
		var attrs []slog.Attr
		var steps []func(slog.Handler) slog.Handler
		for _, c := range shape {
			switch c % 18 {
			default:
				attrs = append(attrs, shaped(c%18, key, s, n, x))
			case 14:
				attrs = []slog.Attr{slog.GroupAttrs(key, attrs...)}
			case 15:
				attrs = []slog.Attr{slog.Any(s, listed(attrs))}
			case 16:
				steps = append(steps, func(h slog.Handler) slog.Handler { return h.WithGroup(key) })
			case 17:
				fixed := attrs
				steps = append(steps, func(h slog.Handler) slog.Handler { return h.WithAttrs(append([]slog.Attr(nil), fixed...)) })
				attrs = nil
			}
		}
		r := slog.NewRecord(time.Unix(n, n%1e9), slog.Level(n%20), message, 0)
		r.AddAttrs(attrs...)
		same(t, func(h slog.Handler) slog.Handler {
			for _, step := range steps {
				h = step(h)
			}
			return h
		}, r)
	})
}

func shaped(kind byte, key, s string, n int64, x float64) slog.Attr {
	return []slog.Attr{
		slog.String(key, s), slog.Int64(key, n), slog.Uint64(key, uint64(n)), slog.Float64(key, x), slog.Bool(key, n > 0), slog.Duration(key, time.Duration(n)), slog.Time(key, time.Unix(0, n)),
		slog.Any(key, errors.New(s)), slog.Any(key, []string{s}), slog.Any(key, nil), slog.Any("", nil), slog.Float64(key, float64(n)/1000), slog.Any(key, map[string]float64{s: x}), slog.String(s, key),
	}[kind]
}

// oneByOne fails when lines are written at the same time or in parts.
type oneByOne struct {
	t     *testing.T
	mu    sync.Mutex
	lines int
}

func (w *oneByOne) Write(p []byte) (int, error) {
	if !w.mu.TryLock() {
		w.t.Error("two at the same time")
		return 0, nil
	}
	defer w.mu.Unlock()
	w.lines++
	if !json.Valid(p) || p[len(p)-1] != '\n' {
		w.t.Errorf("no line: %s", p)
	}
	return len(p), nil
}

// TestJSONTogether has handlers that stem from one write at the same time, some lines within others.
func TestJSONTogether(t *testing.T) {
	w := &oneByOne{t: t}
	h := newJSONHandler(w, slog.LevelInfo)
	var all sync.WaitGroup
	for i := range 4 {
		own := slog.New(h).With("i", i).WithGroup("g")
		all.Go(func() {
			for range 100 {
				own.Info("outer", "a", speakingUp{own}, "b", bytes.Repeat([]byte("b"), i*10_000))
			}
		})
	}
	all.Wait()
	if w.lines != 800 {
		t.Errorf("%d lines", w.lines)
	}
}

// speakingUp logs while it is logged.
type speakingUp struct{ log *slog.Logger }

func (s speakingUp) MarshalJSON() ([]byte, error) {
	s.log.Info("inner", "c", []int{1})
	return []byte(`"spoken"`), nil
}

// requestLine is a record such as every request leaves.
func requestLine() slog.Record {
	return record(
		slog.String(ID, "req_01K7ABCDEFGHJKMNPQRSTVWXYZ"), slog.String(Client, "ci"), slog.String(Method, "POST"), slog.String(Path, "/v1/messages"),
		slog.String(Model, "claude-sonnet-4-5-20250929"), slog.Bool(Stream, true), slog.String(Server, "primary"), slog.Int(Attempts, 1),
		slog.Int(Status, 200), slog.String(Outcome, "answered"),
		slog.Duration(FirstByte, 812*time.Millisecond), slog.Duration(Duration, 12345*time.Millisecond),
		slog.Int64(TokensIn, 123456), slog.Int64(TokensOut, 789), slog.Int64(CacheRead, 120000), slog.Int64(CacheCreated, 3000),
		slog.String(Cost, "0.057123"), slog.String(Routed, "warm"), slog.String(Session, "0b7c2b0e-6e0f-4d53-9a55-0d6a9a6b8f10"),
		slog.String(UpstreamRequest, "req_011CSHoEeqs5C35K2UUqR7Fy"))
}

// TestJSONNeedsNoMemory for the line of a request. The race detector has a pool lose one thing in four: that is less than one allocation for
// each line, too.
func TestJSONNeedsNoMemory(t *testing.T) {
	h := newJSONHandler(io.Discard, slog.LevelInfo).WithAttrs([]slog.Attr{slog.Int("a", 1)}).WithGroup("g")
	list := Listing(func(add func(slog.Attr)) { add(slog.Int("a", 1)) })
	for what, r := range map[string]slog.Record{
		"request": requestLine(), "listing": record(slog.Any("", list)), "group": record(slog.Group("g", "a", 1.25)), "time": record(slog.Time("t", time.Now())),
	} {
		if n := testing.AllocsPerRun(1000, func() { _ = h.Handle(t.Context(), r) }); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
}

func BenchmarkJSON(b *testing.B) {
	for _, m := range []struct {
		name string
		h    slog.Handler
	}{{"own", newJSONHandler(io.Discard, slog.LevelInfo)}, {"slog", standard(io.Discard, slog.LevelInfo)}} {
		b.Run(m.name, func(b *testing.B) {
			r := requestLine()
			b.ReportAllocs()
			for b.Loop() {
				_ = m.h.Handle(b.Context(), r)
			}
		})
	}
}
