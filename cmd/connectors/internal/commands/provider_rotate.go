package commands

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) providerRotate() *cobra.Command {
	var dropFormer, yes bool
	cmd := &cobra.Command{
		Use:   "rotate NAME [--drop-former]",
		Short: "Write a new client secret; the former one stays as the fallback until --drop-former",
		Long: `Write a new client secret of a provider. It is asked for and not shown (@FILE reads a private key from a
file); without a terminal it comes from stdin, as it is or as the JSON object of the path.

The former secret stays as the fallback, tried after the service refused the new one as unknown. Once the
service knows the new one alone, --drop-former forgets the former.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := nameOf("provider", args[0])
			if err != nil {
				return err
			}
			if dropFormer && !yes && !a.Asks() {
				return wrongUse("this forgets the former secret of %s: say --yes, since there is no terminal to ask at", name)
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			secret := client.ClientSecret{DropFormer: true}
			switch {
			case !dropFormer:
				secret, err = a.newClientSecret(cmd.Context(), name)
			case !yes:
				var sure bool
				sure, err = a.Sure(cmd.Context(), "Forget the former secret of "+terminal.Clean(name)+
					"? It cannot be brought back.")
				if err == nil && !sure {
					err = withCode(codeFailed, "%s was left as it is", name)
				}
			}
			if err != nil {
				return err
			}
			state, err := c.WriteClientSecret(cmd.Context(), name, secret)
			if client.StatusOf(err) == http.StatusBadRequest { // of anything, and that it is absent only a read tells
				if _, wrong := c.Provider(cmd.Context(), name); client.StatusOf(wrong) == http.StatusNotFound {
					return &coded{code: codeAbsent, err: err}
				}
			}
			if err != nil {
				return err
			}
			a.warn(state.Warnings)
			switch {
			case dropFormer:
				a.Say("the former secret of %s is forgotten", name)
			case state.FormerSecretSet:
				a.Say("the secret of %s is written, and the former one stays as the fallback: when the service takes "+
					"the new one alone, connectors provider rotate %s --drop-former", name, name)
			default:
				a.Say("the secret of %s is written; there is no former one", name)
			}
			return a.answer(state.Data, func() error {
				return terminal.Pairs(a.Out, [][2]string{
					{"provider", name},
					{"client_secret_set", textOf(state.ClientSecretSet)},
					{"former_secret_set", textOf(state.FormerSecretSet)},
					{"client_key_id", state.ClientKeyID},
					{"rotate_by", state.RotateBy},
					{"updated", state.Updated},
				})
			})
		},
	}
	cmd.Flags().BoolVar(&dropFormer, "drop-former", false, "forget the former secret, and write none")
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

// newClientSecret is the one that a person types, or that comes from stdin.
func (a *app) newClientSecret(ctx context.Context, name string) (client.ClientSecret, error) {
	var text string
	var err error
	if a.Asks() {
		if text, err = a.AskSecret(ctx, "New client secret of "+terminal.Clean(name)+", not shown, or @FILE: "); err == nil {
			text, err = orFile(text)
		}
	} else {
		text, err = a.readStdin(ctx)
	}
	if err != nil {
		return client.ClientSecret{}, err
	}
	return readClientSecret(text)
}

// readClientSecret takes a secret as it is, or the JSON object of the path. Which is meant, its fields say: a secret
// may be an object too.
func readClientSecret(text string) (client.ClientSecret, error) {
	var fields map[string]json.RawMessage
	if json.Unmarshal([]byte(text), &fields) == nil && fields["client_secret"] != nil {
		var secret client.ClientSecret
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.DisallowUnknownFields()
		if decoder.Decode(&secret) != nil || secret.Secret == "" { // whose words would show parts of it
			return client.ClientSecret{}, wrongUse("the object takes the texts client_secret, client_key_id and " +
				"client_certificate")
		}
		return secret, nil
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, "\n"), "\r")
	if text == "" {
		return client.ClientSecret{}, wrongUse("there is no secret: nothing was written")
	}
	return client.ClientSecret{Secret: text}, nil
}
