package statusline

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"time"
)

const (
	// maxCacheAge is how long the status of a session is kept.
	maxCacheAge = 7 * 24 * time.Hour
	// staleAge is the age from which a status is marked.
	staleAge = time.Minute
)

// cacheFile returns the file of a session at a balancer. Its name reveals neither.
func cacheFile(dir, at, session string) string {
	if dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(at + "\x00" + session))
	return filepath.Join(dir, "claude-code-lb", "statusline", hex.EncodeToString(sum[:12])+".json")
}

// load returns the latest status and its age.
func load(file string, now time.Time) (body []byte, age time.Duration, ok bool) {
	f, err := os.Open(file)
	if err != nil {
		return nil, 0, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || now.Sub(info.ModTime()) > maxCacheAge {
		return nil, 0, false
	}
	body, err = io.ReadAll(io.LimitReader(f, maxBody))
	return body, max(now.Sub(info.ModTime()), 0), err == nil
}

// save replaces the status of a session in one step, readable by its owner alone. Claude Code may
// end this process at any moment. Errors are ignored: the cache is a convenience.
func save(file string, body []byte, now time.Time) {
	dir := filepath.Dir(file)
	if file == "" || os.MkdirAll(dir, 0o700) != nil {
		return
	}
	_, err := os.Stat(file)
	if os.IsNotExist(err) {
		prune(dir, now)
	}
	f, err := os.CreateTemp(dir, "new-*") // with mode 0600
	if err != nil {
		return
	}
	_, err = f.Write(body)
	if closeErr := f.Close(); err != nil || closeErr != nil || os.Rename(f.Name(), file) != nil {
		_ = os.Remove(f.Name())
	}
}

// prune deletes the files of old sessions, when a new session begins.
func prune(dir string, now time.Time) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > maxCacheAge {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}
