package proxy

import (
	"bytes"
	"io"
	"sync"
	"testing"
)

func TestBodyIsReturnedAfterItsLastReader(t *testing.T) {
	var back [][]byte
	b := NewBody([]byte("hello"), func(b []byte) { back = append(back, b) })
	first, second := b.Reader(), b.Reader()
	if got, err := io.ReadAll(first); err != nil || string(got) != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	first.Close()
	first.Close()
	b.Release()
	b.Release()
	if len(back) > 0 {
		t.Fatal("returned while a reader is open")
	}
	half := make([]byte, 2)
	if _, err := io.ReadFull(second, half); err != nil {
		t.Error(err)
	}
	second.Close()
	if len(back) != 1 || string(back[0]) != "hello" {
		t.Errorf("%q", back)
	}
	if _, err := second.Read(half); err == nil {
		t.Error("a closed reader can be read")
	}
	if _, err := b.Reader().Read(half); err == nil {
		t.Error("a released body can be read")
	}
	if b.Len() != 5 || (Body{}).Len() != 0 {
		t.Error("the length changed after the release")
	}
}

// TestBodyIsNotReturnedDuringAReadOfIt reuses the bytes as soon as they are returned, while other
// goroutines read and close.
func TestBodyIsNotReturnedDuringAReadOfIt(t *testing.T) {
	pool := sync.Pool{New: func() any { b := make([]byte, 4096); return &b }}
	var wg sync.WaitGroup
	for n := range 50 {
		wg.Go(func() {
			for range 50 {
				text := *pool.Get().(*[]byte)
				for i := range text {
					text[i] = byte(n)
				}
				b := NewBody(text, func(b []byte) { pool.Put(&b) })
				late := b.Reader()
				wg.Go(func() {
					defer late.Close()
					got := make([]byte, 100)
					for {
						k, err := late.Read(got)
						if !bytes.Equal(got[:k], bytes.Repeat([]byte{byte(n)}, k)) {
							t.Error("a reader got the bytes of another body")
						}
						if err != nil {
							return
						}
					}
				})
				b.Release()
			}
		})
	}
	wg.Wait()
}
