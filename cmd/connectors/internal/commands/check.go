package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) check() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:               "check NAME | --all",
		Short:             "Ask the service whether a connection works; --all: each of yours",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) > 0) {
				return wrongUse("name a connection, or --all")
			}
			if all {
				return a.checkAll(cmd.Context())
			}
			return a.checkOne(cmd.Context(), args[0])
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "each connection of yours, one after the other")
	return cmd
}

func (a *app) checkOne(ctx context.Context, name string) error {
	path, err := pathOf(name)
	if err != nil {
		return err
	}
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	check, err := c.Check(ctx, path)
	if err != nil {
		return a.advised(ctx, c, name, path, err)
	}
	a.warn(check.Warnings)
	err = a.answer(check.Data, func() error { return a.showChecks([]string{path}, []*client.Check{check}) })
	if err != nil {
		return err
	}
	return a.advised(ctx, c, name, path, judged(path, check))
}

func (a *app) checkAll(ctx context.Context) error {
	c, err := a.dial(ctx)
	if err != nil {
		return err
	}
	list, err := c.Connections(ctx, "self")
	if err != nil {
		return err
	}
	if len(list.Keys) == 0 {
		a.Say("nothing is connected under self: there is nothing to check")
	}
	document, worst := map[string]any{}, error(nil)
	var paths []string
	var checks []*client.Check
	for _, name := range list.Keys {
		path := "self/" + name
		check, err := c.Check(ctx, path)
		switch {
		case err != nil && ctx.Err() != nil:
			return err
		case err != nil: // the others are checked all the same
			document[path] = map[string]any{"errors": []string{err.Error()}}
			err = a.advised(ctx, c, name, path, err)
			a.complain(err)
		default:
			err = a.advised(ctx, c, name, path, judged(path, check))
			a.tellNext(err)
			document[path] = check.Data
			paths, checks = append(paths, path), append(checks, check)
		}
		if err != nil && (worst == nil || codeOf(ctx, err) < codeOf(ctx, worst)) {
			worst = err
		}
	}
	if err := a.answer(document, func() error { return a.showChecks(paths, checks) }); err != nil {
		return err
	}
	if worst != nil {
		return withCode(codeOf(ctx, worst), "not all of %d connections work", len(list.Keys))
	}
	return nil
}

func (a *app) showChecks(paths []string, checks []*client.Check) error {
	if len(checks) == 0 {
		return nil
	}
	var rows [][]string
	for i, check := range checks {
		rows = append(rows, []string{
			paths[i], statusWords(check.Status, check.StatusReason), check.TokenValid, check.Service, accountOf(check.Account),
			check.Advice,
		})
	}
	return terminal.Table(a.Out, []string{"CONNECTION", "STATUS", "VALID", "SERVICE", "ACCOUNT", "ADVICE"}, rows)
}

// judged makes an error of a check that did not find all well. Its advice is shown elsewhere.
func judged(path string, check *client.Check) error {
	switch {
	case !serves(check.Status), check.TokenValid == "false":
		return withCode(codePerson, "%s does not work (%s)", path, statusWords(check.Status, check.StatusReason))
	case len(check.ScopesMissing) > 0:
		return withCode(codePerson, "%s lacks scopes (%s)", path, strings.Join(check.ScopesMissing, " "))
	case check.Service == "down", check.Service == "limited":
		return withCode(codeAway, "the service of %s does not answer now (%s)", path, check.Service)
	}
	return nil
}

func serves(status string) bool { return status == "active" }
