package commands

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) list() *cobra.Command {
	return &cobra.Command{
		Use:   "list [OWNER]",
		Short: "What is connected: by you, or by an owner, such as org/acme",
		Long: `What is connected: by you, or by an owner as the paths spell it: org/acme, user/u-17, shared.

What ends in a slash has others below it: list it in turn.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeLevels,
		RunE: func(cmd *cobra.Command, args []string) error {
			owner := "self"
			if len(args) > 0 {
				owner = strings.Trim(args[0], "/")
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.Connections(cmd.Context(), owner)
			if err != nil {
				return err
			}
			a.warn(list.Warnings)
			if len(list.Keys) == 0 {
				a.Say("nothing is connected under %s", terminal.Clean(owner))
			}
			return a.answer(list.Data, func() error {
				if len(list.Keys) == 0 {
					return nil
				}
				var rows [][]string
				for _, name := range list.Keys {
					about := list.KeyInfo[name]
					rows = append(rows, []string{owner + "/" + name, about.Provider, about.Status, about.Label})
				}
				return terminal.Table(a.Out, []string{"CONNECTION", "PROVIDER", "STATUS", "LABEL"}, rows)
			})
		},
	}
}
