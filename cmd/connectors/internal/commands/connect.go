package commands

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/browser"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// way is how a person is led through a consent, or asked for a key.
type way struct {
	noBrowser    bool
	port         int
	kind         string
	scopes       []string
	inputs       map[string]string
	fields       map[string]string // of a key, those that are no secret
	otherAccount bool
}

func (w *way) flags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.BoolVar(&w.noBrowser, "no-browser", false, "start no browser and wait for none: the page's code is typed here")
	flags.IntVar(&w.port, "port", 0, "wait for the browser at this port of 127.0.0.1, as where one is forwarded")
	flags.StringSliceVar(&w.scopes, "scopes", nil, "ask for these scopes; by default the provider's")
	flags.StringToStringVar(&w.inputs, "input", nil, "a value that the service asks for, as shop=my-shop")
	flags.StringToStringVar(&w.fields, "field", nil, "a field of a key that is no secret, as username=me")
}

func (a *app) connect() *cobra.Command {
	var w way
	var as string
	cmd := &cobra.Command{
		Use:   "connect SERVICE [--as NAME]",
		Short: "Connect an account: by a consent in the browser, or by a key",
		Long: `Connect an account of yours, by a consent in the browser or by a key, as the service has it. SERVICE is a
provider of the mount; "connectors catalog" shows what there can be. The connection is named like it, or by --as.

A key is asked for by the names of its fields, and not shown. Without a terminal it comes from stdin: the one
secret field as it is, or all as one JSON object.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: a.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			service, name := args[0], as
			if strings.Contains(service, "/") {
				return wrongUse("SERVICE is the name of a provider: use --as for where the connection is to be")
			}
			if name == "" {
				name = service
			}
			path, err := pathOf(name)
			if err != nil {
				return err
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			known, err := c.Connection(cmd.Context(), path)
			switch {
			case client.StatusOf(err) == http.StatusNotFound:
			case err != nil:
				return err
			case known.Exists():
				return wrongUse("%s is there already: connectors reconnect %s, or choose another name with --as", path, path)
			}
			return a.connectBy(cmd.Context(), c, path, service, w)
		},
	}
	cmd.Flags().StringVar(&as, "as", "", "name of the connection, or where it is to be, as org/acme/slack")
	cmd.Flags().StringVar(&w.kind, "kind", "", "how the credential is obtained, where the service has several ways")
	w.flags(cmd)
	return cmd
}

func (a *app) reconnect() *cobra.Command {
	var w way
	var broken bool
	cmd := &cobra.Command{
		Use:               "reconnect NAME | --broken",
		Short:             "Connect again what does not work any more; --broken: each of yours that does not",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if broken == (len(args) > 0) {
				return wrongUse("name a connection, or --broken")
			}
			ctx := cmd.Context()
			if !broken {
				path, err := pathOf(args[0])
				if err != nil {
					return err
				}
				c, err := a.dial(ctx)
				if err != nil {
					return err
				}
				return a.reconnectOne(ctx, c, path, w)
			}
			c, err := a.dial(ctx)
			if err != nil {
				return err
			}
			list, err := c.Connections(ctx, "self")
			if err != nil {
				return err
			}
			broken := slices.DeleteFunc(list.Keys, func(name string) bool { return !needsPerson(list.KeyInfo[name].Status) })
			if len(broken) == 0 {
				a.Say("none of your connections has to be connected again")
			}
			for _, name := range broken {
				if err := a.reconnectOne(ctx, c, "self/"+name, w); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&broken, "broken", false, "each connection of yours that needs it, one after the other")
	cmd.Flags().BoolVar(&w.otherAccount, "allow-account-change", false, "take another account than before")
	w.flags(cmd)
	return cmd
}

func (a *app) reconnectOne(ctx context.Context, c *client.Client, path string, w way) error {
	known, err := c.Connection(ctx, path)
	if err != nil {
		return err
	}
	a.Say("%s: %s", terminal.Clean(known.Path()), terminal.Clean(statusWords(known.Status, known.StatusReason)))
	w.kind = known.Kind
	return a.connectBy(ctx, c, path, known.Provider, w)
}

// connectBy connects by what the service has: a consent, or a key.
func (a *app) connectBy(ctx context.Context, c *client.Client, path, provider string, w way) error {
	definition, err := definitionOf(ctx, c, provider)
	if err != nil {
		return err
	}
	var connection *client.Connection
	switch {
	case w.kind == kindDevice, w.kind == "" && definition != nil && slices.Equal(definition.Kinds, []string{kindDevice}):
		return wrongUse("a device code is not had by connectors: vault write %s/device-code/%s provider=%s, and "+
			"read that path until it is connected", c.Mount(), path, word(provider))
	case byConsent(definition, w.kind):
		if !w.waits(os.Getenv) && !a.Asks() && definition == nil && w.kind == "" {
			return whyUnknown(ctx, c, provider)
		}
		connection, err = a.consent(ctx, c, path, provider, w)
	default:
		connection, err = a.key(ctx, c, path, provider, definition, w)
	}
	if err != nil {
		return noProvider(provider, err)
	}
	return a.connected(connection)
}

// connected shows what is connected now, and makes an error of what does not serve.
func (a *app) connected(connection *client.Connection) error {
	a.warn(connection.Warnings)
	if err := a.answer(connection.Data, func() error { return a.showConnection(connection) }); err != nil {
		return err
	}
	if serves(connection.Status) {
		about := terminal.Clean(connection.Path())
		if account := accountOf(connection.Account); account != "" {
			about += ", as " + terminal.Clean(account)
		}
		a.Say("Connected: %s", about)
	}
	switch {
	case len(connection.Choices) > 0 && !serves(connection.Status):
		return withCode(codePerson, "%s reaches several (%s): choose one of these by its id: connectors edit "+
			"%s --choose ID", connection.Path(), choicesOf(connection.Choices), connection.Path())
	case connection.Status == "needs_reconnect":
		return withCode(codePerson, "%s is there without a credential that works (%s): connectors reconnect %s",
			connection.Path(), connection.StatusReason, connection.Path())
	case !serves(connection.Status):
		return withCode(codePerson, "%s is connected and does not serve: %s", connection.Path(),
			statusWords(connection.Status, connection.StatusReason))
	case len(connection.MissingScopes) > 0:
		return withCode(codePerson, "%s lacks scopes that were asked for: %s", connection.Path(),
			strings.Join(connection.MissingScopes, " "))
	}
	return nil
}

// definitionOf finds what a provider is. Its own word goes first, which operators may read; else one of its name
// counts. None is no error: the engine says what is wrong with a name that nobody has.
func definitionOf(ctx context.Context, c *client.Client, provider string) (*client.Definition, error) {
	if err := client.CheckPath(provider); err != nil {
		return nil, wrongUse("%s", err)
	}
	ids := []string{provider, "provider:" + provider}
	switch known, err := c.Provider(ctx, provider); {
	case err == nil:
		ids = []string{known.Definition}
	case client.StatusOf(err) == 0:
		return nil, err
	}
	for _, id := range ids {
		definition, err := c.Definition(ctx, id)
		if err == nil {
			return definition, nil
		}
		if status := client.StatusOf(err); status != http.StatusNotFound && status != http.StatusForbidden &&
			status != http.StatusBadRequest {
			return nil, err
		}
	}
	if catalog, err := c.Catalog(ctx, ""); err == nil { // it may be named otherwise than its service
		if id := catalog.DefinitionOf(provider); id != "" {
			return c.Definition(ctx, id)
		}
	}
	return nil, nil
}

// whyUnknown says why nothing is known of how a provider is connected.
func whyUnknown(ctx context.Context, c *client.Client, provider string) error {
	_, err := c.Definition(ctx, provider)
	if client.StatusOf(err) == http.StatusForbidden {
		return withCode(codeNotAllowed, "this token may not read %s/catalog/%s, which tells whether %s takes a key or a "+
			"consent: connectors doctor tells more", c.Mount(), provider, provider)
	}
	if _, err := c.Provider(ctx, provider); err == nil {
		return withCode(codeAbsent, "the catalogue does not tell this token how %s is connected, so no key is taken for "+
			"it here; at a terminal a consent is tried", provider)
	}
	return withCode(codeAbsent, "the catalogue knows no %s: connectors catalog shows what there is. A provider of "+
		"another name than its service is connected at a terminal", provider)
}

const (
	kindConsent = "authorization_code"
	kindDevice  = "device_code"
)

func byConsent(definition *client.Definition, kind string) bool {
	if kind != "" {
		return kind == kindConsent
	}
	return definition == nil || slices.Contains(definition.Kinds, kindConsent)
}

// here says why no browser of this machine can be waited for, and nothing where one can.
func (w *way) here(getenv func(string) string) string {
	if w.noBrowser {
		return "--no-browser"
	}
	return browser.Surroundings{System: runtime.GOOS, Env: getenv, Exists: browser.Exists}.Away()
}

// waits reports whether a browser is waited for: one of this machine, or one that a port is forwarded for.
func (w *way) waits(getenv func(string) string) bool {
	return w.here(getenv) == "" || w.port != 0 && !w.noBrowser
}
