package cli

import (
	"context"
	"fmt"

	"github.com/9bingyin/claude-code-lb/internal/config"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

const schemaIntro = `claude-code-lb schema prints the JSON Schema of the configuration file. Editors use it to
complete and check the file:

  claude-code-lb schema > config.schema.json

and in the configuration file: "$schema": "./config.schema.json"

Usage: claude-code-lb schema
`

// runSchema prints the JSON Schema of the configuration file.
func runSchema(_ context.Context, std service.Std, args []string) int {
	if status, done := parseFlags(newFlags("schema", schemaIntro), std, args); done {
		return status
	}
	if _, err := std.Out.Write(config.Schema()); err != nil {
		fmt.Fprintln(std.Err, "schema:", err)
		return service.ExitError
	}
	return service.ExitOK
}
