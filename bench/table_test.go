package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the files in testdata instead of comparing with them")

// someResults returns invented results: three runs each.
func someResults(over wire, names ...string) []*result {
	var all []*result
	for w, kind := range works(500, time.Second) {
		for i, name := range names {
			r := &result{wire: over, work: kind, proxy: proxy{name: name, program: "/bin/" + name}}
			if name == "direct" {
				r.proxy.program = ""
			}
			for run := range 3 {
				base := time.Duration(10*(w+1)+5*i+run) * time.Microsecond
				r.runs = append(r.runs, measurement{cpu: base, units: 100, p50: 20 * base, p99: 50 * base, first99: 90 * base, memory: float64(base), errors: run / 2 * i})
			}
			all = append(all, r)
		}
	}
	return all
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s differs, %v; run go test ./bench -update and look at the difference\n%s", file, err, got)
	}
}

func TestMarkdown(t *testing.T) {
	t.Parallel()
	golden(t, "all.md", []byte(markdown(someResults(wirePlain, "direct", ours, "nginx", "HAProxy"), false)))
	golden(t, "tls.md", []byte(markdown(append(someResults(wireTLS, "direct", ours, "nginx"), someResults(wireHTTP2, "direct", ours, "HAProxy")...), true)))
	golden(t, "alone.md", []byte(markdown(someResults(wirePlain, "direct", ours), false)))
}

func TestPlot(t *testing.T) {
	t.Parallel()
	svg := plot(ratios(someResults(wirePlain, "direct", ours, "nginx", "HAProxy")))
	golden(t, "all.svg", svg)
	wellFormed(t, svg)
	wellFormed(t, plot([]bar{{`a "<b>" & c`, "]]>", 12}}))
	if bars := ratios(someResults(wirePlain, "direct", ours)); len(bars) != 0 {
		t.Errorf("bars without a reference: %+v", bars)
	}
}

func wellFormed(t *testing.T, svg []byte) {
	t.Helper()
	decoder := xml.NewDecoder(bytes.NewReader(svg))
	elements := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if _, begins := token.(xml.StartElement); begins {
			elements++
		}
	}
	if elements < 5 {
		t.Errorf("only %d elements in\n%s", elements, svg)
	}
}

func TestPublish(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	page := filepath.Join(root, "docs", "performance.md")
	if err := os.MkdirAll(filepath.Join(root, "docs", "images"), 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all := someResults(wirePlain, "direct", ours, "nginx")
	write("before\n<!-- plain:begin -->\nold\n<!-- plain:end -->\nbetween\n<!-- tls:begin -->\n<!-- tls:end -->\nafter\n")
	for range 2 { // the second time changes nothing
		if err := publish(root, "one\n", all, false); err != nil {
			t.Fatal(err)
		}
		if err := publish(root, "two\n", all, true); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	want := "before\n<!-- plain:begin -->\none\n<!-- plain:end -->\nbetween\n<!-- tls:begin -->\ntwo\n<!-- tls:end -->\nafter\n"
	if err != nil || string(got) != want {
		t.Errorf("%v\ngot:\n%s\nwant:\n%s", err, got, want)
	}
	if svg, err := os.ReadFile(filepath.Join(root, "docs", "images", "performance.svg")); err != nil || !bytes.HasPrefix(svg, []byte("<svg")) {
		t.Errorf("the plot: %v\n%s", err, svg)
	}
	write("no marks\n")
	if err := publish(root, "one\n", all, false); err == nil || !strings.Contains(err.Error(), "<!-- plain:begin -->") {
		t.Errorf("error %v, want the missing mark", err)
	}
}
