package commands

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) catalog() *cobra.Command {
	return &cobra.Command{
		Use:   "catalog [WORDS]",
		Short: "What can be connected: all, or where these words occur",
		Args:  cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			catalog, err := c.Catalog(cmd.Context(), strings.Join(args, " "))
			if err != nil {
				return err
			}
			a.warn(catalog.Warnings)
			if len(catalog.Keys) == 0 {
				a.Say("no service has these words")
			}
			return a.answer(catalog.Data, func() error {
				if len(catalog.Keys) == 0 {
					return nil
				}
				var rows [][]string
				for _, id := range catalog.Keys {
					about := catalog.KeyInfo[id]
					rows = append(rows, []string{id, about.Name, about.Category, strings.Join(about.Kinds, " ")})
				}
				return terminal.Table(a.Out, []string{"SERVICE", "NAME", "CATEGORY", "KINDS"}, rows)
			})
		},
	}
}
