package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/9bingyin/claude-code-lb/internal/connect"
	"github.com/9bingyin/claude-code-lb/internal/service"
)

// printCheck prints which settings Claude Code uses in this directory, and whether a balancer
// answers at the address.
func (c *connectCommand) printCheck(ctx context.Context, std service.Std) int {
	sources, err := c.machine.Sources()
	if err != nil {
		fmt.Fprintln(std.Err, "connect:", err)
		return service.ExitError
	}
	effect := connect.Resolve(sources)
	table := tabwriter.NewWriter(std.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SETTING\tVALUE\tPLACE\tFILE\t")
	name := ""
	for _, r := range effect.Rows {
		setting := r.Setting
		if setting == name {
			setting = ""
		}
		name = r.Setting
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", setting, oneLine(r.Value), r.Place, r.File, r.Why)
	}
	if len(effect.Rows) == 0 {
		fmt.Fprintln(table, "(nothing is set)\t\t\t\t")
	}
	table.Flush()
	c.printPlaces(std, sources)
	for _, note := range effect.Notes {
		fmt.Fprintln(std.Out, "note:", note)
	}
	if err := c.tryEffect(ctx, std, effect); err != nil {
		fmt.Fprintln(std.Out, "no:", err)
		return service.ExitError
	}
	return service.ExitOK
}

// printPlaces prints which files Claude Code would read besides those in the table.
func (c *connectCommand) printPlaces(std service.Std, sources []*connect.Source) {
	var missing []string
	for _, file := range []string{c.paths.Managed, c.paths.Local, c.paths.Project, c.paths.User} {
		if !slices.ContainsFunc(sources, func(s *connect.Source) bool { return s.File != "" && strings.HasPrefix(s.File, file) }) {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		fmt.Fprintf(std.Out, "without settings: %s\n", strings.Join(missing, ", "))
	}
}

// tryEffect asks the balancer at the address that Claude Code uses.
func (c *connectCommand) tryEffect(ctx context.Context, std service.Std, effect *connect.Effect) error {
	if effect.URL == "" {
		return errors.New("ANTHROPIC_BASE_URL is not set: Claude Code does not use a balancer here. claude-code-lb connect sets it")
	}
	base, err := connect.BaseOf(effect.URL)
	if err != nil {
		return fmt.Errorf("ANTHROPIC_BASE_URL cannot be used: %w", err)
	}
	if c.url != "" && c.url != base {
		return fmt.Errorf("ANTHROPIC_BASE_URL is %s here, not %s", base, c.url)
	}
	certificates, _ := std.Env("NODE_EXTRA_CA_CERTS")
	probe, err := connect.NewProbe(base, certificates)
	if err != nil {
		return err
	}
	health, err := probe.Health(ctx)
	if err != nil {
		return err
	}
	verdict, status, err := probe.Key(ctx, effect.Token)
	switch {
	case err != nil:
		return err
	case verdict == connect.KeyNeeded && effect.Token == "":
		return fmt.Errorf("%s requires a client key, and none is set", base)
	case verdict == connect.KeyNeeded:
		return fmt.Errorf("%s does not know the key that is set", base)
	case verdict == connect.TooManyTry:
		return fmt.Errorf("%s refuses to look at keys from this machine for a while, because many wrong ones came", base)
	case verdict == connect.Rejected && effect.Token != "":
		return fmt.Errorf("a request with the key that is set was refused (%d)", status)
	}
	credential := "with the key that is set"
	if effect.Token == "" {
		credential = "with its login"
	}
	fmt.Fprintf(std.Out, "yes: Claude Code uses %s here, %s (%s, %d of %d servers available).\n", base, credential, health.Status, health.Available, *health.Total)
	return nil
}

// oneLine removes what would break a table.
func oneLine(s string) string {
	return cmp.Or(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s), "(empty)")
}

// restore undoes what connect has changed: in the settings file of the scope, and in those of VS
// Code.
func (c *connectCommand) restore(std service.Std) error {
	manifest, unlock, err := c.lockManifest()
	if err != nil {
		return err
	}
	defer unlock()
	files := []string{c.target()}
	if c.scope == "user" {
		files = append(files, c.paths.VSCode...)
	}
	found := 0
	for i, file := range files {
		earlier := manifest.Earlier(file)
		if len(earlier.Edits) == 0 {
			continue
		}
		found++
		if err := c.restoreFile(std, file, i > 0, earlier, manifest); err != nil {
			return err
		}
	}
	if found == 0 {
		others := ""
		if known := manifest.Known(); len(known) > 0 {
			others = ". It has changed " + strings.Join(known, ", ")
		}
		return fmt.Errorf("there is nothing to undo in %s%s", c.target(), others)
	}
	return nil
}

// restoreFile undoes the changes to one file.
func (c *connectCommand) restoreFile(std service.Std, file string, vscode bool, earlier connect.Record, manifest *connect.Manifest) error {
	change, err := connect.NewChange(file, vscode, earlier)
	if err != nil {
		return err
	}
	if err := change.Undo(); err != nil {
		return err
	}
	if _, err := fmt.Fprint(std.Out, change.Diff()); err != nil {
		return err
	}
	if c.dryRun {
		fmt.Fprintln(std.Err, "Nothing was written: this is a dry run.")
		return nil
	}
	if change.Changes() {
		_, err = change.Write(manifest, time.Now())
	} else {
		err = change.Forget(manifest)
	}
	if err != nil {
		return err
	}
	for _, note := range change.Notes {
		fmt.Fprintln(std.Err, "note:", note)
	}
	fmt.Fprintf(std.Err, "Restored %s.\n", change.File)
	return nil
}
