//go:build linux && (amd64 || arm64) && !race

package socket

import (
	"os"
	"sync"
	"syscall"
)

// CloseNotifier tells of connections that their other sides end, without a goroutine that reads from each: the kernel tells of all of them
// at one place. The zero value is ready. Safe for concurrent use.
type CloseNotifier struct {
	mu      sync.Mutex
	tried   bool
	fd      int                  // of epoll
	file    *os.File             // around it; nil before the first watch, after Close, and where there can be none
	lastID  int64                // id
	watched map[int64]closeWatch // by id
}

type closeWatch struct {
	c       *Conn
	onClose func(id int64)
}

// oneShot is EPOLLONESHOT: a connection is told of once. Package syscall has it with a sign.
const oneShot = 1 << 30

// Watch has gone called, at most once and by another goroutine, when the other side has ended the connection, or its half of it, whatever
// is still to be read. id names the watch and is not 0. It reports false where nobody can tell.
func (d *CloseNotifier) Watch(c *Conn, gone func(id int64)) (id int64, ok bool) {
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
	d.watched[d.lastID] = closeWatch{c, gone}
	return d.lastID, true
}

// Stop ends a watch. Its function may be running by then, but is not called any more.
func (d *CloseNotifier) Stop(id int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	w, ok := d.watched[id]
	if !ok {
		return
	}
	delete(d.watched, id)
	_ = d.epollCtlLocked(w.c, syscall.EPOLL_CTL_DEL, &syscall.EpollEvent{}) // of a closed connection the kernel has forgotten
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

// control changes what the kernel watches. The caller holds the mutex.
func (d *CloseNotifier) epollCtlLocked(c *Conn, op int, ev *syscall.EpollEvent) error {
	var err error
	if closed := c.raw.Control(func(fd uintptr) { err = syscall.EpollCtl(d.fd, op, int(fd), ev) }); closed != nil {
		return closed
	}
	return err
}

// ready begins to listen to the kernel, once. The caller holds the mutex.
func (d *CloseNotifier) startLocked() bool {
	if d.tried {
		return d.file != nil
	}
	d.tried = true
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return false // without descriptors there are other ways
	}
	if err := syscall.SetNonblock(fd, true); err != nil { // so that Go's poller takes it
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

// listen passes on what the kernel tells, until Close.
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
