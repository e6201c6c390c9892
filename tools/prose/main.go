// Command prose checks the English of comments, documents and messages against a list of patterns:
//
//	go run ./tools/prose [-sample N] [path ...]
//
// It reads Go comments, string literals outside tests, Markdown outside code blocks, and YAML. Each
// finding names the pattern and the wording to prefer. With -sample it prints N random comments and N
// random messages instead, for a reader to judge. The test of this package checks the whole tree.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
)

func main() {
	sample := flag.Int("sample", 0, "print this many random comments and as many random messages, and check nothing")
	flag.Parse()
	paths := flag.Args()
	if len(paths) == 0 {
		paths = []string{"."}
	}
	var texts []passage
	for _, path := range paths {
		found, err := read(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, "prose:", err)
			os.Exit(2)
		}
		texts = append(texts, found...)
	}
	if *sample > 0 {
		printSample(texts, *sample)
		return
	}
	findings := check(texts)
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		fmt.Fprintf(os.Stderr, "prose: %d findings\n", len(findings))
		os.Exit(1)
	}
}

// printSample prints n random passages of each kind with their places.
func printSample(texts []passage, n int) {
	rand.Shuffle(len(texts), func(i, j int) { texts[i], texts[j] = texts[j], texts[i] })
	for _, kind := range []kind{comment, message} {
		fmt.Printf("%ss\n\n", kind)
		left := n
		for _, p := range texts {
			if p.kind == kind && left > 0 {
				fmt.Printf("%s:%d\n    %s\n\n", p.file, p.line, p.text)
				left--
			}
		}
	}
}
