package edge

import (
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/proxy"
)

// serveUpload streams a body to the upstream, because files may be larger than memory.
func (h *Handler) serveUpload(w http.ResponseWriter, s *Snapshot, asked proxy.Request) {
	r, limit := asked.HTTP, s.Limits.MaxUpload
	if r.ContentLength > limit {
		h.refuse(w, http.StatusRequestEntityTooLarge, claude.ErrTooLarge, asked.ID,
			fmt.Sprintf("The upload exceeds %d MB: raise max_upload_mb of claude-code-lb.", limit>>20))
		return
	}
	body := &stallReader{http.NewResponseController(w), http.MaxBytesReader(w, r.Body, limit)}
	defer body.stop()
	asked.Upload, asked.Start = proxy.NewUpload(body, r.ContentLength), time.Now()
	h.proxy.Serve(w, asked)
}

// stallReader extends the read deadline with every read, so that an upload may take any time while
// the client keeps sending.
type stallReader struct {
	conn *http.ResponseController
	body io.Reader
}

func (s *stallReader) Read(p []byte) (int, error) {
	// Test servers have no deadlines. Ignore the error.
	_ = s.conn.SetReadDeadline(time.Now().Add(bodyStall))
	n, err := s.body.Read(p)
	if err != nil { // the response may take longer than the client may pause
		s.stop()
	}
	return n, err
}

func (s *stallReader) stop() { _ = s.conn.SetReadDeadline(time.Time{}) }
