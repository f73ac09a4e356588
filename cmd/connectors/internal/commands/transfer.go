package commands

import (
	"context"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) transfer() *cobra.Command {
	var withdraw, yes bool
	cmd := &cobra.Command{
		Use:   "transfer NAME [TARGET | --withdraw]",
		Short: "Offer a connection to another owner, or rename it; without TARGET: the offer that is open",
		Long: `Offer a connection to another owner. TARGET is where it is to be: org/acme/slack, user/u-17/slack. It moves
when they accept it, within a day. A TARGET of the same owner is a rename, at once; its shares end with the
old name.

Without TARGET, the offer that is open; --withdraw takes it back.`,
		Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion,
			cobra.ShellCompDirective,
		) {
			if len(args) == 1 {
				return a.completeLevels(cmd, nil, typed)
			}
			return a.completeNames(cmd, args, typed)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if withdraw && len(args) > 1 {
				return wrongUse("--withdraw takes back the offer that is open: leave out the target")
			}
			var to string
			if len(args) > 1 {
				var err error
				if to, err = pathOf(args[1]); err != nil {
					return err
				}
			}
			c, path, err := a.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			known, err := c.Connection(cmd.Context(), path)
			switch {
			case err != nil:
				return err
			case withdraw:
				return a.withdraw(cmd.Context(), c, known, path)
			case to != "":
				if err := a.sureToRename(cmd.Context(), known, path, to, yes); err != nil {
					return err
				}
				transfer, err := c.Offer(cmd.Context(), path, to)
				if err != nil {
					return absent(cmd.Context(), c, path, err)
				}
				return a.showTransfer(known, transfer)
			}
			transfer, err := a.openOffer(cmd.Context(), c, known, path)
			if err != nil {
				return err
			}
			return a.showTransfer(known, transfer)
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask, though a rename ends shares")
	cmd.Flags().BoolVar(&withdraw, "withdraw", false, "take the offer back")
	return cmd
}

// sureToRename asks before a rename ends shares.
func (a *app) sureToRename(ctx context.Context, known *client.Connection, path, to string, yes bool) error {
	if yes || known.SharedWith == "" || !sameOwner(known, path, to) {
		return nil
	}
	what := known.Path() + " is shared with " + known.SharedWith + ", which ends with its name"
	if !a.Asks() {
		return wrongUse("%s: say --yes, since there is no terminal to ask at", what)
	}
	switch sure, err := a.Sure(ctx, terminal.Clean(what)+". Rename it?"); {
	case err != nil:
		return err
	case !sure:
		return withCode(codeFailed, "%s was left as it is", known.Path())
	}
	return nil
}

// sameOwner reports whether a target is another name of the same owner, as far as its spelling tells.
func sameOwner(known *client.Connection, path, to string) bool {
	owner, _ := cutLast(to)
	before, _ := cutLast(path)
	return owner == known.Owner || owner == before || owner == "self" && strings.HasPrefix(known.Owner, "user/")
}

func cutLast(path string) (owner, name string) {
	at := strings.LastIndexByte(path, '/')
	return path[:max(at, 0)], path[at+1:]
}

// openOffer is the offer of a connection that is there.
func (a *app) openOffer(ctx context.Context, c *client.Client, known *client.Connection, path string,
) (*client.Transfer, error) {
	transfer, err := c.Transfer(ctx, path)
	if client.StatusOf(err) == http.StatusNotFound {
		return nil, withCode(codeAbsent, "%s is offered to nobody", known.Path())
	}
	return transfer, absent(ctx, c, path, err)
}

func (a *app) withdraw(ctx context.Context, c *client.Client, known *client.Connection, path string) error {
	transfer, err := a.openOffer(ctx, c, known, path)
	if err != nil {
		return err
	}
	if err := c.Withdraw(ctx, path); err != nil {
		return err
	}
	a.Say("%s is offered to %s no longer", terminal.Clean(known.Path()), terminal.Clean(transfer.To))
	return a.answer(transfer.Data, func() error { return nil })
}

func (a *app) showTransfer(known *client.Connection, transfer *client.Transfer) error {
	a.warn(transfer.Warnings)
	from, to := terminal.Clean(known.Path()), terminal.Clean(transfer.To)
	if transfer.Moved {
		a.Say("%s is %s now", from, to)
	} else {
		a.Say("whoever owns %s takes it by: connectors accept %s --from %s", to, word(asTheirs(transfer.To)),
			word(known.Path()))
	}
	return a.answer(transfer.Data, func() error {
		return terminal.Pairs(a.Out, [][2]string{
			{"to", transfer.To},
			{"by", transfer.By},
			{"time", transfer.Time},
			{"expires", transfer.Expires},
			{"moved", onlyTrue(transfer.Moved)},
		})
	})
}

// asTheirs spells the path of a person's connection as that person does.
func asTheirs(path string) string {
	switch parts := strings.Split(path, "/"); {
	case len(parts) == 3 && parts[0] == "user":
		return parts[2]
	case len(parts) == 5 && parts[2] == "user":
		return strings.Join([]string{parts[0], parts[1], "self", parts[4]}, "/")
	}
	return path
}
