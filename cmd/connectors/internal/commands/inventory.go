package commands

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) inventory() *cobra.Command {
	var f filters
	var request client.InventoryRequest
	var all bool
	cmd := &cobra.Command{
		Use:   "inventory [OWNER]",
		Short: "What connections there are, across owners, filtered; or how many",
		Long: `What connections there are: of the whole mount, or of an owner: self, org/acme with its members, user/u-17,
org/acme/user/u-17. Flags choose among them.

  connectors inventory --status needs_reconnect,expired
  connectors inventory org/acme --expires-within 7d --all
  connectors inventory --count-by provider`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeLevels,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := f.judge(cmd); err != nil {
				return err
			}
			if request.CountBy != "" && (all || request.Limit != 0 || request.Cursor != "") {
				return wrongUse("--count-by answers no pages: leave out --all, --limit and --cursor")
			}
			request.Filters = f.Filters
			below := ""
			if len(args) > 0 {
				owner, err := inventoryOf(args[0], &request.Filters)
				if err != nil {
					return err
				}
				below = owner
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			inventory, err := pagesOf(cmd.Context(), c, below, request, all)
			if err != nil {
				return err
			}
			return a.showInventory(inventory, request.CountBy)
		},
	}
	f.register(cmd)
	flags := cmd.Flags()
	flags.StringVar(&request.CountBy, "count-by", "", "provider, status or owner: how many there are of each")
	flags.IntVar(&request.Limit, "limit", 0, "at most so many rows; by default 100")
	flags.StringVar(&request.Cursor, "cursor", "", "go on after the page that ended with this")
	flags.BoolVar(&all, "all", false, "all pages")
	return cmd
}

// inventoryOf is the path of an owner's inventory. A member of an organization has none, and is a filter of its
// organization's.
func inventoryOf(owner string, filter *client.Filters) (string, error) {
	owner = strings.Trim(owner, "/")
	parts := strings.Split(owner, "/")
	switch {
	case owner == "self", len(parts) == 2 && (parts[0] == "org" || parts[0] == "user"):
		return owner, nil
	case len(parts) == 4 && parts[0] == "org" && parts[2] == "user":
		if filter.Owner != "" {
			return "", wrongUse("%s and --owner are two owners: name one", owner)
		}
		filter.Owner = owner
		return parts[0] + "/" + parts[1], nil
	}
	return "", wrongUse("OWNER is self, org/acme, user/u-17 or org/acme/user/u-17")
}

// mostRows is what the engine answers in one page at the most.
const mostRows = 1000

// pagesOf reads one page, or all as if they were one.
func pagesOf(ctx context.Context, c *client.Client, below string, request client.InventoryRequest, all bool,
) (*client.Inventory, error) {
	if all && request.Limit == 0 {
		request.Limit = mostRows
	}
	whole, err := c.Inventory(ctx, below, request)
	if err != nil {
		return nil, err
	}
	rows, _ := whole.Data["connections"].([]any)
	for all && whole.Cursor != "" {
		request.Cursor = whole.Cursor
		page, err := c.Inventory(ctx, below, request)
		if err != nil {
			return nil, err
		}
		if page.Cursor == whole.Cursor {
			return nil, withCode(codeFailed, "the pages of the inventory do not end: %s comes twice", page.Cursor)
		}
		more, _ := page.Data["connections"].([]any)
		rows = append(rows, more...)
		whole.Connections = append(whole.Connections, page.Connections...)
		whole.Cursor, whole.Unreadable = page.Cursor, max(whole.Unreadable, page.Unreadable)
		for _, warning := range page.Warnings {
			if !slices.Contains(whole.Warnings, warning) {
				whole.Warnings = append(whole.Warnings, warning)
			}
		}
		whole.Data["connections"], whole.Data["cursor"] = rows, page.Cursor
		whole.Data["unreadable"] = whole.Unreadable
	}
	return whole, nil
}

func (a *app) showInventory(inventory *client.Inventory, countBy string) error {
	a.warn(inventory.Warnings)
	if inventory.Unreadable > 0 {
		a.Say("warning: %d entries cannot be read, and are not among these", inventory.Unreadable)
	}
	if countBy != "" {
		return a.answer(inventory.Data, func() error {
			var rows [][]string
			for _, name := range slices.SortedFunc(maps.Keys(inventory.Counts), func(one, other string) int {
				return cmp.Or(inventory.Counts[other]-inventory.Counts[one], strings.Compare(one, other))
			}) {
				rows = append(rows, []string{name, strconv.Itoa(inventory.Counts[name])})
			}
			rows = append(rows, []string{"total", strconv.Itoa(inventory.Total)})
			return terminal.Table(a.Out, []string{strings.ToUpper(countBy), "CONNECTIONS"}, rows)
		})
	}
	switch {
	case inventory.Cursor != "":
		a.Say("there may be more: --all, or --cursor %s", terminal.Clean(inventory.Cursor))
	case len(inventory.Connections) == 0:
		a.Say("there is none")
	}
	return a.answer(inventory.Data, func() error {
		if len(inventory.Connections) == 0 {
			return nil
		}
		var rows [][]string
		for _, row := range inventory.Connections {
			rows = append(rows, []string{
				row.Path, row.Provider, beside(row.Status, row.StatusReason), accountOf(row.Account), row.Label,
				endsBy(row), row.LastUsed,
			})
		}
		return terminal.Table(a.Out, []string{
			"CONNECTION", "PROVIDER", "STATUS", "ACCOUNT", "LABEL", "ENDS", "LAST USED",
		}, rows)
	})
}

// endsBy is when the consent runs out or the key is to be replaced; else when the access token does, which may be
// renewed: the row does not tell.
func endsBy(row client.Row) string {
	return cmp.Or(row.ReconnectBy, row.RotateBy, row.ExpireTime)
}
