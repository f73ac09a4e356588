package commands

import (
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) share() *cobra.Command {
	var with client.ShareRequest
	cmd := &cobra.Command{
		Use:   "share NAME [--entity ID | --group ID | --everyone] [--expires 7d]",
		Short: "Share the credential of a private connection; without flags: with whom it is shared",
		Long: `Share the credential of a private connection of yours with others, who use it and see nothing else of it.
Sharing again renews. Without flags, with whom it is shared, and your own entity id, which others share with.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			some := len(with.Entities)+len(with.Groups) > 0 || with.Everyone
			if !some && cmd.Flags().Changed("expires") {
				return wrongUse("--expires is of a share: say with whom, by --entity, --group or --everyone")
			}
			with.Expires = endOfDay(with.Expires)
			c, path, err := a.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			known, err := c.Connection(cmd.Context(), path)
			if err != nil {
				return err
			}
			var shares *client.Shares
			if some {
				shares, err = c.Share(cmd.Context(), path, with)
			} else {
				shares, err = c.Shares(cmd.Context(), path)
			}
			if err != nil {
				return absent(cmd.Context(), c, path, err)
			}
			a.warn(shares.Warnings)
			for _, share := range shares.Shares {
				if share.Unchecked && slices.Contains(with.Groups, share.Group) {
					a.Say("to take that back: connectors unshare %s --group %s", word(args[0]), word(share.Group))
				}
			}
			whole := terminal.Clean(known.Path())
			switch {
			case !shares.Private:
				a.Say("%s is not private: whoever has a policy for it uses it", whole)
			case len(shares.Shares) > 0:
				a.Say("those with whom it is shared use it as shared/%s: connectors token %s", whole,
					word("shared/"+known.Path()))
			}
			if shares.EntityID != "" {
				a.Say("your own entity id, for those who share with you: %s", terminal.Clean(shares.EntityID))
			}
			return a.showShares(whole, shares)
		},
	}
	flags := cmd.Flags()
	whom(cmd, &with.Entities, &with.Groups, &with.Everyone)
	flags.StringVar(&with.Expires, "expires", "", "when these shares end: how long they last (7d), a time, or a date, "+
		"with its end (2027-01-31); by default never")
	return cmd
}

// endOfDay makes the time when a day ends here of a date, and leaves all else.
func endOfDay(text string) string {
	day, err := time.ParseInLocation(time.DateOnly, text, time.Local)
	if err != nil {
		return text
	}
	return day.AddDate(0, 0, 1).Format(time.RFC3339)
}

// whom has the flags that name with whom something is shared.
func whom(cmd *cobra.Command, entities, groups *[]string, everyone *bool) {
	cmd.Flags().StringArrayVar(entities, "entity", nil, "an entity of Vault, by its id; may be repeated")
	cmd.Flags().StringArrayVar(groups, "group", nil, "a group, by its id, or by its name if you are in it; repeatable")
	cmd.Flags().BoolVar(everyone, "everyone", false, "whoever has an entity in Vault")
}

func (a *app) unshare() *cobra.Command {
	var with client.UnshareRequest
	var all bool
	cmd := &cobra.Command{
		Use:               "unshare NAME (--entity ID | --group ID | --everyone | --all)",
		Short:             "End shares of a connection: those that are named, or all",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if some := len(with.Entities)+len(with.Groups) > 0 || with.Everyone; some == all {
				return wrongUse("say which shares end: --entity, --group, --everyone, or --all")
			}
			c, path, err := a.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			shares, err := c.Shares(cmd.Context(), path)
			if err != nil {
				return absent(cmd.Context(), c, path, err)
			}
			if strange := notAmong(shares.Shares, with); strange != "" { // which the path takes for done
				return withCode(codeAbsent, "%s is not shared with %s: nothing was changed; connectors share %s tells with "+
					"whom it is", path, strange, path)
			}
			if err := c.Unshare(cmd.Context(), path, with); err != nil {
				return err
			}
			if shares, err = c.Shares(cmd.Context(), path); err != nil {
				return err
			}
			return a.showShares(terminal.Clean(path), shares)
		},
	}
	whom(cmd, &with.Entities, &with.Groups, &with.Everyone)
	cmd.Flags().BoolVar(&all, "all", false, "each of them")
	return cmd
}

// notAmong names somebody of a request with whom nothing is shared.
func notAmong(shares []client.Share, asked client.UnshareRequest) string {
	for _, id := range asked.Entities {
		if !slices.ContainsFunc(shares, func(s client.Share) bool { return s.Entity == id }) {
			return "entity " + id
		}
	}
	for _, word := range asked.Groups {
		if !slices.ContainsFunc(shares, func(s client.Share) bool {
			return s.Group != "" && (s.Group == word || s.Name == word)
		}) {
			return "group " + word
		}
	}
	if asked.Everyone && !slices.ContainsFunc(shares, func(s client.Share) bool { return s.Everyone }) {
		return "everyone"
	}
	return ""
}

func (a *app) showShares(whole string, shares *client.Shares) error {
	if len(shares.Shares) == 0 {
		a.Say("%s is shared with nobody", whole)
	}
	return a.answer(shares.Data, func() error {
		if len(shares.Shares) == 0 {
			return nil
		}
		var rows [][]string
		for _, share := range shares.Shares {
			what, id := "entity", share.Entity
			switch {
			case share.Everyone:
				what = "everyone"
			case share.Group != "":
				what, id = "group", share.Group
			}
			name := share.Name
			if share.Unchecked {
				name = "unchecked"
			}
			ends := share.Expires
			if ends == "" {
				ends = "never"
			}
			rows = append(rows, []string{what, id, name, ends, share.SharedBy, share.SharedTime})
		}
		return terminal.Table(a.Out, []string{"WITH", "ID", "NAME", "ENDS", "BY", "SINCE"}, rows)
	})
}
