package proxy

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// TestRequestsInFlightAreListed checks that requests are listed with their present server until
// they end.
func TestRequestsInFlightAreListed(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(w http.ResponseWriter, req *http.Request) {
		close(asked)
		<-answer
		whole(w, req)
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.post("/v1/messages", streamBody)
	}()
	<-asked
	live := r.proxy.Live()
	if len(live) != 1 || live[0].Server != "a" || live[0].Model != "claude-test" || live[0].Sent != int64(len(streamBody)) || live[0].Bytes != 0 || live[0].Path != "/v1/messages" {
		t.Errorf("%+v", live)
	}
	close(answer)
	<-done
	if live := r.proxy.Live(); len(live) != 0 {
		t.Errorf("%+v", live)
	}
	latest := r.proxy.Decisions()
	if len(latest) != 1 || latest[0].Entry.Outcome != ledger.Answered || len(latest[0].Trail) != 1 || !strings.HasPrefix(latest[0].Trail[0], "a: answered in ") {
		t.Errorf("%+v", latest)
	}
}

func TestJournalIsLimited(t *testing.T) {
	var p Proxy
	all := make([]inFlight, maxLive+10)
	for i := range all {
		p.journal.begin(&all[i], &ledger.Entry{ID: fmt.Sprint(i)})
	}
	if n := len(p.Live()); n != maxLive {
		t.Errorf("%d requests are listed", n)
	}
	for i := range all {
		p.journal.end(&all[i], finished{entry: ledger.Entry{ID: fmt.Sprint(i)}})
	}
	latest := p.Decisions()
	if len(p.Live()) != 0 || len(latest) != decisions || latest[0].Entry.ID != fmt.Sprint(len(all)-1) || latest[decisions-1].Entry.ID != fmt.Sprint(len(all)-decisions) {
		t.Errorf("%d live, %d decisions, the latest %s", len(p.Live()), len(latest), latest[0].Entry.ID)
	}
}
