package e2e

import (
	"net"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// drained starts a balancer with an open stream and sends it a signal.
func drained(t *testing.T, f *fake, s os.Signal, cfg object) (*balancer, *openStream) {
	t.Helper()
	unixOnly(t, "processes cannot be sent SIGTERM")
	f.Script(heldMidText)
	b := start(t, cfg)
	stream := b.open(t)
	b.signal(s)
	b.waitLog("draining: no new requests, open ones may finish", about("open_requests", "1"))
	eventually(t, "new connections are refused", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	return b, stream
}

func TestDrain(t *testing.T) {
	t.Parallel()
	for _, s := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			f := newFake(t, "a")
			b, stream := drained(t, f, s, balanced("round_robin", f.entry()))
			f.release()
			stream.mustEndWhole()
			if status := b.exitStatus(); status != 0 {
				t.Errorf("exit status %d, want 0", status)
			}
			if b.log.count("statistics") != 1 || b.log.count("stopped") != 1 {
				t.Error("no statistics at the end")
			}
		})
	}
}

func TestSecondSignal(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b, stream := drained(t, f, syscall.SIGTERM, balanced("round_robin", f.entry()).with("drain_timeout", "10m"))
	b.signal(syscall.SIGTERM)
	stream.rest().mustBreak(t)
	if status := b.exitStatus(); status != 1 {
		t.Errorf("exit status %d after breaking a stream off, want 1", status)
	}
	if out := b.log.count("server out"); out != 0 {
		t.Error("the balancer's own end was charged to the upstream")
	}
}

func TestDrainTimeout(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	b, stream := drained(t, f, syscall.SIGTERM, balanced("round_robin", f.entry()).with("drain_timeout", "300ms"))
	stream.rest().mustBreak(t)
	if status := b.exitStatus(); status != 1 {
		t.Errorf("exit status %d after breaking a stream off, want 1", status)
	}
}

// TestSecondSignalBeforeTheAnswer checks that waiting clients get an error.
func TestSecondSignalBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	unixOnly(t, "processes cannot be sent SIGTERM")
	f := newFake(t, "a")
	f.Script(heldBeforeHead)
	b := start(t, balanced("round_robin", f.entry()))
	answers := make(chan answer, 1)
	go func() { answers <- b.ask(false) }()
	eventually(t, "the request arrives", func() bool { return f.count() == 1 })
	b.signal(syscall.SIGTERM)
	b.waitLog("draining: no new requests, open ones may finish", nil)
	b.signal(syscall.SIGTERM)
	(<-answers).failure(t, 503, claude.ErrAPI)
	if status := b.exitStatus(); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
}
