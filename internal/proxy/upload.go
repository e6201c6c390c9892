package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Upload is a body that is streamed upstream, because it may be larger than memory. It can be sent
// once: another attempt is only possible while none of it has been read.
type Upload struct {
	// Length in bytes, -1 if the client did not send one.
	Length int64

	from io.Reader // read by one attempt at a time

	mu       sync.Mutex
	begun    bool
	err      error  // why reading failed; io.EOF is no error
	progress func() // called after every read; may be nil
}

// NewUpload returns an Upload of everything that can be read.
func NewUpload(from io.Reader, length int64) *Upload { return &Upload{from: from, Length: length} }

// Read reads from the client. It holds no lock meanwhile, so that state need not wait for a slow
// client.
func (u *Upload) Read(p []byte) (int, error) {
	if err := u.begin(); err != nil {
		return 0, err
	}
	n, err := u.from.Read(p)
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.progress != nil {
		u.progress()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		u.err = err
	}
	return n, err
}

func (u *Upload) begin() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.begun = true
	return u.err
}

// onProgress sets a function that is called after every read; nil removes it. It does nothing for a
// nil Upload.
func (u *Upload) onProgress(progress func()) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress = progress
}

// Close does nothing. An attempt that ends early closes the body of its request, but the client's
// connection stays.
func (u *Upload) Close() error { return nil }

// state reports whether any of it has been read, and returns why reading failed.
func (u *Upload) state() (begun bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.begun, u.err
}

// uploadBegun reports whether the upload has been read in part, so that it cannot be sent again.
func (x *exchange) uploadBegun() bool {
	if x.req.Upload == nil {
		return false
	}
	begun, _ := x.req.Upload.state()
	return begun
}

// uploadProblem returns why reading the client's upload failed, nil if it did not.
func (x *exchange) uploadProblem() error {
	if x.req.Upload == nil {
		return nil
	}
	_, err := x.req.Upload.state()
	return err
}

// refuseUpload sends an error about a failed upload to a client that is still connected.
func (x *exchange) refuseUpload(err error) {
	status, e := http.StatusBadRequest, claude.Error{Type: claude.ErrInvalidRequest, Message: "The upload broke off: send it again."}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		status, e.Type, e.Message = http.StatusRequestEntityTooLarge, claude.ErrTooLarge, "The upload is larger than max_upload_mb of claude-code-lb allows."
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		status, e.Type, e.Message = http.StatusRequestTimeout, claude.ErrTimeout, "The upload stalled: send it again."
	}
	x.sendError(false, status, 0, e)
}
