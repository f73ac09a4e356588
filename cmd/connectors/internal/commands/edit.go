package commands

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// edits are what the flags of edit say.
type edits struct {
	label, choose, rotateAfter, debugUntil, reason string
	tags, untag, requiredScopes                    []string
	enable, disable, private, notPrivate           bool
	archive, unarchive, restoreFormer              bool
}

func (a *app) edit() *cobra.Command {
	var e edits
	cmd := &cobra.Command{
		Use:   "edit NAME",
		Short: "Change what is no credential: label, tags, the site that is used, whether it serves",
		Long: `Change what is no credential. What no flag names stays as it is. A key is written anew by reconnect, and
another name is given by transfer.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			update, err := e.read(cmd.Flags().Changed)
			if err != nil {
				return err
			}
			c, path, err := a.at(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := e.complete(cmd.Context(), c, path, &update); err != nil {
				return err
			}
			connection, err := c.Update(cmd.Context(), path, update)
			if err != nil {
				return err
			}
			a.warn(connection.Warnings)
			return a.answer(connection.Data, func() error { return a.showConnection(connection) })
		},
	}
	e.flags(cmd)
	return cmd
}

func (e *edits) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&e.label, "label", "", "a name for people; empty: none")
	flags.StringArrayVar(&e.tags, "tag", nil, "set a tag, as team=sales; the others stay; may be repeated")
	flags.StringArrayVar(&e.untag, "untag", nil, "take the tag of this name away; may be repeated")
	flags.StringVar(&e.choose, "choose", "", "use this one of the choices, by its id")
	flags.StringSliceVar(&e.requiredScopes, "required-scopes", nil, "the scopes whose absence is shown; empty: none")
	flags.StringVar(&e.rotateAfter, "rotate-after", "", "after how long a key is to be replaced, as 90d; 0: never")
	flags.StringVar(&e.debugUntil, "debug-until", "", "tell exchanges with the service to the server log for so long, as "+
		"30m; empty: no longer")
	flags.BoolVar(&e.disable, "disable", false, "stop serving the credential; nothing is lost")
	flags.BoolVar(&e.enable, "enable", false, "take your own --disable back")
	flags.BoolVar(&e.private, "private", false, "serve the owner's own entity alone, and those it is shared with")
	flags.BoolVar(&e.notPrivate, "not-private", false, "serve whoever has a policy for it")
	flags.BoolVar(&e.archive, "archive", false, "put it away: as --disable, and shown as archived")
	flags.BoolVar(&e.unarchive, "unarchive", false, "take your own --archive back")
	flags.BoolVar(&e.restoreFormer, "restore-former", false, "put the key back that was replaced last")
	flags.StringVar(&e.reason, "reason", "", "why, beside --archive")
}

// read makes of the flags what needs no look at the connection.
func (e *edits) read(given func(flag string) bool) (update client.ConnectionUpdate, err error) {
	text := func(flag string, value *string) *string {
		if given(flag) {
			return value
		}
		return nil
	}
	update.Label, update.ArchivedReason = text("label", &e.label), text("reason", &e.reason)
	update.RotateAfter, update.DebugUntil = text("rotate-after", &e.rotateAfter), text("debug-until", &e.debugUntil)
	update.RestoreFormer = e.restoreFormer
	if given("required-scopes") {
		update.RequiredScopes = append([]string{}, e.requiredScopes...)
	}
	for _, word := range []struct {
		field   **bool
		on, off bool
		flags   string
	}{
		{&update.Disabled, e.disable, e.enable, "--disable and --enable"},
		{&update.Private, e.private, e.notPrivate, "--private and --not-private"},
		{&update.Archived, e.archive, e.unarchive, "--archive and --unarchive"},
	} {
		switch {
		case word.on && word.off:
			return update, wrongUse("%s say the opposite: name one", word.flags)
		case word.on || word.off:
			*word.field = &word.on
		}
	}
	switch {
	case given("reason") && !e.archive:
		return update, wrongUse("--reason says why something is put away: it goes with --archive")
	case given("choose") && e.choose == "":
		return update, wrongUse("--choose takes the id of one of the choices, which connectors show has")
	}
	for _, tag := range e.tags {
		if name, _, found := strings.Cut(tag, "="); !found || name == "" {
			return update, wrongUse("--tag takes name=value")
		} else if slices.Contains(e.untag, name) {
			return update, wrongUse("--tag and --untag both name %s: name it once", name)
		}
	}
	for _, flag := range []string{
		"label", "tag", "untag", "choose", "required-scopes", "rotate-after", "debug-until", "disable", "enable", "private",
		"not-private", "archive", "unarchive", "restore-former",
	} {
		if given(flag) {
			return update, nil
		}
	}
	return update, wrongUse("say what to change: --label, --tag, --choose or another flag of connectors edit --help")
}

// complete puts in what goes by how the connection is: its other tags, and the input that picks a site.
func (e *edits) complete(ctx context.Context, c *client.Client, path string, update *client.ConnectionUpdate) error {
	if e.choose == "" && len(e.tags)+len(e.untag) == 0 {
		return nil
	}
	known, err := c.Connection(ctx, path)
	if err != nil {
		return err
	}
	if len(e.tags)+len(e.untag) > 0 {
		update.Tags = retagged(known.Tags, e.tags, e.untag)
	}
	if e.choose == "" {
		return nil
	}
	definition, err := definitionOf(ctx, c, known.Provider)
	if err != nil {
		return err
	}
	update.Inputs, err = pick(definition, e.choose)
	return err
}

func retagged(tags map[string]string, set, unset []string) map[string]string {
	all := map[string]string{}
	maps.Copy(all, tags)
	for _, tag := range set {
		name, value, _ := strings.Cut(tag, "=")
		all[name] = value
	}
	for _, name := range unset {
		delete(all, name)
	}
	return all
}

// pick gives the input that picks one of the choices. Where the catalogue does not tell which that is, since the
// provider has another name than its definition, it is named: site=ID.
func pick(definition *client.Definition, id string) (map[string]string, error) {
	if definition == nil {
		if name, value, found := strings.Cut(id, "="); found {
			return map[string]string{name: value}, nil
		}
		return nil, wrongUse("the catalogue does not tell which input picks one of the choices here: name it too, as "+
			"--choose site=%s", id)
	}
	for _, name := range slices.Sorted(maps.Keys(definition.Inputs)) {
		if definition.Inputs[name].Picked {
			return map[string]string{name: strings.TrimPrefix(id, name+"=")}, nil
		}
	}
	return nil, wrongUse("%s has nothing to choose from", definition.Name)
}
