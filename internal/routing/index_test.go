package routing

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

func TestTheIndexIsBounded(t *testing.T) {
	const bytes = 1 << 20
	x := NewIndex(bytes, 1)
	for i := range 4 * bytes / entryBytes {
		now := t0.Add(time.Duration(i) * time.Millisecond)
		x.put(rand.Uint64(), holder{domain: 1, expires: now.Add(shortTTL).UnixNano()}, now)
	}
	if n := x.Len(); n > bytes/entryBytes {
		t.Errorf("%d prefixes remembered in %d bytes", n, bytes)
	}
	later := t0.Add(time.Hour)
	for i := range uint64(shards) {
		x.put(i, holder{domain: 1, expires: later.Add(shortTTL).UnixNano()}, later)
	}
	if n := x.Len(); n != shards {
		t.Errorf("%d prefixes remembered when all but %d have expired", n, shards)
	}
}

func TestHolders(t *testing.T) {
	x := NewIndex(1<<20, 1)
	at := func(s int) int64 { return t0.Add(time.Duration(s) * time.Second).UnixNano() }
	f := func(now int, want ...uint64) {
		t.Helper()
		var got []uint64
		for _, h := range x.find(7, at(now), nil) {
			got = append(got, h.domain)
		}
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] || len(got) > 1 && got[1] != want[1] {
			t.Errorf("after %d s: %v, want %v", now, got, want)
		}
	}
	x.join(7, holder{domain: 9, expires: at(90)}, t0) // no account holds it, so it is not recorded
	f(0)
	x.put(7, holder{domain: 1, expires: at(10), tokens: 5}, t0)
	x.put(7, holder{domain: 2, expires: at(20), tokens: 5}, t0)
	f(5, 1, 2)
	x.put(7, holder{domain: 1, expires: at(5), tokens: 5}, t0) // never shorter
	f(9, 1, 2)
	f(10, 2)
	x.put(7, holder{domain: 2, expires: at(99), pending: true}, t0) // it stays readable
	if h := x.find(7, at(15), nil); len(h) != 1 || h[0].pending {
		t.Errorf("%+v", h)
	}
	x.join(7, holder{domain: 3, expires: at(30)}, t0.Add(25*time.Second))
	f(26, 3)
	x.replace(7, holder{domain: 4, expires: at(30)}, t0)
	f(1, 4)
	f(30)
}

func TestRatiosFollowWhatAnswersReport(t *testing.T) {
	x := NewIndex(1<<20, 1)
	if r := x.ratios.of("m", usualRatio); r != usualRatio {
		t.Errorf("%v", r)
	}
	x.ratios.learn("m", 0.5)
	if r := x.ratios.of("m", usualRatio); r != 0.5 {
		t.Errorf("%v", r)
	}
	for range 100 {
		x.ratios.learn("m", 0.3)
	}
	if r := x.ratios.of("m", usualRatio); r < 0.299 || r > 0.301 {
		t.Errorf("%v", r)
	}
}

func TestSnapshot(t *testing.T) {
	x := NewIndex(1<<20, 42)
	x.ratios.learn("claude-opus-5", 0.31)
	x.put(1, holder{domain: 10, expires: t0.Add(time.Minute).UnixNano(), tokens: 1000}, t0)
	x.put(1, holder{domain: 11, expires: t0.Add(time.Hour).UnixNano(), tokens: 1000}, t0)
	x.put(2, holder{domain: 10, expires: t0.Add(time.Second).UnixNano(), tokens: 1000}, t0)
	x.put(3, holder{domain: 10, expires: t0.Add(time.Minute).UnixNano(), pending: true}, t0)
	var saved bytes.Buffer
	if err := x.Save(&saved, t0); err != nil {
		t.Fatal(err)
	}
	later := t0.Add(10 * time.Second)
	y := NewIndex(1<<20, 7)
	if err := y.Load(bytes.NewReader(saved.Bytes()), later); err != nil {
		t.Fatal(err)
	}
	if y.Seed() != 42 || y.Len() != 1 || y.ratios.of("claude-opus-5", 1) != 0.31 {
		t.Errorf("seed %d, %d prefixes, ratio %v", y.Seed(), y.Len(), y.ratios.of("claude-opus-5", 1))
	}
	if h := y.find(1, later.UnixNano(), nil); len(h) != 2 || h[0].tokens != 1000 {
		t.Errorf("%+v", h)
	}
	whole := saved.Bytes()
	for i := range whole {
		z := NewIndex(1<<20, 7)
		damaged := bytes.Clone(whole)
		damaged[i] ^= 0x10
		if err := z.Load(bytes.NewReader(damaged), later); !errors.Is(err, ErrSnapshot) || z.Len() != 0 || z.Seed() != 7 {
			t.Fatalf("with byte %d of %d changed: %v, %d prefixes", i, len(whole), err, z.Len())
		}
		if err := z.Load(bytes.NewReader(whole[:i]), later); !errors.Is(err, ErrSnapshot) {
			t.Fatalf("cut after %d of %d bytes: %v", i, len(whole), err)
		}
	}
}

func FuzzLoadSnapshot(f *testing.F) {
	var saved bytes.Buffer
	x := NewIndex(1<<20, 42)
	x.put(1, holder{domain: 10, expires: t0.Add(time.Minute).UnixNano(), tokens: 1000}, t0)
	if err := x.Save(&saved, t0); err != nil {
		f.Fatal(err)
	}
	f.Add(saved.Bytes())
	f.Add([]byte(snapshotMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		x := NewIndex(1<<20, 7)
		if err := x.Load(bytes.NewReader(b), t0); err != nil && (x.Len() != 0 || x.Seed() != 7) {
			t.Errorf("%v, and the index is changed", err)
		}
	})
}
