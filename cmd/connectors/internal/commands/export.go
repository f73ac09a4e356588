package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) export() *cobra.Command {
	var providers, config bool
	cmd := &cobra.Command{
		Use:   "export [OWNER…] [--providers] [--config]",
		Short: "Write what is there as a file that apply takes",
		Long: `Write connections of yours, or of owners such as org/acme, as a file that "connectors apply" takes; with
--providers and --config those, too, and no connections unless an owner is named. Secrets are not in it: comments show
where references to them go.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, owners []string) error {
			if len(owners) == 0 && !providers && !config {
				owners = []string{"self"}
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			l := newLedger(c)
			var settings *files.Exported
			var all, connections []files.Exported
			if config {
				one, err := l.exported(cmd.Context(), "config")
				if err != nil {
					return err
				}
				settings = one
			}
			if providers {
				if all, err = l.exportAll(cmd.Context(), "providers"); err != nil {
					return err
				}
			}
			for _, owner := range owners {
				part, err := l.exportAll(cmd.Context(), "connections/"+strings.Trim(owner, "/"))
				if err != nil {
					return err
				}
				connections = append(connections, part...)
			}
			if a.output == "json" {
				return terminal.JSON(a.Out, exportedDocument(settings, all, connections))
			}
			_, err = terminal.Lines(a.Out).Write(files.Write(settings, all, connections))
			return err
		},
	}
	cmd.Flags().BoolVar(&providers, "providers", false, "the providers of the mount")
	cmd.Flags().BoolVar(&config, "config", false, "the configuration of the mount")
	return cmd
}

// exportAll are the paths at one level, without those that have nothing but an open flow.
func (l *ledger) exportAll(ctx context.Context, level string) ([]files.Exported, error) {
	names, err := l.c.Documents(ctx, level)
	if err != nil {
		return nil, err
	}
	var all []files.Exported
	for _, name := range names {
		if strings.HasSuffix(name, "/") {
			continue
		}
		one, err := l.exported(ctx, level+"/"+name)
		if err != nil {
			return nil, err
		}
		if one != nil {
			all = append(all, *one)
		}
	}
	return all, nil
}

func (l *ledger) exported(ctx context.Context, path string) (*files.Exported, error) {
	have, err := l.have(ctx, path)
	if err != nil || have == nil {
		return nil, err
	}
	spec, err := l.spec(ctx, &files.File{}, files.Entry{Path: path}, have)
	if err != nil {
		return nil, err
	}
	one := spec.Export(path, have)
	return &one, nil
}

// exportedDocument is the same for programs.
func exportedDocument(config *files.Exported, providers, connections []files.Exported) map[string]any {
	document := map[string]any{}
	if config != nil {
		document["config"] = config.Fields
	}
	for name, all := range map[string][]files.Exported{"providers": providers, "connections": connections} {
		section := map[string]any{}
		for _, one := range all {
			_, at, _ := strings.Cut(one.Path, "/")
			section[at] = one.Fields
		}
		if len(section) > 0 {
			document[name] = section
		}
	}
	return document
}
