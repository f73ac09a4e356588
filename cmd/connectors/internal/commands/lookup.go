package commands

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) lookup() *cobra.Command {
	var providers []string
	var job string
	cmd := &cobra.Command{
		Use:   "lookup [ORGANIZATION]",
		Short: "Whose a token or key is that somebody found",
		Long: `Whose a token or key is that somebody found: of the whole mount, or among the connections of an
organization, such as org/acme, and its members. It is asked for and not shown, or comes from stdin:

  connectors lookup < found.txt

Where there is much to look at it waits. What was interrupted is read by --job.`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeLevels,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, within := cmd.Context(), ""
			if len(args) > 0 {
				within = strings.Trim(args[0], "/")
				if org, is := strings.CutPrefix(within, "org/"); !is || client.CheckName("organization", org) != nil {
					// a secret may stand here by mistake, so the text is not shown again
					return wrongUse("what was found is no argument, since others can read those: it is asked for, or comes from " +
						"stdin; an organization is named as org/acme")
				}
			}
			if job != "" {
				if _, err := nameOf("look-up", job); err != nil {
					return err
				}
				if len(providers) > 0 {
					return wrongUse("--job reads a look-up that was begun: --provider is of a new one")
				}
			}
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			var lookup *client.Lookup
			if job != "" {
				lookup, err = c.LookupJob(ctx, within, job)
			} else {
				var found string
				if found, err = a.foundSecret(ctx); err == nil {
					lookup, err = c.Lookup(ctx, within, client.LookupRequest{Token: found, Provider: providers})
				}
			}
			if err == nil {
				lookup, err = a.awaitLookup(ctx, c, within, lookup)
			}
			if err != nil {
				return err
			}
			a.warn(lookup.Warnings)
			if err := a.answer(lookup.Data, func() error { return a.showLookup(lookup) }); err != nil {
				return err
			}
			return endOfLookup(lookup)
		},
	}
	cmd.Flags().StringSliceVar(&providers, "provider", nil, "look at these providers and their connections alone")
	cmd.Flags().StringVar(&job, "job", "", "read a look-up that was begun")
	return cmd
}

// foundSecret is what a person types, or what comes from stdin.
func (a *app) foundSecret(ctx context.Context) (string, error) {
	var found string
	var err error
	if a.Asks() {
		found, err = a.AskSecret(ctx, "The token or key that was found, not shown: ")
	} else {
		found, err = a.readStdin(ctx)
	}
	if found = strings.TrimSpace(found); err == nil && found == "" {
		err = wrongUse("there is nothing to look up: bring what was found by stdin")
	}
	return found, err
}

// awaitLookup waits until all was looked at.
func (a *app) awaitLookup(ctx context.Context, c *client.Client, within string, lookup *client.Lookup,
) (*client.Lookup, error) {
	for job := lookup.Job; lookup.State == "running"; {
		a.Say("%d of %d connections are looked at", lookup.Examined, lookup.Total)
		err := pause(ctx, between)
		if err == nil {
			lookup, err = c.LookupJob(ctx, within, job)
		}
		if err != nil {
			a.Say("it goes on without you, and can be read for a day: %s", terminal.Clean(strings.Join(strings.Fields(
				"connectors lookup "+within+" --job "+job), " ")))
			return nil, err
		}
	}
	return lookup, nil
}

func (a *app) showLookup(lookup *client.Lookup) error {
	for i, match := range lookup.Matches {
		if i > 0 {
			if _, err := fmt.Fprintln(a.Out); err != nil {
				return err
			}
		}
		var readers []string
		for _, reader := range match.Readers {
			readers = append(readers, beside(strings.TrimSpace(reader.DisplayName+" "+reader.EntityID), reader.LastUsed))
		}
		if err := terminal.Pairs(a.Out, [][2]string{
			{"connection", match.Path},
			{"of", beside(match.Of, match.Standing)},
			{"field", match.Field},
			{"provider", match.Provider},
			{"kind", match.Kind},
			{"label", match.Label},
			{"owner", match.Owner},
			{"status", beside(match.Status, match.StatusReason)},
			{"private", onlyTrue(match.Private)},
			{"replaced_time", match.ReplacedTime},
			{"deleted_time", match.DeletedTime},
			{"created_by", strings.TrimSpace(match.CreatedBy + " " + match.CreatedByID)},
			{"last_used", match.LastUsed},
			{"readers", strings.Join(readers, ", ")},
			{"connection_id", match.ConnectionID},
			{"next_step", match.NextStep},
		}); err != nil {
			return err
		}
	}
	return nil
}

// endOfLookup tells what is not there from what may be.
func endOfLookup(lookup *client.Lookup) error {
	switch {
	case lookup.State == "found":
		return nil
	case lookup.Unreadable > 0:
		return withCode(codeFailed, "nobody is known to have it, but %d entries cannot be read, and it may be theirs: "+
			"connectors doctor tells more", lookup.Unreadable)
	}
	return withCode(codeAbsent, "it is nobody's of the %d connections that were looked at", lookup.Total)
}
