package commands

import (
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) provider() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "provider",
		Short: "For operators: which services can be connected on this mount, and their apps",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.providerAdd(),
		a.providerList(),
		a.providerRemove(),
		a.providerRotate(),
		a.providerShow(),
	)
	return cmd
}

func (a *app) providerList() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "The providers of this mount",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			list, err := c.Providers(cmd.Context())
			if err != nil {
				return err
			}
			a.warn(list.Warnings)
			if len(list.Keys) == 0 {
				a.Say("there is no provider yet: connectors provider add SERVICE")
			}
			return a.answer(list.Data, func() error {
				if len(list.Keys) == 0 {
					return nil
				}
				var rows [][]string
				for _, name := range list.Keys {
					rows = append(rows, []string{name, list.KeyInfo[name].Definition})
				}
				return terminal.Table(a.Out, []string{"PROVIDER", "DEFINITION"}, rows)
			})
		},
	}
}

func (a *app) providerShow() *cobra.Command {
	return &cobra.Command{
		Use:               "show NAME",
		Short:             "How a provider is set up; its secrets are never shown",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := nameOf("provider", args[0])
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			provider, err := c.Provider(cmd.Context(), name)
			if err != nil {
				return err
			}
			a.warn(provider.Warnings)
			return a.answer(provider.Data, func() error { return a.showProvider(name, provider) })
		},
	}
}

// showProvider writes what operators look for, in the order in which they do.
func (a *app) showProvider(name string, p *client.Provider) error {
	return terminal.Pairs(a.Out, [][2]string{
		{"provider", name},
		{"definition", p.Definition},
		{"kinds", strings.Join(p.Kinds, " ")},
		{"callback_url", p.CallbackURL},
		{"client_id", p.ClientID},
		{"client_secret_set", textOf(p.ClientSecretSet)},
		{"former_secret_set", onlyTrue(p.FormerSecretSet)},
		{"rotate_by", p.RotateBy},
		{"key_fields_set", strings.Join(p.KeyFieldsSet, " ")},
		{"client_auth", p.ClientAuth},
		{"issuer", p.Issuer},
		{"inputs", named(p.Inputs)},
		{"endpoints", named(p.Endpoints)},
		{"scopes", strings.Join(p.Scopes, " ")},
		{"allowed_scopes", strings.Join(p.AllowedScopes, " ")},
		{"optional_scopes", strings.Join(p.OptionalScopes, " ")},
		{"redirect_uris", strings.Join(p.RedirectURIs, " ")},
		{"return_urls", strings.Join(p.ReturnURLs, " ")},
		{"allowed_owners", strings.Join(p.AllowedOwners, " ")},
		{"companions", named(p.Companions)},
		{"frozen", onlyTrue(p.Frozen)},
		{"frozen_reason", p.FrozenReason},
		{"circuit", beside(p.Circuit.State, p.Circuit.Until)},
		{"debug_until", p.DebugUntil},
		{"updated", p.Updated},
	})
}

func (a *app) providerRemove() *cobra.Command {
	var yes, force bool
	cmd := &cobra.Command{
		Use:               "remove NAME",
		Short:             "Delete a provider with the secrets of its app; refused while it has connections",
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := nameOf("provider", args[0])
			if err != nil {
				return err
			}
			if !yes && !a.Asks() {
				return wrongUse("this deletes the provider %s: say --yes, since there is no terminal to ask at", name)
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			provider, err := c.Provider(cmd.Context(), name)
			if err != nil {
				return err
			}
			if !yes {
				question := "Delete the provider " + terminal.Clean(beside(name, provider.ClientID)) + " and its secrets"
				if force {
					question += ", although connections may remain without one"
				}
				if sure, err := a.Sure(cmd.Context(), question+"?"); err != nil {
					return err
				} else if !sure {
					return withCode(codeFailed, "%s was left as it is", name)
				}
			}
			warnings, err := c.DeleteProvider(cmd.Context(), name, force)
			if err != nil {
				if client.StatusOf(err) == http.StatusConflict && !force {
					return withCode(codePerson, "%w; here that is --force", err)
				}
				return err
			}
			a.warn(warnings)
			a.Say("the provider %s is deleted; its app lives on at the service, until you delete it there", name)
			return a.answer(map[string]any{"provider": name}, func() error { return nil })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&force, "force", false, "although it has connections: they stay, and end")
	return cmd
}

// nameOf refuses what is no single name.
func nameOf(what, name string) (string, error) {
	if err := client.CheckName(what, name); err != nil {
		return "", wrongUse("%s", err)
	}
	return name, nil
}
