package replay

import (
	"bytes"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/claude"
	"github.com/9bingyin/claude-code-lb/internal/ledger"
)

// conversation returns a request that continues a conversation: boundaries are named by number, 100
// bytes apart, 4 bytes per token.
func conversation(at time.Duration, session string, names ...uint64) *ledger.Entry {
	p := &claude.Prompt{Tools: claude.Boundary{Fingerprint: 1, Bytes: 51_200}, System: claude.Boundary{Fingerprint: 2, Bytes: 102_400}}
	for i, name := range names {
		p.Turns = append(p.Turns, claude.Boundary{Fingerprint: name, Bytes: 102_400 + (i+1)*25_600})
	}
	last := p.Last().Bytes
	return &ledger.Entry{
		Start: time.Unix(0, 0).Add(at), Client: "ann", Session: session, Model: "claude-opus-4-5", Prompt: ledger.OutlineOf(p),
		Attempts: []ledger.Attempt{{Served: true, Answer: claude.Message{Started: true, Delta: true, Usage: claude.Usage{InputTokens: int64(last / 4), OutputTokens: 9}}}},
	}
}

func sequence(entries ...*ledger.Entry) func() iter.Seq2[*ledger.Entry, error] {
	return func() iter.Seq2[*ledger.Entry, error] {
		return func(yield func(*ledger.Entry, error) bool) {
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

func TestExportKeepsSharedPrefixes(t *testing.T) {
	var out bytes.Buffer
	unknown := conversation(3*time.Second, "s", 10, 11)
	unknown.Attempts = nil
	n, err := Export(&out, sequence(
		conversation(time.Second, "s", 10, 11),
		conversation(2*time.Second, "s", 10, 11, 12, 13),
		unknown,
		conversation(4*time.Second, "other", 20),
	))
	if err != nil || n != 3 {
		t.Fatalf("%d, %v", n, err)
	}
	want := `{"trace":"claude-code-lb","block":64}
{"t":0,"s":0,"m":"claude-opus-4-5","in":38400,"out":9,"tp":200,"sp":400,"b":[[0,600]]}
{"t":1,"s":0,"m":"claude-opus-4-5","in":51200,"out":9,"tp":200,"sp":400,"b":[[0,800]]}
{"t":3,"s":1,"m":"claude-opus-4-5","in":32000,"out":9,"tp":200,"sp":400,"b":[[0,400],[800,100]]}
`
	if out.String() != want {
		t.Errorf("%s", out.String())
	}
	trace, err := Read(&out)
	if err != nil || trace.Requests() != 3 {
		t.Errorf("%v", err)
	}
}

// TestExportLongConversation exports turns of which only the last boundaries are known.
func TestExportLongConversation(t *testing.T) {
	var names []uint64
	for i := range uint64(40) {
		names = append(names, 100+i)
	}
	var out bytes.Buffer
	if _, err := Export(&out, sequence(conversation(0, "s", names...), conversation(time.Second, "s", append(names, 777)...))); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[1], `"b":[[0,4400]]}`) || !strings.HasSuffix(lines[2], `"b":[[0,4500]]}`) {
		t.Errorf("%s", out.String())
	}
}

func TestExportEmpty(t *testing.T) {
	if _, err := Export(new(bytes.Buffer), sequence()); !errors.Is(err, ErrNothing) {
		t.Error(err)
	}
}
