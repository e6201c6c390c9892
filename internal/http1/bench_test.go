package http1

import (
	"strings"
	"testing"
)

// usualRequest and usualResponse have the headers that an official client and the API send.
const (
	usualRequest = "POST /v1/messages?beta=true HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nAccept: application/json\r\nX-Stainless-Retry-Count: 0\r\nX-Stainless-Timeout: 600\r\n" +
		"X-Stainless-Lang: js\r\nX-Stainless-Package-Version: 0.60.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Arch: x64\r\nX-Stainless-Runtime: node\r\n" +
		"X-Stainless-Runtime-Version: v22.20.0\r\nanthropic-dangerous-direct-browser-access: true\r\nanthropic-version: 2023-06-01\r\nauthorization: Bearer sk-lb-0123456789\r\n" +
		"x-app: cli\r\nUser-Agent: claude-cli/2.0.14 (external, cli)\r\ncontent-type: application/json\r\nanthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\r\n" +
		"accept-language: *\r\nsec-fetch-mode: cors\r\naccept-encoding: gzip, deflate\r\nConnection: keep-alive\r\nContent-Length: 2048\r\n\r\n"
	usualResponse = "HTTP/1.1 200 OK\r\nDate: Sun, 23 Nov 2025 00:00:00 GMT\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n" +
		"Cache-Control: no-cache\r\nanthropic-ratelimit-input-tokens-limit: 2000000\r\nanthropic-ratelimit-input-tokens-remaining: 1998000\r\n" +
		"anthropic-ratelimit-input-tokens-reset: 2025-11-23T00:00:00Z\r\nanthropic-ratelimit-output-tokens-limit: 400000\r\nanthropic-ratelimit-output-tokens-remaining: 399000\r\n" +
		"anthropic-ratelimit-output-tokens-reset: 2025-11-23T00:00:00Z\r\nanthropic-ratelimit-requests-limit: 4000\r\nanthropic-ratelimit-requests-remaining: 3999\r\n" +
		"anthropic-ratelimit-requests-reset: 2025-11-23T00:00:00Z\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nanthropic-organization-id: 00000000-0000-4000-8000-000000000000\r\nServer: cloudflare\r\n\r\n"
)

func BenchmarkParseRequest(b *testing.B) {
	head := []byte(usualRequest)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		if _, _, refused := parseRequest(b.Context(), head); refused != nil {
			b.Fatal(refused)
		}
	}
}

func BenchmarkParseResponse(b *testing.B) {
	head := []byte(usualResponse)
	b.ReportAllocs()
	b.SetBytes(int64(len(head)))
	for b.Loop() {
		if _, err := parseResponse(head); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkChunks removes the framing of an event stream.
func BenchmarkChunks(b *testing.B) {
	event := "event: content_block_delta\ndata: " + strings.Repeat("x", 90) + "\n\n"
	frame := []byte("7d\r\n" + event[:125] + "\r\n")
	room := make([]byte, len(frame))
	b.ReportAllocs()
	b.SetBytes(int64(len(frame)))
	var c chunkDecoder
	for b.Loop() {
		copy(room, frame)
		if n, _, err := c.decode(room); err != nil || n != 125 {
			b.Fatal(n, err)
		}
	}
}
