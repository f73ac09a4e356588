package commands

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) history() *cobra.Command {
	return &cobra.Command{
		Use:               "history NAME",
		Short:             "What changed of a connection, who did it and when; the last twenty at most, newest first",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			history, err := c.History(cmd.Context(), path)
			if err != nil {
				return absent(cmd.Context(), c, path, err)
			}
			a.warn(history.Warnings)
			return a.answer(history.Data, func() error {
				var rows [][]string
				for _, record := range history.Records {
					by := record.By
					if by == "" {
						by = "the engine"
					}
					rows = append(rows, []string{record.Time, by, record.Verb, changesOf(record.Changes)})
				}
				return terminal.Table(a.Out, []string{"TIME", "BY", "WHAT", "CHANGES"}, rows)
			})
		},
	}
}

func changesOf(changes []client.Change) string {
	var all []string
	for _, change := range changes {
		all = append(all, change.Field+": "+orNothing(textOf(change.Before))+" -> "+orNothing(textOf(change.After)))
	}
	return strings.Join(all, "; ")
}

func orNothing(text string) string {
	if text == "" {
		return `""`
	}
	return text
}
