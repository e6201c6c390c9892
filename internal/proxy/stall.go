package proxy

import (
	"net/http"
	"time"
)

// writeLimit is how long a client may take to accept one write before it counts as gone.
const writeLimit = 5 * time.Minute

// stall bounds how long a client may refuse to take what is being written, whatever happens in between: the deadline
// of a stream of HTTP/2 would end it even while there is nothing to write. The zero value is ready.
type stall struct {
	timer *time.Timer
}

// begin starts the clock for one write, and end stops it. They are called in turn.
func (s *stall) begin(w http.ResponseWriter) {
	if s.timer != nil {
		s.timer.Reset(writeLimit)
		return
	}
	s.timer = time.AfterFunc(writeLimit, func() {
		// Ends this stream alone, and with it the write.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(-time.Second))
	})
}

func (s *stall) end() { s.timer.Stop() }

// overHTTP2 says whether the client shares a connection with other requests.
func (x *exchange) overHTTP2() bool { return x.req.HTTP.ProtoMajor == 2 }

// limitsWrites says whether the server itself gives up a client that does not take what is written.
func limitsWrites(w http.ResponseWriter) bool {
	limiting, ok := w.(interface{ LimitsWrites() bool })
	return ok && limiting.LimitsWrites()
}
