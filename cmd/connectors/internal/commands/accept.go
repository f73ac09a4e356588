package commands

import (
	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

func (a *app) accept() *cobra.Command {
	var request client.AcceptRequest
	cmd := &cobra.Command{
		Use:   "accept NAME --from CONNECTION",
		Short: "Take a connection that is offered to this very path",
		Long: `Take a connection that somebody offers by "connectors transfer". NAME is the path that the offer names, and
CONNECTION the one that is offered, as user/u-17/slack. Without --from a person is asked for it.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions, // nothing is there yet
		RunE: func(cmd *cobra.Command, args []string) error {
			if request.From == "" && !a.Asks() {
				return wrongUse("say which connection is offered: --from user/u-17/slack")
			}
			if request.From == "" {
				from, err := a.Ask(cmd.Context(), "Which connection is offered, as user/u-17/slack? ")
				if err != nil {
					return err
				}
				request.From = from
			}
			var err error
			if request.From, err = pathOf(request.From); err != nil {
				return err
			}
			c, path, err := a.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			connection, err := c.Accept(cmd.Context(), path, request)
			if err != nil {
				return noOffer(err)
			}
			return a.connected(connection)
		},
	}
	cmd.Flags().StringVar(&request.From, "from", "", "the connection that is offered, as user/u-17/slack")
	cmd.Flags().BoolVar(&request.Provision, "provision", false, "take it for an entity that is not your own")
	return cmd
}
