// Command claude-code-lb is a load balancer for Claude Code and every other
// client of the Anthropic Messages API.
package main

import (
	"os"

	"github.com/9bingyin/claude-code-lb/internal/cli"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], service.Std{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, Env: os.LookupEnv}))
}
