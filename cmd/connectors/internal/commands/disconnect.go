package commands

import (
	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) disconnect() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:               "disconnect NAME",
		Short:             "Delete a connection, and have its grant revoked at the service; a key is withdrawn there by hand",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			if !yes && !a.Asks() {
				return wrongUse("this deletes %s: say --yes, since there is no terminal to ask at", path)
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			connection, err := c.Connection(cmd.Context(), path)
			if err != nil {
				return err
			}
			whole := connection.Path()
			if !yes {
				sure, err := a.Sure(cmd.Context(), "Delete "+terminal.Clean(beside(whole, accountOf(connection.Account)))+
					" of "+terminal.Clean(connection.Provider)+"?")
				if err != nil {
					return err
				}
				if !sure {
					return withCode(codeFailed, "%s was left as it is", whole)
				}
			}
			warnings, err := c.Disconnect(cmd.Context(), path)
			if err != nil {
				return err
			}
			a.warn(warnings)
			a.Say("%s is disconnected", terminal.Clean(whole))
			return a.answer(map[string]any{"owner": connection.Owner, "name": connection.Name}, func() error { return nil })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}
