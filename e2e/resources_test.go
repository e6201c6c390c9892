package e2e

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
)

// TestFilesBelongToAccounts uploads, uses and deletes files with the official SDK, in front of
// three accounts, with a restart in between.
func TestFilesBelongToAccounts(t *testing.T) {
	t.Parallel()
	unixOnly(t, "a process cannot be asked to end")
	fakes := newFakes(t, "a", "b", "c")
	b := start(t, balanced("round_robin", fakes[0].entry(), fakes[1].entry(), fakes[2].entry()))
	client := sdkClient(b, clientKey)
	upload := func(client anthropic.Client, content string) string {
		t.Helper()
		file, err := client.Beta.Files.Upload(t.Context(), anthropic.BetaFileUploadParams{
			File: anthropic.File(strings.NewReader(content), "file.txt", "text/plain"),
		})
		if err != nil {
			t.Fatal(err)
		}
		return file.ID
	}
	files := []string{upload(client, "content 0"), upload(client, "content 1")}
	// Created without the balancer.
	files = append(files, upload(anthropic.NewClient(option.WithoutEnvironmentDefaults(), option.WithBaseURL(fakes[1].url), option.WithAPIKey(fakes[1].token)), "content 2"))
	b.client.CloseIdleConnections()
	b.signal(syscall.SIGTERM)
	b.exitStatus()
	b = startFile(t, b.file)
	client = sdkClient(b, clientKey)
	for i, id := range files {
		for range 3 { // for every position of round robin
			res, err := client.Beta.Files.Download(t.Context(), id, anthropic.BetaFileDownloadParams{})
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(res.Body)
			res.Body.Close()
			if string(content) != fmt.Sprint("content ", i) || err != nil {
				t.Errorf("%q, %v", content, err)
			}
		}
		body := fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":%q}}]}]}`, model, id)
		if a := b.do("POST", "/v1/messages", body); a.status != 200 || !fakes[i/2].served(a) {
			t.Errorf("a message about file %d: status %d %s", i, a.status, a.body)
		}
	}
	both := func(first, second string) answer {
		return b.do("POST", "/v1/messages", fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":%q}},{"type":"document","source":{"type":"file","file_id":%q}}]}]}`, model, first, second))
	}
	if a := both(files[0], files[1]); a.status != 200 || !fakes[0].served(a) {
		t.Errorf("two files that one client has uploaded: status %d %s", a.status, a.body)
	}
	if a := both(files[0], files[2]); a.status != 400 || !strings.Contains(string(a.body), "different accounts") {
		t.Errorf("files of two accounts: status %d %s", a.status, a.body)
	}
	list, err := client.Beta.Files.List(t.Context(), anthropic.BetaFileListParams{})
	if err != nil || len(list.Data) != 2 {
		t.Errorf("a list of %d, %v, want both that were uploaded", len(list.Data), err)
	}
	if _, err := client.Beta.Files.Delete(t.Context(), files[0], anthropic.BetaFileDeleteParams{}); err != nil {
		t.Error(err)
	}
	_, err = client.Beta.Files.GetMetadata(t.Context(), files[0], anthropic.BetaFileGetMetadataParams{})
	if e, ok := errors.AsType[*anthropic.Error](err); !ok || e.StatusCode != http.StatusNotFound {
		t.Errorf("after it was deleted: %v", err)
	}
}

// TestBatchesBelongToAccounts does the same for batches: their results come through the balancer.
func TestBatchesBelongToAccounts(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b", "c")
	b := start(t, balanced("random", fakes[0].entry(), fakes[1].entry(), fakes[2].entry()))
	client := sdkClient(b, clientKey)
	for range 4 {
		batch, err := client.Messages.Batches.New(t.Context(), anthropic.MessageBatchNewParams{Requests: []anthropic.MessageBatchNewParamsRequest{{
			CustomID: "first", Params: anthropic.MessageBatchNewParamsRequestParams{Model: model, MaxTokens: 64, Messages: hello},
		}}})
		if err != nil {
			t.Fatal(err)
		}
		for range 4 {
			got, err := client.Messages.Batches.Get(t.Context(), batch.ID, anthropic.MessageBatchGetParams{})
			if err != nil || got.ResultsURL != b.url+"/v1/messages/batches/"+batch.ID+"/results" {
				t.Errorf("%v, results at %q", err, got.ResultsURL)
			}
		}
		results := client.Messages.Batches.ResultsStreaming(t.Context(), batch.ID, anthropic.MessageBatchResultsParams{})
		n := 0
		for results.Next() {
			n++
			if results.Current().CustomID != "first" {
				t.Errorf("%+v", results.Current())
			}
		}
		if results.Err() != nil || n != 1 {
			t.Errorf("%d results, %v", n, results.Err())
		}
		if _, err := client.Messages.Batches.Cancel(t.Context(), batch.ID, anthropic.MessageBatchCancelParams{}); err != nil {
			t.Error(err)
		}
		if _, err := client.Messages.Batches.Delete(t.Context(), batch.ID, anthropic.MessageBatchDeleteParams{}); err != nil {
			t.Error(err)
		}
	}
	if _, err := client.Messages.Batches.List(t.Context(), anthropic.MessageBatchListParams{}); err != nil {
		t.Error(err)
	}
}

func TestSkillsBelongToAccounts(t *testing.T) {
	t.Parallel()
	fakes := newFakes(t, "a", "b")
	b := start(t, balanced("round_robin", fakes[0].entry(), fakes[1].entry()))
	client := sdkClient(b, clientKey)
	for range 2 {
		skill, err := client.Beta.Skills.New(t.Context(), anthropic.BetaSkillNewParams{
			Files: []io.Reader{anthropic.File(strings.NewReader("# A skill"), "skill/SKILL.md", "text/markdown")},
		})
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := client.Beta.Skills.Get(t.Context(), skill.ID, anthropic.BetaSkillGetParams{}); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestALargeUploadIsHeldNowhere forwards more than the balancer's memory limit.
func TestALargeUploadIsHeldNowhere(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the memory of a process is read from /proc")
	}
	const size = 200 << 20
	var got atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		got.Store(n)
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, `{"id":"file_large","type":"file"}`)
		}
	}))
	t.Cleanup(sink.Close)
	b := start(t, object{"servers": []object{{"url": sink.URL, "token": "t"}}, "max_upload_mb": 256})
	res, err := b.client.Post(b.url+"/v1/files", "multipart/form-data; boundary=x", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || got.Load() != size {
		t.Errorf("status %d, %d of %d bytes arrived", res.StatusCode, got.Load(), size)
	}
	batch := newRequest(t, t.Context(), "POST", b.url+"/v1/messages/batches", "")
	batch.Body, batch.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 200<<20)), 200<<20
	if a := send(b.client, batch); a.status != 200 || got.Load() != size {
		t.Errorf("a large batch: status %d, %d bytes arrived", a.status, got.Load())
	}
	if peak := peakMemory(t, b.cmd.Process.Pid); peak > 100<<20 {
		t.Errorf("the balancer took %d MB", peak>>20)
	}
	patient := &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Minute}} // waits for 100 Continue
	defer patient.CloseIdleConnections()
	tooLarge := newRequest(t, t.Context(), "POST", b.url+"/v1/files", "")
	tooLarge.Body, tooLarge.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 300<<20)), 300<<20
	tooLarge.Header.Set("Expect", "100-continue")
	if a := send(patient, tooLarge); a.status != http.StatusRequestEntityTooLarge || !strings.Contains(string(a.body), "max_upload_mb") {
		t.Errorf("one that is too large: status %d %s, %v", a.status, a.body, a.err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// peakMemory returns the peak memory of a process in bytes.
func peakMemory(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

// TestAnUploadIsSentOnce checks that an upload goes to a second server only if none of it has been
// read.
func TestAnUploadIsSentOnce(t *testing.T) {
	t.Parallel()
	upload := func(b *balancer) answer {
		r := newRequest(t, t.Context(), "POST", b.url+"/v1/files", "")
		r.Body, r.ContentLength = io.NopCloser(io.LimitReader(zeros{}, 1<<20)), -1
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		return send(b.client, r)
	}
	var got atomic.Int64
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		got.Add(n)
		fmt.Fprint(w, `{"id":"file_1"}`)
	}))
	t.Cleanup(sink.Close)
	closed := "http://" + freeAddress(t)
	if a := upload(start(t, fallback(object{"url": closed, "token": "t"}, object{"url": sink.URL, "token": "t"}))); a.status != 200 || got.Load() != 1<<20 {
		t.Errorf("behind a server that cannot be reached: status %d %s, %d bytes arrived", a.status, a.body, got.Load())
	}
	failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusInternalServerError)
	}))
	t.Cleanup(failing.Close)
	got.Store(0)
	if a := upload(start(t, fallback(object{"url": failing.URL, "token": "t"}, object{"url": sink.URL, "token": "t"}))); a.status != 500 || got.Load() != 0 {
		t.Errorf("behind a server that fails: status %d %s, %d bytes arrived at the next one", a.status, a.body, got.Load())
	}
}

// TestFilesBelongToKeys checks that a key cannot use files of another key, also after a restart, and that a group shares them.
func TestFilesBelongToKeys(t *testing.T) {
	t.Parallel()
	unixOnly(t, "a process cannot be asked to end")
	f := newFake(t, "a")
	b := start(t, keyed(f, object{"name": "ann", "key": "sk-ann-0123456789abcdef", "group": "team"}, object{"name": "bob", "key": "sk-bob-0123456789abcdef"}, object{"name": "cid", "key": "sk-cid-0123456789abcdef", "group": "team"}))
	ann := sdkClient(b, "sk-ann-0123456789abcdef")
	file, err := ann.Beta.Files.Upload(t.Context(), anthropic.BetaFileUploadParams{
		File: anthropic.File(strings.NewReader("secret of ann"), "file.txt", "text/plain"),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.client.CloseIdleConnections()
	b.signal(syscall.SIGTERM)
	b.exitStatus()
	b = startFile(t, b.file)
	body := fmt.Sprintf(`{"model":%q,"max_tokens":64,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":%q}}]}]}`, model, file.ID)
	for _, c := range []struct {
		key    string
		status int
	}{{"ann", 200}, {"bob", 404}, {"cid", 200}} {
		key := "sk-" + c.key + "-0123456789abcdef"
		if a := b.do("POST", "/v1/messages", body, "X-Api-Key", key); a.status != c.status {
			t.Errorf("%s, a message: status %d %s", c.key, a.status, a.body)
		}
		client := sdkClient(b, key)
		_, err := client.Beta.Files.GetMetadata(t.Context(), file.ID, anthropic.BetaFileGetMetadataParams{})
		if e, refused := errors.AsType[*anthropic.Error](err); refused != (c.status == 404) || refused && e.StatusCode != 404 {
			t.Errorf("%s, its metadata: %v", c.key, err)
		}
		list, err := client.Beta.Files.List(t.Context(), anthropic.BetaFileListParams{})
		if err != nil || (len(list.Data) == 1) != (c.status == 200) {
			t.Errorf("%s: a list of %d, %v", c.key, len(list.Data), err)
		}
	}
	b.reconfigure(keyed(f, object{"name": "bob", "key": "sk-bob-0123456789abcdef"}, object{"name": "dee", "key": "sk-dee-0123456789abcdef"}).with("resources", "shared"))
	if a := b.do("POST", "/v1/messages", body, "X-Api-Key", "sk-bob-0123456789abcdef"); a.status != 200 {
		t.Errorf("shared: status %d %s", a.status, a.body)
	}
}
