package proxy

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"

	"github.com/9bingyin/claude-code-lb/internal/claude"
)

// Upload is a body that is passed on as it comes, for it may be larger than
// memory. It can be sent once: a second attempt is only possible while none of it was read.
type Upload struct {
	// Length in bytes, -1 when the client does not tell.
	Length int64

	from io.Reader // read by one attempt at a time

	mu       sync.Mutex
	begun    bool
	err      error  // with which reading ended, io.EOF aside
	progress func() // told of every read; nil: nobody waits
}

// NewUpload passes on what can be read.
func NewUpload(from io.Reader, length int64) *Upload { return &Upload{from: from, Length: length} }

// Read reads on. Nobody who asks for the upload's state waits for a slow client.
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

// onProgress has every read told from now on; nil ends that. A nil Upload is none.
func (u *Upload) onProgress(progress func()) {
	if u == nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.progress = progress
}

// Close leaves the client's connection alone: a refused attempt closes what it has not read.
func (u *Upload) Close() error { return nil }

// state says whether any of it was read, and what went wrong with it.
func (u *Upload) state() (begun bool, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.begun, u.err
}

// uploadBegun says whether an upload is on its way, so that it cannot be sent anew.
func (x *exchange) uploadBegun() bool {
	if x.req.Upload == nil {
		return false
	}
	begun, _ := x.req.Upload.state()
	return begun
}

// uploadProblem is what went wrong with the client's upload, nil if nothing did.
func (x *exchange) uploadProblem() error {
	if x.req.Upload == nil {
		return nil
	}
	_, err := x.req.Upload.state()
	return err
}

// refuseUpload tells a client that is still there what was wrong with its upload.
func (x *exchange) refuseUpload(err error) {
	status, e := http.StatusBadRequest, claude.Error{Type: claude.ErrInvalidRequest, Message: "The upload broke off: send it again."}
	if _, large := errors.AsType[*http.MaxBytesError](err); large {
		status, e.Type, e.Message = http.StatusRequestEntityTooLarge, claude.ErrTooLarge, "The upload is larger than max_upload_mb of claude-code-lb allows."
	} else if errors.Is(err, os.ErrDeadlineExceeded) {
		status, e.Type, e.Message = http.StatusRequestTimeout, claude.ErrTimeout, "The upload stalled: send it again."
	}
	x.sendError(false, status, 0, e)
}
