package e2e

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReloadDuringStream changes the whole configuration while a stream is open: it continues
// unchanged, and new requests use the new one.
func TestReloadDuringStream(t *testing.T) {
	t.Parallel()
	for name, announce := range map[string]func(b *balancer){
		"file": func(*balancer) {},
		"SIGHUP": func(b *balancer) {
			unixOnly(b.t, "there is no SIGHUP")
			b.signal(syscall.SIGHUP)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before, after := newFake(t, "before"), newFake(t, "after")
			before.Script(heldMidText)
			b := start(t, balanced("round_robin", before.entry()))
			s := b.open(t)

			writeConfig(t, b.file, guarded(after.entry()))
			announce(b)
			b.waitLog("configuration reloaded", about("generation", "2"))
			if a := b.ask(true, "X-Api-Key", clientKey); a.flaw(true) != "" || !after.served(a) {
				t.Errorf("on the new configuration: %s", a.flaw(true))
			}
			if a := b.ask(true); a.status != http.StatusUnauthorized {
				t.Errorf("without one of the new client keys: status %d, want 401", a.status)
			}
			before.release()
			s.mustEndWhole()
		})
	}
}

// TestSighupAlone reloads a file that did not change, because its variables may have.
func TestSighupAlone(t *testing.T) {
	t.Parallel()
	unixOnly(t, "there is no SIGHUP")
	f := newFake(t, "a")
	b := start(t, balanced("round_robin", f.entry()))
	b.signal(syscall.SIGHUP)
	b.waitLog("configuration reloaded", about("generation", "2"))
	b.mustServe(true, f)
}

func TestBrokenReload(t *testing.T) {
	t.Parallel()
	old, repaired := newFake(t, "old"), newFake(t, "repaired")
	b := start(t, balanced("round_robin", old.entry()))

	replaceFile(t, b.file, []byte(`{"servers": [{"url": "`+repaired.url+`", "wieght": 2}]`))
	b.waitLog("configuration not reloaded; the previous one stays active", nil)
	if problem := b.waitLog("configuration", nil).text("problem"); !strings.Contains(problem, filepath.Base(b.file)+":1:") {
		t.Errorf("the problem does not tell its place: %s", problem)
	}
	b.mustServe(true, old)

	taken := balanced("round_robin", repaired.entry()).with("listen", strings.TrimPrefix(old.url, "http://"))
	writeConfig(t, b.file, taken)
	b.waitLog("configuration not reloaded; the previous one stays active", func(l line) bool { return strings.Contains(l.text("error"), "listen") })
	b.mustServe(true, old)

	b.reconfigure(balanced("round_robin", repaired.entry()))
	b.mustServe(true, repaired)
}

func TestNewListenAddress(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a")
	f.Script(heldMidText)
	b := start(t, balanced("round_robin", f.entry()))
	former := b.url
	s := b.open(t)

	address := freeAddress(t)
	b.reconfigure(balanced("round_robin", f.entry()).with("listen", address))
	b.url = "http://" + address
	b.mustServe(true, f)
	b.client.CloseIdleConnections()
	if a := send(b.client, newRequest(t, t.Context(), "GET", former+"/health", "")); a.err == nil {
		t.Errorf("the former address still answers: status %d", a.status)
	}
	f.release()
	s.mustEndWhole()
}

// TestReloadKeepsWhatWasLearned checks that a server keeps its state unless its credential changes.
func TestReloadKeepsWhatWasLearned(t *testing.T) {
	t.Parallel()
	first, second := newFake(t, "first", anyCredential), newFake(t, "second")
	first.Script(status(500))
	b := start(t, fallback(first.entry(), second.entry()))
	b.mustServe(true, second)

	b.reconfigure(fallback(first.entry().with("weight", 7).with("name", "renamed"), second.entry().with("weight", 2)))
	if cooling := b.census("cooling"); cooling != 1 {
		t.Errorf("%d servers cooling after a reload that left them what they are, want 1", cooling)
	}
	b.mustServe(true, second)

	b.reconfigure(fallback(first.entry().with("token", "sk-ant-api03-another"), second.entry()))
	b.mustServe(true, first)
}

// TestSecretFileChanges checks that a change of a referenced file causes a reload.
func TestSecretFileChanges(t *testing.T) {
	t.Parallel()
	f := newFake(t, "a", anyCredential)
	secret := filepath.Join(t.TempDir(), "token")
	replaceFile(t, secret, []byte("sk-ant-api03-first\n"))
	b := start(t, balanced("round_robin", f.entry().with("token", "${file:"+filepath.ToSlash(secret)+"}")))
	b.mustServe(false)
	replaceFile(t, secret, []byte("sk-ant-api03-second\n"))
	b.waitLog("configuration reloaded", nil)
	b.mustServe(false)
	replaceFile(t, secret, []byte(" \n")) // as during a rotation
	b.waitLog("configuration not reloaded; the previous one stays active", nil)
	if a := b.ask(false, "X-Api-Key", "sk-of-the-client"); a.flaw(false) != "" {
		t.Error(a.flaw(false))
	}
	for i, want := range []string{"sk-ant-api03-first", "sk-ant-api03-second", "sk-ant-api03-second"} {
		if got := f.Requests()[i].Header.Get("X-Api-Key"); got != want {
			t.Errorf("request %d came with %q, want %q", i, got, want)
		}
	}
}
