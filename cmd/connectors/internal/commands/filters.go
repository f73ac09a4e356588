package commands

import (
	"slices"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// filters are the flags that choose connections, one for each filter of the paths.
type filters struct{ client.Filters }

func (f *filters) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	for _, list := range []struct {
		into        *[]string
		name, usage string
	}{
		{&f.Provider, "provider", "of these providers"},
		{&f.Definition, "definition", "of providers with these definitions"},
		{&f.Category, "category", "of services of these categories"},
		{&f.Status, "status", "with these statuses, as needs_reconnect"},
		{&f.StatusReason, "status-reason", "with these reasons of a status"},
		{&f.Kind, "kind", "of these kinds"},
		{&f.CreatedBy, "created-by", "made by these: entity ids, or display names of tokens without one"},
	} {
		flags.StringSliceVar(list.into, list.name, nil, list.usage)
	}
	for _, text := range []struct {
		into        *string
		name, usage string
	}{
		{&f.Owner, "owner", "of this owner alone, as org/acme, user/u-17 or org/acme/user/u-17"},
		{&f.Account, "account", "of this account at its provider, by its id"},
		{&f.Tag, "tag", "with this tag, as team or team=sales"},
		{&f.Label, "label", "with this text in their label"},
		{&f.ExpiresWithin, "expires-within", "whose credential dies within that time, as 7d, and nothing renews it"},
		{&f.ReconnectWithin, "reconnect-within", "whose consent runs out within that time"},
		{&f.UncheckedFor, "unchecked-for", "that were not checked for so long"},
		{&f.UnusedFor, "unused-for", "whose credential nobody read for so long"},
	} {
		flags.StringVar(text.into, text.name, "", text.usage)
	}
	for _, either := range []struct {
		into        **bool
		name, usage string
	}{
		{&f.OwnerMissing, "owner-missing", "whose owner Vault does not know any more"},
		{&f.MissingScopes, "missing-scopes", "whether required scopes were not granted"},
		{&f.Shared, "shared", "whether they are shared with somebody"},
		{&f.ScopeDrift, "scope-drift", "whether what was granted drifted from what the provider asks for"},
		{&f.RotationDue, "rotation-due", "whether their key is to be replaced by now"},
		{&f.Archived, "archived", "whether they are archived"},
	} {
		flags.BoolFunc(either.name, either.usage, func(text string) error {
			is, err := strconv.ParseBool(text)
			*either.into = &is
			return err
		})
	}
}

// judge refuses a filter that is named and empty, as by a variable that is not set: it would let all pass.
func (f *filters) judge(cmd *cobra.Command) error {
	var empty string
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		switch value := flag.Value.(type) {
		case pflag.SliceValue:
			if all := value.GetSlice(); len(all) == 0 || slices.Contains(all, "") {
				empty = flag.Name
			}
		default:
			if value.Type() == "string" && value.String() == "" {
				empty = flag.Name
			}
		}
	})
	if empty != "" {
		return wrongUse("--%s is empty, and would let every connection pass", empty)
	}
	return nil
}
