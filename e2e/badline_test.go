package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"
)

// lineFault forwards a response to the client over a faulty connection. The connection ends when it
// returns.
type lineFault func(client *net.TCPConn, response io.Reader)

// late delays every part of the response.
func late(base, jitter time.Duration) lineFault {
	return func(client *net.TCPConn, response io.Reader) {
		inPieces(response, 32<<10, func(piece []byte) error {
			time.Sleep(base - jitter + rand.N(2*jitter+1))
			_, err := client.Write(piece)
			return err
		})
	}
}

// narrow limits the rate of the response.
func narrow(bytesPerMillisecond int) lineFault {
	return func(client *net.TCPConn, response io.Reader) {
		inPieces(response, 100*bytesPerMillisecond, func(piece []byte) error {
			time.Sleep(time.Duration(len(piece)/bytesPerMillisecond) * time.Millisecond)
			_, err := client.Write(piece)
			return err
		})
	}
}

// sliced writes the response in many small parts, with pauses.
func sliced(average, variation int, pause time.Duration) lineFault {
	return func(client *net.TCPConn, response io.Reader) {
		inPieces(response, 32<<10, func(piece []byte) error {
			for len(piece) > 0 {
				n := min(len(piece), average-variation+rand.N(2*variation+1))
				if _, err := client.Write(piece[:n]); err != nil {
					return err
				}
				piece = piece[n:]
				time.Sleep(pause)
			}
			return nil
		})
	}
}

// slowClose forwards everything and keeps the connection open for a while after the end.
func slowClose(delay time.Duration) lineFault {
	return func(client *net.TCPConn, response io.Reader) {
		io.Copy(client, response)
		time.Sleep(delay)
	}
}

// reset forwards nothing and resets the connection.
func reset(after time.Duration) lineFault {
	return func(client *net.TCPConn, _ io.Reader) {
		client.SetLinger(0)
		time.Sleep(after)
	}
}

// closed forwards nothing and closes the connection.
func closed(after time.Duration) lineFault {
	return func(*net.TCPConn, io.Reader) { time.Sleep(after) }
}

// mute forwards nothing until one side closes the connection.
func mute(_ *net.TCPConn, response io.Reader) { io.Copy(io.Discard, response) }

// cut closes the connection after a number of bytes.
func cut(bytes int64) lineFault {
	return func(client *net.TCPConn, response io.Reader) { io.CopyN(client, response, bytes) }
}

// inPieces calls pass with each read, until the end or an error.
func inPieces(r io.Reader, size int, pass func(piece []byte) error) {
	buf := make([]byte, size)
	for {
		n, err := r.Read(buf)
		if n > 0 && pass(buf[:n]) != nil || err != nil {
			return
		}
	}
}

// behindBadLine returns the configuration of a site whose responses pass the fault that next
// returns for each connection.
func behindBadLine(t *testing.T, s *site, next func() lineFault) object {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var lines sync.WaitGroup
	lines.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			fault := next()
			lines.Go(func() { badLine(client.(*net.TCPConn), s.address, fault) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.down()
		lines.Wait()
	})
	return s.entry().with("url", "http://"+l.Addr().String())
}

// badLine connects a client with a server until one of them or the fault ends the connection.
func badLine(client *net.TCPConn, server string, fault lineFault) {
	defer client.Close()
	upstream, err := net.Dial("tcp", server)
	if err != nil {
		return
	}
	var requests sync.WaitGroup
	requests.Go(func() {
		io.Copy(upstream, client)
		upstream.Close()
	})
	fault(client, upstream)
	client.Close()
	upstream.Close()
	requests.Wait()
}

// undeterred returns a configuration that keeps trying a first server that fails.
func undeterred(first, second object) object {
	return fallback(first, second).
		with("breaker", object{"consecutive": 1000, "percent": 100, "minimum": 1000}).with("retry_budget_percent", 100)
}

func TestBadLines(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		fault  lineFault
		passes bool // responses arrive
	}{
		{"latency", late(50*time.Millisecond, 40*time.Millisecond), true},
		{"too much latency", late(600*time.Millisecond, 0), false},
		{"bandwidth", narrow(100), true},
		{"slow close", slowClose(200 * time.Millisecond), true},
		{"reset", reset(0), false},
		{"reset after a while", reset(100 * time.Millisecond), false},
		{"nothing for a while, then the end", closed(100 * time.Millisecond), false},
		{"nothing", mute, false},
		{"slices", sliced(24, 12, 10*time.Microsecond), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			first, second := newSite(t, "first"), newSite(t, "second")
			cfg := undeterred(behindBadLine(t, first, func() lineFault { return test.fault }), second.entry())
			server, spared := first, second
			if !test.passes {
				server, spared, cfg = second, nil, cfg.with("timeouts", impatient)
			}
			b := start(t, cfg)
			for i := range 6 {
				a := b.mustServe(i%2 == 0, server.fake)
				mustBeWhole(t, a, server)
			}
			if spared != nil && spared.count() > 0 {
				t.Errorf("%d requests reached the second server", spared.count())
			}
		})
	}
}

// mustBeWhole compares a response with what the server sent.
func mustBeWhole(t *testing.T, a answer, server *site) {
	t.Helper()
	if sent, _ := server.take(a.header.Get("Request-Id")); !bytes.Equal(a.body, sent) {
		t.Errorf("%s sent\n%s\nand this arrived:\n%s", server.name, sent, a.body)
	}
}

// TestCutLines cuts the first server's connection after more and more bytes: a response that has
// begun ends with an error, and the second server responds to all other requests.
func TestCutLines(t *testing.T) {
	t.Parallel()
	for _, streams := range []bool{true, false} {
		t.Run(fmt.Sprintf("stream=%t", streams), func(t *testing.T) {
			t.Parallel()
			const step = 97
			limits := make(chan int64, 1)
			first, second := newSite(t, "first"), newSite(t, "second")
			b := start(t, undeterred(behindBadLine(t, first, func() lineFault { return cut(<-limits) }), second.entry()))
			hidden, broken := 0, 0
			for limit := int64(1); ; limit += step {
				limits <- limit
				a := b.ask(streams)
				if first.served(a) && a.flaw(streams) == "" {
					mustBeWhole(t, a, first)
					break
				}
				if second.served(a) {
					mustBeWhole(t, a, second)
					hidden++
					continue
				}
				broken++
				a.mustBreak(t)
				mustBeBeginning(t, a, first)
			}
			if hidden == 0 || (broken > 0) != streams {
				t.Errorf("%d cuts hidden and %d reported", hidden, broken)
			}
		})
	}
}

// mustBeBeginning compares a stream that broke off after its first content with what the server
// sent.
func mustBeBeginning(t *testing.T, a answer, server *site) {
	t.Helper()
	if !slices.Contains(eventNames(a.body), "content_block_start") {
		t.Errorf("broken off before the first content: %s", a.body)
	}
	if sent, _ := server.take(a.header.Get("Request-Id")); !bytes.HasPrefix(sent, withoutError(a.body)) {
		t.Errorf("%s sent\n%s\nand this arrived:\n%s", server.name, sent, a.body)
	}
}
