package commands

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// applying is how a file is applied.
type applying struct {
	*app

	name                                    string // of the file
	dryRun, secrets, reconnect, prune, walk bool
	expect                                  int

	ledger *ledger
	file   *files.File
}

func (a *app) apply() *cobra.Command {
	do := &applying{app: a}
	cmd := &cobra.Command{
		Use:   "apply -f FILE",
		Short: "Make providers and connections what a file says",
		Long: `Make the configuration, providers and connections of the mount what a YAML file says, in the paths' own fields:

  providers:
    slack: {client_id: "1.2", client_secret: env:SLACK_SECRET, scopes: [chat:write]}
  connections:
    org/acme/slack: {provider: slack, label: Team}

What the file does not name stays as it is. Secrets stand elsewhere (env:NAME, file:PATH, vault:PATH#FIELD), and are
written where none is set, or with --secrets. Apply files that you trust: they say which of your files and secrets are
read, and where these go.`,
		Args: cobra.ArbitraryArgs, // to say where they belong
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && do.name == "":
				return wrongUse("the file goes with -f: connectors apply -f %s", word(args[0]))
			case len(args) > 0:
				return wrongUse("one file at a time goes with -f, and nothing else: %s is left over", args[0])
			case do.name == "":
				return wrongUse("name a file with -f, or - for stdin")
			case cmd.Flags().Changed("expect") && !do.prune:
				return wrongUse("--expect goes with --prune")
			case do.walk && do.dryRun:
				return wrongUse("--connect connects, and --dry-run changes nothing: name one of them")
			case do.walk && (!a.Asks() || do.name == "-"):
				return wrongUse("--connect asks a person: it needs a terminal, and the file by its name")
			}
			if !cmd.Flags().Changed("expect") {
				do.expect = -1
			}
			return do.run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&do.name, "file", "f", "", "the file; - for stdin")
	flags.BoolVar(&do.dryRun, "dry-run", false, "say what would change, and exit with 7 if anything would")
	flags.BoolVar(&do.secrets, "secrets", false, "write secrets that are set already, too")
	flags.BoolVar(&do.reconnect, "allow-reconnect", false,
		"change what grants are bound to, so that connections must be reconnected")
	flags.BoolVar(&do.prune, "prune", false,
		"delete providers, and connections of the owners that the file names, which it does not have; wants --expect")
	flags.IntVar(&do.expect, "expect", 0, "how many are deleted, else nothing is changed")
	flags.BoolVar(&do.walk, "connect", false, "connect, one after the other, what needs a person")
	return cmd
}

// step is a change with what is known of its path.
type step struct {
	files.Change

	entry  files.Entry
	spec   files.Spec
	status string // of a connection
	have   map[string]any
}

// whole is the path of a connection that is there, with its owner's own spelling.
func whole(have map[string]any) string {
	owner, _ := have["owner"].(string)
	name, _ := have["name"].(string)
	if owner == "" || name == "" {
		return ""
	}
	return "connections/" + owner + "/" + name
}

func (do *applying) run(ctx context.Context) error {
	text, err := do.readFile(ctx)
	if err != nil {
		return err
	}
	if do.file, err = files.Parse(do.shownName(), text); err != nil {
		return do.wrongLines(strings.Split(err.Error(), "\n"))
	}
	if do.file.Config == nil && !do.file.NamesProviders && !do.file.NamesConnections {
		return wrongUse("%s says nothing, so nothing was done: it names none of config, providers and connections",
			do.shownName())
	}
	if err := do.spellPaths(); err != nil {
		return err
	}
	c, err := do.dial(ctx)
	if err != nil {
		return err
	}
	do.ledger = newLedger(c)
	steps, err := do.plan(ctx)
	if err != nil {
		return err
	}
	doomed, err := do.doomed(ctx, steps)
	if err != nil {
		return err
	}
	changes := 0
	for _, s := range slices.Concat(steps, doomed) {
		if s.Action != "" {
			changes++
		}
	}
	if do.output == "table" {
		do.show(slices.Concat(steps, doomed))
	}
	if do.dryRun {
		do.tellBroken(steps)
		for _, s := range steps {
			for _, name := range slices.Sorted(maps.Keys(s.Unsure)) {
				do.Say("%s: %s is masked, and looks the same: it is written all the same", terminal.Clean(s.Path), name)
			}
		}
		if do.output == "json" {
			if err := do.document(steps, doomed); err != nil {
				return err
			}
		}
		if err := do.findable(ctx, steps); err != nil {
			return err
		}
		if changes == 0 {
			do.Say("nothing to change")
		}
		if changes > 0 {
			return withCode(codeChanges, "%s; nothing was done", count(changes, "change"))
		}
		return nil
	}
	if changes == 0 {
		do.Say("nothing to change")
	}
	if err := do.mayRun(steps, doomed); err != nil {
		return err
	}
	err = do.execute(ctx, steps, doomed)
	if do.output == "json" {
		if wrote := do.document(steps, doomed); err == nil {
			err = wrote
		}
	}
	return err
}

// readFile takes the text of the file, which may come from stdin.
func (do *applying) readFile(ctx context.Context) ([]byte, error) {
	from := do.In
	if do.name != "-" {
		file, err := os.Open(do.name)
		if err != nil {
			return nil, wrongUse("%s", err)
		}
		defer file.Close()
		from = file
	}
	return terminal.ReadAll(ctx, io.LimitReader(from, files.MaxFile+1))
}

func (do *applying) shownName() string {
	if do.name == "-" {
		return "stdin"
	}
	return do.name
}

// wrong makes one error of what is wrong with the file.
func (do *applying) wrong(problems []files.Problem) error {
	var lines []string
	for _, p := range problems {
		lines = append(lines, fmt.Sprintf("%s:%d: %s", do.shownName(), p.Line, p.Text))
	}
	return do.wrongLines(lines)
}

// wrongLines tells all but the last of several lines, which is the error's.
func (do *applying) wrongLines(lines []string) error {
	last := len(lines) - 1
	for _, line := range lines[:last] {
		do.Say("connectors: %s", terminal.Clean(line))
	}
	return wrongUse("%s", lines[last])
}

// spellPaths gives each entry the path that it has in the mount.
func (do *applying) spellPaths() error {
	var problems []files.Problem
	seen := map[string]bool{}
	for i := range do.file.Providers {
		entry := &do.file.Providers[i]
		if client.CheckPath(entry.Path) != nil || strings.Contains(entry.Path, "/") {
			problems = append(problems, files.Problem{Line: entry.Line, Text: entry.Path + " is no name of a provider"})
		}
		entry.Path = "providers/" + entry.Path
	}
	for i := range do.file.Connections {
		entry := &do.file.Connections[i]
		path, err := pathOf(entry.Path)
		switch {
		case err != nil:
			problems = append(problems, files.Problem{Line: entry.Line, Text: err.Error()})
		case strings.HasPrefix(path, "shared/"):
			problems = append(problems, files.Problem{Line: entry.Line, Text: path + " is what somebody shares with you"})
		case seen[path]:
			problems = append(problems, files.Problem{Line: entry.Line, Text: path + " stands twice"})
		}
		seen[path] = true
		entry.Path = "connections/" + path
	}
	if len(problems) > 0 {
		return do.wrong(problems)
	}
	return nil
}

// plan compares the file with the mount. Nothing is changed.
func (do *applying) plan(ctx context.Context) ([]*step, error) {
	var entries []files.Entry
	if do.file.Config != nil {
		entries = append(entries, *do.file.Config)
	}
	entries = slices.Concat(entries, do.file.Providers, do.file.Connections)
	var steps []*step
	var problems []files.Problem
	seen := map[string]string{}
	for _, entry := range entries {
		s, wrong, err := do.planOne(ctx, entry)
		if err != nil {
			return nil, fmt.Errorf("%s:%d: %w", do.shownName(), entry.Line, err)
		}
		if path := whole(s.have); path != "" {
			if other := seen[path]; other != "" {
				wrong = append(wrong, files.Problem{Line: entry.Line, Text: entry.Path + " is " + other + " under another name"})
			}
			seen[path] = entry.Path
		}
		steps, problems = append(steps, s), append(problems, wrong...)
	}
	if len(problems) > 0 {
		return nil, do.wrong(problems)
	}
	return steps, nil
}

func (do *applying) planOne(ctx context.Context, entry files.Entry) (*step, []files.Problem, error) {
	have, err := do.ledger.have(ctx, entry.Path)
	if err != nil {
		return nil, nil, err
	}
	spec, err := do.ledger.spec(ctx, do.file, entry, have)
	if err != nil {
		return nil, nil, err
	}
	change, problems := spec.Plan(entry, have, files.Options{Secrets: do.secrets, ReadFile: do.content})
	s := &step{Change: change, entry: entry, spec: spec, have: have}
	s.status, _ = have["status"].(string)
	return s, problems, nil
}

// content is the text of a file beside this one.
func (do *applying) content(path string) (string, error) {
	if !filepath.IsAbs(path) && do.name != "-" {
		path = filepath.Join(filepath.Dir(do.name), path)
	}
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxKey+1))
	switch {
	case err != nil:
		return "", err
	case len(text) > maxKey:
		return "", fmt.Errorf("%s has more than %d bytes", path, maxKey)
	}
	return string(text), nil
}

// find reads a secret from where the file says it is.
func (do *applying) find(ctx context.Context) func(files.Reference) (string, error) {
	return func(r files.Reference) (text string, err error) {
		switch r.Scheme {
		case "env":
			text = os.Getenv(r.Name) // in which the token of Vault is not any more
		case "file":
			if text, err = do.content(r.Name); err == nil {
				text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
			}
		case "vault":
			text, err = do.ledger.c.SecretField(ctx, r.Name, r.Field)
		}
		if err == nil && text == "" {
			err = fmt.Errorf("is not set, or empty")
		}
		return text, err
	}
}

// doomed are the deletions: what the file does not have of what it speaks of. Connections go before providers, which
// cannot go while they have some.
//
// An owner may have several spellings, as self and user/<id>, so connections are told apart by what they answer.
func (do *applying) doomed(ctx context.Context, steps []*step) ([]*step, error) {
	if !do.prune {
		return nil, nil
	}
	kept := map[string]bool{}
	for _, s := range steps {
		kept[s.Path], kept[whole(s.have)] = true, true
	}
	levels := do.file.Owners()
	if do.file.NamesProviders {
		levels = append(levels, "providers")
	}
	var all []*step
	for _, level := range levels {
		names, err := do.ledger.c.Documents(ctx, level)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			path := level + "/" + name
			if strings.HasSuffix(name, "/") || kept[path] {
				continue
			}
			have, err := do.ledger.have(ctx, path)
			if err != nil {
				return nil, err
			}
			if have == nil { // but perhaps a flow that somebody has begun
				continue
			}
			if at := whole(have); at == "" || !kept[at] {
				kept[at] = at != ""
				all = append(all, &step{Change: files.Change{Path: path, Action: files.Delete}})
			}
		}
	}
	return all, nil
}
