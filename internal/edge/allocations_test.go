package edge

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/event"
	"github.com/9bingyin/claude-code-lb/internal/quota"
)

// zeros is a body of zeros.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), z.left))
	z.left -= int64(n)
	return n, nil
}

func (z *zeros) Close() error { return nil }

// upload returns a request with a body of a size, which it declares or does not.
func upload(size int64, told bool) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
	r.Body, r.ContentLength = &zeros{size}, -1
	if told {
		r.ContentLength = size
	}
	return r
}

func sizes() []int64 { return []int64{2 << 10, 64 << 10, 300 << 10, 1 << 20, 8 << 20, 32 << 20} }

// BenchmarkReadBody reads whole bodies of several sizes.
func BenchmarkReadBody(b *testing.B) {
	for _, size := range sizes() {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			var p bodyReader
			r, w := upload(size, true), httptest.NewRecorder()
			b.SetBytes(size)
			b.ReportAllocs()
			for b.Loop() {
				r.Body = &zeros{size}
				l, problem := p.read(w, r, Limits{MaxBody: 64 << 20}, owner{})
				if problem != nil {
					b.Fatal(problem)
				}
				p.release(l)
			}
		})
	}
}

// TestMemoryOfABody: memory grows in proportion to the body. It holds the body itself if the length
// is declared, and at most twice its size otherwise. The allocations on the way are at most as much
// again.
func TestMemoryOfABody(t *testing.T) {
	const fixed = 4 << 10
	for _, told := range []bool{true, false} {
		for _, size := range sizes() {
			var p bodyReader
			r := upload(size, told)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l, problem := p.read(httptest.NewRecorder(), r, Limits{MaxBody: 64 << 20}, owner{})
			runtime.ReadMemStats(&after)
			if problem != nil || int64(len(l.data)) != size {
				t.Fatalf("%d of %d bytes, %v", len(l.data), size, problem)
			}
			held, taken := int64(cap(l.data)), int64(after.TotalAlloc-before.TotalAlloc)
			most := size + fixed
			if !told {
				most = max(2*size, bodyStep) + fixed
			}
			if held > most || taken > 2*most+fixed {
				t.Errorf("%d bytes, length declared: %t: %d held, %d allocated", size, told, held, taken)
			}
		}
	}
}

// BenchmarkAuthenticate finds a client key among several numbers of keys.
func BenchmarkAuthenticate(b *testing.B) {
	for _, keys := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("keys=%d", keys), func(b *testing.B) {
			cfg := &config.Config{Auth: true}
			requests := make([]*http.Request, keys)
			for i := range keys {
				secret := fmt.Sprint("secret-of-client-", i)
				cfg.AuthKeys = append(cfg.AuthKeys, config.ClientKey{Name: fmt.Sprint("key-", i+1), Key: config.NewSecret(secret)})
				requests[i] = &http.Request{Header: http.Header{"Authorization": {"Bearer " + secret}}}
			}
			g := NewGuard(true, quota.NewBook(event.NewBus(slog.New(slog.DiscardHandler)), nil).Compile(b.Context(), cfg, time.Now()))
			i := 0
			b.ReportAllocs()
			for b.Loop() {
				if _, _, ok := g.Authenticate(requests[i%keys]); !ok {
					b.Fatal("not authenticated")
				}
				i++
			}
		})
	}
}
