package commands

import (
	"context"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/files"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) types() *cobra.Command {
	return &cobra.Command{
		Use:   "types",
		Short: "Write TypeScript types of what is configured on the mount",
		Long: `Write one TypeScript file: the union of the providers of the mount, and for each of them what its credential
is, as creds answers it. It reads providers, which is for operators.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			names, err := c.Documents(cmd.Context(), "providers")
			if err != nil {
				return err
			}
			document, services := map[string]any{}, []files.Service{}
			for _, name := range names {
				service, err := serviceOf(cmd.Context(), c, name)
				if err != nil {
					return err
				}
				services = append(services, service)
				document[name] = service
			}
			if a.output == "json" {
				return terminal.JSON(a.Out, document)
			}
			_, err = a.Out.Write(files.TypeScript(services))
			return err
		},
	}
}

// serviceOf is a provider as an application sees it.
func serviceOf(ctx context.Context, c *client.Client, name string) (files.Service, error) {
	s := files.Service{Name: name, Config: map[string]bool{}, KeyConfig: map[string]bool{}, Key: map[string]bool{}}
	provider, err := c.Provider(ctx, name)
	if err != nil {
		return s, err
	}
	s.Definition, s.Kinds = provider.Definition, provider.Kinds
	definition, err := c.Definition(ctx, provider.Definition)
	if client.StatusOf(err) == http.StatusNotFound { // one that this release of the engine does not take
		s.Kinds = nil
		return s, nil
	}
	if err != nil {
		return s, err
	}
	if !slices.ContainsFunc(s.Kinds, files.HandsOutKey) {
		for value, about := range definition.ConnectionConfig {
			s.Config[value] = about.Required
		}
		return s, nil
	}
	for value, about := range definition.ConnectionConfig {
		s.Config[value], s.KeyConfig[value] = about.Required, false // what a service tells of a key, it need not tell
	}
	for input, about := range definition.Inputs {
		s.KeyConfig[input] = about.Required || about.Default != "" || provider.Inputs[input] != ""
	}
	for field, about := range definition.KeyFields {
		always := about.Required || about.Default != "" || about.DefaultFrom != ""
		leaves := func(name string, secret bool) bool {
			return !secret || about.HandedOut || definition.Send.Names(name)
		}
		if about.SetBy == "provider" && about.Secret {
			continue // it leaves in send alone
		}
		s.Key[field] = always && leaves(field, about.Secret)
		for member, of := range about.JSON {
			s.Key[member] = always && of.Required && leaves(member, of.Secret)
		}
	}
	return s, nil
}
