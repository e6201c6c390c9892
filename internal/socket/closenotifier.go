//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"os"
	"sync"
	"syscall"
)

// CloseNotifier reports when the peers of connections close their side. One epoll descriptor serves
// all connections, so none needs a goroutine that reads. The zero value is ready to use. Safe for
// concurrent use.
type CloseNotifier struct {
	mu      sync.Mutex
	tried   bool
	fd      int      // of epoll
	file    *os.File // wraps fd; nil before the first watch, after Close, and if epoll is not available
	lastID  int64
	watched map[int64]closeWatch // by id
}

type closeWatch struct {
	c       *Conn
	onClose func(id int64)
}

// oneShot is EPOLLONESHOT: a connection is reported once. The constant in package syscall is
// negative.
const oneShot = 1 << 30

// Watch calls onClose, at most once and from another goroutine, when the peer has closed the
// connection or its sending half, even if unread bytes remain. id identifies the watch and is not
// 0. It returns false if the connection cannot be watched.
func (d *CloseNotifier) Watch(c *Conn, onClose func(id int64)) (id int64, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.raw == nil || !d.startLocked() {
		return 0, false
	}
	d.lastID++
	ev := syscall.EpollEvent{Events: syscall.EPOLLRDHUP | oneShot, Fd: int32(d.lastID), Pad: int32(d.lastID >> 32)}
	if d.epollCtlLocked(c, syscall.EPOLL_CTL_ADD, &ev) != nil {
		return 0, false
	}
	d.watched[d.lastID] = closeWatch{c, onClose}
	return d.lastID, true
}

// Stop ends a watch. Its function may still be running when Stop returns, but is not called again.
func (d *CloseNotifier) Stop(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.watched[id]
	if !ok {
		return
	}
	delete(d.watched, id)
	// This fails for a closed connection, which the kernel has already removed.
	_ = d.epollCtlLocked(w.c, syscall.EPOLL_CTL_DEL, &syscall.EpollEvent{})
}

// Close ends all watches.
func (d *CloseNotifier) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.tried, d.watched = true, nil
	if d.file != nil {
		_ = d.file.Close()
		d.file = nil
	}
}

// epollCtlLocked adds or removes a connection. The caller holds the mutex.
func (d *CloseNotifier) epollCtlLocked(c *Conn, op int, ev *syscall.EpollEvent) error {
	var err error
	if closed := c.raw.Control(func(fd uintptr) { err = syscall.EpollCtl(d.fd, op, int(fd), ev) }); closed != nil {
		return closed
	}
	return err
}

// startLocked creates the epoll descriptor on first use, and reports whether there is one. The
// caller holds the mutex.
func (d *CloseNotifier) startLocked() bool {
	if d.tried {
		return d.file != nil
	}
	d.tried = true
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false // for example without descriptors; the caller reads instead
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // Go's poller requires it
		_ = syscall.Close(fd)
		return false
	}
	file := os.NewFile(uintptr(fd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return false
	}
	d.fd, d.file, d.watched = fd, file, map[int64]closeWatch{}
	go d.poll(raw)
	return true
}

// poll waits for events until Close.
func (d *CloseNotifier) poll(raw syscall.RawConn) {
	var events [64]syscall.EpollEvent
	for {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			for {
				got, err := syscall.EpollWait(int(fd), events[:], 0)
				if err == syscall.EINTR {
					continue
				}
				n = max(got, 0)
				return n > 0 || err != nil
			}
		})
		if err != nil || n == 0 {
			return
		}
		for _, ev := range events[:n] {
			d.notify(int64(ev.Pad)<<32 | int64(uint32(ev.Fd)))
		}
	}
}

func (d *CloseNotifier) notify(id int64) {
	d.mu.Lock()
	w, ok := d.watched[id]
	d.mu.Unlock()
	if ok {
		w.onClose(id)
	}
}
