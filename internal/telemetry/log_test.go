package telemetry

import (
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestJSONLines checks what programs parse: names of levels, durations in seconds.
func TestJSONLines(t *testing.T) {
	var out strings.Builder
	level := new(slog.LevelVar)
	log := NewLogger(&out, FormatAuto, level, func(string) (string, bool) { return "", false })
	f := func(say func(), want string) {
		t.Helper()
		out.Reset()
		say()
		if got := regexp.MustCompile(`^\{"time":"[^"]+",`).ReplaceAllString(out.String(), "{"); got != want {
			t.Errorf("%s want %s", got, want)
		}
	}
	f(func() { log.Info("a", Duration, 1500*time.Millisecond) }, `{"level":"INFO","msg":"a","duration":1.5}`+"\n")
	f(func() { log.Warn("b", Err, "c", Status, 200) }, `{"level":"WARN","msg":"b","error":"c","status":200}`+"\n")
	f(func() { log.Log(t.Context(), slog.LevelError+1, "d", slog.Group("g", Duration, time.Millisecond)) }, `{"level":"ERROR+1","msg":"d","g":{"duration":0.001}}`+"\n")
	f(func() { log.Debug("e") }, "")
	level.Set(slog.LevelDebug)
	f(func() { log.Debug("e") }, `{"level":"DEBUG","msg":"e"}`+"\n")
}
