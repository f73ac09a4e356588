package commands

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/internal/terminal"
)

// newProvider is what the command line says of one.
type newProvider struct {
	service, name string
	inputs        map[string]string
	scopes        []string
	fields        map[string]string // others that are no secret
}

func (a *app) providerAdd() *cobra.Command {
	var n newProvider
	cmd := &cobra.Command{
		Use:   "add SERVICE",
		Short: "Let a service be connected: says what to create there, and asks for its id and secret",
		Long: `Let a service of the catalogue be connected on this mount. It says what to create at the service and with
which callback URL, and asks for the app's client id and secret, and for what else the operator holds.

Without a terminal these come from stdin as one JSON object, {"client_id": "...", "client_secret": "..."}, in
which any field of the path providers/ may stand.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n.service = args[0]
			if n.name == "" {
				n.name = n.service
			}
			for _, name := range []string{n.service, n.name} {
				if _, err := nameOf("provider", name); err != nil {
					return err
				}
			}
			c, err := a.dial(cmd.Context())
			if err != nil {
				return err
			}
			return a.addProvider(cmd.Context(), c, n)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&n.name, "name", "", "what the provider is called, as slack-emea; by default as SERVICE")
	flags.StringToStringVar(&n.inputs, "input", nil, "a value that the service asks of the operator, as tenant=one")
	flags.StringSliceVar(&n.scopes, "scopes", nil, "ask for these scopes; by default the definition's")
	flags.StringToStringVar(&n.fields, "field", nil, "another field that is no secret, as issuer=https://...")
	return cmd
}

func (a *app) addProvider(ctx context.Context, c *client.Client, n newProvider) error {
	switch known, err := c.Provider(ctx, n.name); {
	case err == nil:
		return wrongUse("the provider %s is there already, of %s: choose another name with --name, or see connectors "+
			"provider show %s", n.name, known.Definition, n.name)
	case client.StatusOf(err) != http.StatusNotFound:
		return err
	}
	definition, err := c.DefinitionFor(ctx, n.service, n.name)
	if err != nil {
		if client.StatusOf(err) == http.StatusNotFound {
			return withCode(codeAbsent, "the catalogue of this mount does not know %s: connectors catalog shows what there "+
				"is", n.service)
		}
		return err
	}
	request, err := n.public(definition)
	if err != nil {
		return err
	}
	callback, err := callbackFor(ctx, c, n.name)
	if err != nil {
		return err
	}
	a.tellSetup(definition, callback)
	if a.Asks() {
		err = a.askProvider(ctx, definition, request)
	} else {
		err = a.readObject(ctx, request)
	}
	if err != nil {
		return err
	}
	made, err := c.WriteProvider(ctx, n.name, request)
	if err != nil {
		return err
	}
	a.warn(made.Warnings)
	if made.Manifest != "" && made.Manifest != definition.Manifest {
		a.tellManifest(made.Manifest)
	}
	a.Say("")
	if forConsent(made.Kinds) {
		if made.CallbackURL == "" {
			a.Say("Nobody can consent before this mount knows its address: vault write %s/config "+
				"public_url=https://vault.example.com", c.Mount())
		} else {
			a.Say("The callback URL at the service is to be: %s", terminal.Clean(made.CallbackURL))
		}
	}
	if speaksAsApp(made.Kinds) && !made.ClientSecretSet {
		a.Say("It has no client secret. If its app has one: connectors provider rotate %s", n.name)
	}
	if n.name == n.service {
		a.Say("People connect by: connectors connect %s", n.name)
	} else {
		a.Say("People connect by: connectors connect %s --as NAME", n.name)
	}
	return a.answer(made.Data, func() error { return a.showProvider(n.name, made) })
}

// public are the fields of the command line, of which none may be a secret.
func (n *newProvider) public(definition *client.Definition) (map[string]any, error) {
	request := map[string]any{"definition": n.service}
	for name, value := range n.fields {
		if name == "client_secret" || name == "companions" || definition.KeyFields[name].Secret {
			return nil, wrongUse("%s is a secret, and other users of this machine can read arguments: leave it out to be "+
				"asked, or bring it by stdin", name)
		}
		request[name] = value
	}
	if len(n.inputs) > 0 {
		request["inputs"] = maps.Clone(n.inputs)
	}
	if len(n.scopes) > 0 {
		request["scopes"] = n.scopes
	}
	return request, nil
}

// tellSetup says what to do at the service before there is anything to answer.
func (a *app) tellSetup(definition *client.Definition, callback string) {
	setup := definition.Setup
	a.Say("%s", terminal.Clean(definition.Name))
	for _, address := range []string{setup.AppURL, setup.KeyURL} {
		if address != "" {
			a.Say("  %s", terminal.Clean(address))
			break
		}
	}
	for _, part := range []struct {
		heading string
		lines   []string
	}{
		{"What to do there:", setup.Steps},
		{"What it takes:", setup.Needs},
		{"What to know:", setup.Notes},
		{"Its limits:", setup.Limits},
	} {
		if len(part.lines) == 0 {
			continue
		}
		a.Say("\n%s", part.heading)
		for _, line := range part.lines {
			a.Say("  - %s", terminal.Clean(line))
		}
	}
	if forConsent(definition.Kinds) {
		a.Say("\nThe callback URL to register: %s", terminal.Clean(callback))
		if setup.Redirect != "" {
			a.Say("  %s", terminal.Clean(setup.Redirect))
		}
	}
	if definition.Manifest != "" {
		a.tellManifest(definition.Manifest)
	}
	a.Say("")
}

// tellManifest shows what creates the app in one step: a document to paste, or an address.
func (a *app) tellManifest(manifest string) {
	a.Say("\nOr in one step, by this manifest:\n")
	_, _ = io.WriteString(terminal.Lines(a.Err), strings.TrimSuffix(manifest, "\n")+"\n")
}

// callbackFor is the callback URL of a provider that is not there yet, as the engine tells it once it is; or why that
// cannot be said.
func callbackFor(ctx context.Context, c *client.Client, name string) (string, error) {
	config, err := c.Config(ctx)
	if client.StatusOf(err) == http.StatusForbidden {
		return "told at the end, since this token may not read config", nil
	}
	if err != nil {
		return "", err
	}
	if base := publicMount(config.PublicURL, c.Mount()); base != "" {
		return base + "/callback/" + name, nil
	}
	return "not known before public_url is written to config", nil
}

// publicMount is where browsers reach a mount: an origin stands for the mount below it, and an address with a path is
// the mount's own.
func publicMount(publicURL, mount string) string {
	u, err := url.Parse(publicURL)
	if publicURL == "" || err != nil {
		return ""
	}
	if strings.Trim(u.Path, "/") == "" {
		return strings.TrimSuffix(publicURL, "/") + "/v1/" + mount
	}
	return publicURL
}

// forConsent reports whether a person's browser comes back from the service.
func forConsent(kinds []string) bool { return slices.Contains(kinds, kindConsent) }

// speaksAsApp reports whether the service knows the caller by a client id and a secret.
func speaksAsApp(kinds []string) bool {
	return slices.ContainsFunc(kinds, func(kind string) bool {
		return slices.Contains([]string{kindConsent, "device_code", "client_credentials", "brokered"}, kind)
	})
}

// askProvider asks for what the operator brings: inputs, the app's id and secret, and key fields.
func (a *app) askProvider(ctx context.Context, definition *client.Definition, request map[string]any) error {
	inputs, _ := request["inputs"].(map[string]string)
	inputs, err := a.askInputs(ctx, definition, "provider", inputs)
	if err != nil {
		return err
	}
	if len(inputs) > 0 {
		request["inputs"] = inputs
	}
	held := heldFields(definition)
	app := speaksAsApp(definition.Kinds)
	signs := slices.Contains(definition.Kinds, "jwt_bearer") && len(held) > 0
	if _, known := request["client_id"]; !known && (app || signs) {
		id, err := a.Ask(ctx, "Client id: ")
		if err != nil {
			return err
		}
		if id != "" {
			request["client_id"] = id
		}
	}
	if app {
		if err := a.askHeld(ctx, "client_secret", "Client secret (empty: it has none)", true, request); err != nil {
			return err
		}
	}
	for _, name := range held {
		if _, known := request[name]; known {
			continue
		}
		field, question := definition.KeyFields[name], name
		if field.Help != "" {
			question += " (" + terminal.Clean(field.Help) + ")"
		}
		if err := a.askHeld(ctx, name, question, field.Secret, request); err != nil {
			return err
		}
	}
	return nil
}

// askHeld asks for one value of several lines at most: what has more is read from a file.
func (a *app) askHeld(ctx context.Context, name, question string, secret bool, into map[string]any) error {
	ask := a.Ask
	if secret {
		ask = a.AskSecret
		question += ", not shown, or @FILE"
	}
	value, err := ask(ctx, question+": ")
	if err == nil && secret {
		value, err = orFile(value)
	}
	if err != nil || value == "" {
		return err
	}
	into[name] = value
	return nil
}

// orFile is the content of the file that a typed @FILE names, as where a key has several lines.
func orFile(typed string) (string, error) {
	file, is := strings.CutPrefix(typed, "@")
	if !is {
		return typed, nil
	}
	content, err := os.ReadFile(file)
	if err != nil { // which names the file, and by mistake that may be a secret
		return "", wrongUse("the file after @ cannot be read; a secret that begins with @ comes by stdin")
	}
	if len(content) > maxKey {
		return "", wrongUse("the file after @ has more than a key")
	}
	return string(content), nil
}

// heldFields are those of a key that the operator sets, sorted.
func heldFields(definition *client.Definition) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(definition.KeyFields)) {
		if definition.KeyFields[name].SetBy == "provider" {
			names = append(names, name)
		}
	}
	return names
}

// readObject takes fields from stdin, as one JSON object; nothing there is none.
func (a *app) readObject(ctx context.Context, into map[string]any) error {
	text, err := a.readStdin(ctx)
	if err != nil || strings.TrimSpace(text) == "" {
		return err
	}
	var object map[string]any
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	if decoder.Decode(&object) != nil || object == nil || decoder.More() { // whose words would show parts of it
		return wrongUse("stdin brings no JSON object, such as {\"client_id\": \"...\", \"client_secret\": \"...\"}")
	}
	for name, value := range object {
		if _, twice := into[name]; twice {
			return wrongUse("%s comes by stdin and by a flag: leave out one of them", terminal.Clean(name))
		}
		into[name] = value
	}
	return nil
}

// readStdin takes all that comes there, which is no more than a key has.
func (a *app) readStdin(ctx context.Context) (string, error) {
	text, err := terminal.ReadAll(ctx, io.LimitReader(a.In, maxKey+1))
	if err != nil {
		return "", err
	}
	if len(text) > maxKey {
		return "", wrongUse("stdin brings more than a key")
	}
	return string(text), nil
}
