package quota

import (
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// many compiles client keys, each with a limit of every kind.
func many(t testing.TB, keys int) (*Book, *Keyring) {
	t.Helper()
	cfg := &config.Config{MaxConcurrency: 1_000_000}
	for i := range keys {
		cfg.AuthKeys = append(cfg.AuthKeys, config.ClientKey{
			Key: config.NewSecret(secretOf(i)), Name: fmt.Sprint("key-", i+1), RPM: 1_000_000_000, TPM: 2_000_000_000, Concurrency: 1000,
			Budget: config.Budget{Day: 1e6, Week: 1e6, Month: 1e6, Total: 1e6},
		})
	}
	b := NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil)
	return b, b.Compile(t.Context(), cfg, time.Now())
}

func secretOf(i int) string { return fmt.Sprint("secret-of-client-", i) }

// serve does what quota does for one request.
func serve(t testing.TB, b *Book, k *Key, e *ledger.Entry) {
	if r := k.Admit("127.0.0.1:1234", time.Now()); r != nil {
		t.Fatal(r)
	}
	pass, err := b.Enter(t.Context(), k, Demand{
		Model: "claude-opus-4-5", Session: "s", Counted: true, Message: true, Input: 1000, Output: 100, Price: cheap,
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Settle(pass, e)
}

func cheap(claude.Usage) ledger.Cost { return ledger.Cost{Sum: 1, Known: true} }

// BenchmarkReserve measures a reservation and its settlement, by the number of client keys.
func BenchmarkReserve(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			book, ring := many(b, keys)
			found := make([]*Key, keys)
			for i := range found {
				found[i] = ring.Find(secretOf(i))
			}
			e, i := spending(0, 10), 0
			b.ReportAllocs()
			for b.Loop() {
				serve(b, book, found[i%keys], e)
				i++
			}
		})
	}
}

// BenchmarkFind measures the look-up of a client key, by the number of keys.
func BenchmarkFind(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			_, ring := many(b, keys)
			secrets := make([]string, keys)
			for i := range secrets {
				secrets[i] = secretOf(i)
			}
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if ring.Find(secrets[i%keys]) == nil {
					b.Fatal("not found")
				}
				i++
			}
		})
	}
}

// TestAReservationDoesNotDependOnTheNumberOfKeys checks the allocations of a reservation.
func TestAReservationDoesNotDependOnTheNumberOfKeys(t *testing.T) {
	const most = 2
	for _, keys := range []int{1, 10_000} {
		book, ring := many(t, keys)
		e, i := spending(0, 10), 0
		n := testing.AllocsPerRun(1000, func() {
			serve(t, book, ring.Find(secretOf(i%min(keys, 100))), e)
			i++
		})
		t.Log(n)
		if n > most {
			t.Errorf("%d keys: %v allocations", keys, n)
		}
	}
}

// TestMemoryOfAClientKey checks that the memory per key does not depend on the number of keys.
func TestMemoryOfAClientKey(t *testing.T) {
	const all = 20_000
	per := func(keys int) float64 { // several books, because the measured heap is not exact to the byte
		rings := make([]*Keyring, all/keys) // each keyring keeps its book alive
		before := memory()
		for i := range rings {
			_, rings[i] = many(t, keys)
		}
		grown := float64(memory()) - float64(before)
		runtime.KeepAlive(rings)
		return grown / all
	}
	few, many := per(1000), per(10_000)
	t.Logf("%.0f bytes per key of 1,000, %.0f of 10,000", few, many)
	if many > 1.5*few || many > 4<<10 {
		t.Errorf("%.0f bytes per key of 1,000, %.0f of 10,000", few, many)
	}
}

// memory returns the bytes in use.
func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
