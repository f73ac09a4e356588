package commands

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
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
			switch {
			case len(catalog.Keys) == 0:
				a.Say("no service has these words")
			case a.output == "table":
				a.Say("HERE are the names to connect by; what has none, an operator of Vault adds first")
			}
			return a.answer(catalog.Data, func() error {
				if len(catalog.Keys) == 0 {
					return nil
				}
				has := connected(cmd.Context(), c)
				var first, added, rest [][]string
				for _, id := range catalog.Keys {
					about := catalog.KeyInfo[id]
					row := []string{id, about.Name, about.Category, strings.Join(about.Kinds, " "), ""}
					row[4] = strings.Join(about.Providers, " ")
					switch {
					case has[id]:
						row[4] = strings.TrimSpace(row[4] + " (connected)")
						first = append(first, row)
					case row[4] != "":
						added = append(added, row)
					default:
						rest = append(rest, row)
					}
				}
				return terminal.Table(a.Out, []string{"SERVICE", "NAME", "CATEGORY", "KINDS", "HERE"},
					slices.Concat(first, added, rest))
			})
		},
	}
}

// connected are the services that the caller has connections of; none where the inventory is not theirs to read.
func connected(ctx context.Context, c *client.Client) map[string]bool {
	has := map[string]bool{}
	inventory, err := c.Inventory(ctx, "self", client.InventoryRequest{Limit: mostRows})
	if err != nil {
		return has
	}
	for _, row := range inventory.Connections {
		has[row.Definition] = true
	}
	return has
}
