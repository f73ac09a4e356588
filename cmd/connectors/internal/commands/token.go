package commands

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

func (a *app) tokenOf() *cobra.Command {
	var header bool
	var field string
	var minTTL time.Duration
	cmd := &cobra.Command{
		Use:   "token NAME",
		Short: "The credential of a connection, fresh",
		Long: `The credential of a connection, fresh: the access token, or the one secret field of a key.

With --header the headers that a request needs, one a line, as curl takes them without showing
them to everybody who lists processes:

  connectors token slack --header | curl -H @- https://slack.com/api/auth.test`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if header && field != "" {
				return wrongUse("--header and --field are two answers: name one")
			}
			path, err := pathOf(args[0])
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			options := client.CredentialOptions{MinTTL: minTTL}
			if header {
				options.Include = []string{"send"}
			}
			credential, err := c.Credential(cmd.Context(), path, options)
			if err != nil {
				return a.advised(cmd.Context(), c, args[0], path, err)
			}
			a.warn(credential.Warnings)
			if a.Shows() {
				a.Say("%s of %s%s", path, credential.Provider, endOf(credential))
			}
			return a.answer(credential.Data, func() error {
				return a.writeCredential(path, credential, header, field)
			})
		},
	}
	cmd.Flags().BoolVar(&header, "header", false, "the headers that show it to the service, for curl -H @-")
	cmd.Flags().StringVar(&field, "field", "", "this field of it, where a key has several")
	cmd.Flags().DurationVar(&minTTL, "min-ttl", 0, "one that lives at least so long, as 10m, refreshed if need be")
	return cmd
}

// writeCredential writes one as it is, but to a terminal, which might obey what a service put into it.
func (a *app) writeCredential(path string, credential *client.Credential, header bool, field string) error {
	out := io.Writer(a.Out)
	if a.Shows() {
		out = terminal.Lines(out)
	}
	if header {
		return writeHeaders(out, path, credential)
	}
	value, err := valueOf(path, credential, field)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(out, value)
	return err
}

// endOf tells when a credential ends, as the end of a sentence.
func endOf(credential *client.Credential) string {
	if credential.ExpireTime == "" {
		return ", which does not expire"
	}
	return ", which ends at " + until(credential.ExpireTime)
}

// valueOf is the one value that a credential is used by, or the field that is asked for.
func valueOf(path string, credential *client.Credential, field string) (string, error) {
	fields := credential.Fields()
	switch {
	case field != "":
		if value := credential.Field(field); value != "" {
			return value, nil
		}
		return "", wrongUse("the credential of %s has no field %q: it has %s", path, field, strings.Join(fields, ", "))
	case credential.AccessToken != "":
		return credential.AccessToken, nil
	case len(fields) == 1:
		return credential.Field(fields[0]), nil
	}
	return "", wrongUse("the credential of %s has several fields: name one with --field (exec: VAR=%s#FIELD): %s", path,
		path, strings.Join(fields, ", "))
}

func writeHeaders(w io.Writer, path string, credential *client.Credential) error {
	send := credential.Send
	switch {
	case send == nil:
		return fmt.Errorf("the mount does not say how the credential of %s is sent", path)
	case len(send.Query) > 0 || send.Path != "":
		return fmt.Errorf("the service of %s takes the credential in the address, not in headers alone: use connectors "+
			"api %s", path, path)
	}
	for _, name := range slices.Sorted(maps.Keys(send.Headers)) {
		if strings.ContainsAny(name+send.Headers[name], "\r\n\x00") {
			return fmt.Errorf("the header %q of %s would be more than one line", name, path)
		}
		if _, err := fmt.Fprintf(w, "%s: %s\n", name, send.Headers[name]); err != nil {
			return err
		}
	}
	return nil
}
