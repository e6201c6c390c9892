// Command claude-code-lb is a load balancer for Claude Code and every other
// client of the Anthropic Messages API.
package main

import (
	"os"

	"github.com/9bingyin/claude-code-lb/internal/app"
)

func main() {
	os.Exit(app.Main(os.Args[1:], app.Std{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.LookupEnv}))
}
