package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"

	"github.com/hashicorp/vault/api"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const (
	mount       = "connectors"
	connection  = "slack"
	person      = "alice"
	emulatedApp = "connectors-dev" // client id at every service
	appSecret   = "not-a-secret"   // the emulator's alone
)

// services are connected under providers of the names of their definitions.
var services = []string{"slack", "github", "google"}

// demo is a Vault with emulated services to connect.
type demo struct {
	vault    *stack.Vault
	services *stack.Emulate
}

func (d *demo) publicURL() string {
	return d.vault.Addr + "/v1/" + mount
}

func (d *demo) apps() stack.EmulateOptions {
	app := func(provider string) stack.EmulatedApp {
		return stack.EmulatedApp{
			ClientID: emulatedApp, ClientSecret: appSecret, RedirectURIs: []string{
				d.publicURL() + "/callback/" + provider,
			},
			Scopes: []string{"chat:write", "channels:history", "users:read"},
		}
	}
	return stack.EmulateOptions{Slack: app("slack"), GitHub: app("github"), Google: app("google")}
}

func (d *demo) configure(ctx context.Context) error {
	if err := d.vault.Mount(ctx, mount); err != nil {
		return err
	}
	_, err := d.write(ctx, "config", map[string]any{"public_url": d.publicURL(), "egress_allow": "127.0.0.1"})
	if err != nil {
		return err
	}
	for _, name := range services {
		_, err := d.write(ctx, "providers/"+name, map[string]any{
			"client_id": emulatedApp, "client_secret": appSecret, "endpoints": d.services.Endpoints(name),
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// ownPolicy is what people need to connect accounts of their own, below the folder that make runs in.
const ownPolicy = "scripts/recipes/policies/own.hcl"

// admit makes a person who logs in with the name as password, and may connect accounts of their own.
func (d *demo) admit(ctx context.Context) error {
	policy, err := os.ReadFile(ownPolicy)
	if err != nil {
		return err
	}
	sys := d.vault.Client.Sys()
	if err := sys.PutPolicyWithContext(ctx, "own", string(policy)); err != nil {
		return err
	}
	if err := sys.EnableAuthWithOptionsWithContext(ctx, "userpass", &api.EnableAuthOptions{Type: "userpass"}); err != nil {
		return err
	}
	_, err = d.vault.Client.Logical().WriteWithContext(ctx, "auth/userpass/users/"+person, map[string]any{
		"password": person, "token_policies": "own",
	})
	return err
}

// login is the command by which the person gets a token, which is stored nowhere.
var login = []string{"login", "-method=userpass", "-token-only", "username=" + person, "password=" + person}

// greet tries what a person does first, by the token that they log in for.
func (d *demo) greet(ctx context.Context) error {
	token, err := d.vault.CLI(ctx, login...)
	if err != nil {
		return err
	}
	c, err := d.vault.Client.Clone()
	if err != nil {
		return err
	}
	c.SetToken(strings.TrimSpace(token))
	if _, err := c.Logical().ListWithContext(ctx, mount+"/connections/self"); err != nil {
		return fmt.Errorf("%s may not list accounts of their own: %w", person, err)
	}
	return nil
}

// shownCode finds the confirmation code among the callback page's words.
var shownCode = regexp.MustCompile(`<code>([A-Z0-9-]{8,9})</code>`)

// connect goes the whole way of the connect flow, with a robot in the person's place.
func (d *demo) connect(ctx context.Context) error {
	flow, err := d.write(ctx, "auth-code-url/"+connection, map[string]any{"provider": "slack"})
	if err != nil {
		return err
	}
	start, _ := flow["url"].(string)
	page, err := stack.NewRobot(person).Visit(ctx, start, d.publicURL()+"/callback/")
	if err != nil {
		return err
	}
	code := shownCode.FindStringSubmatch(page.Body)
	if page.Status != http.StatusOK || code == nil {
		return fmt.Errorf("the callback answers %d and shows no confirmation code", page.Status)
	}
	connected, err := d.write(ctx, "exchange", map[string]any{
		"flow_id":           flow["flow_id"],
		"confirmation_code": code[1],
	})
	if err != nil {
		return err
	}
	if connected["status"] != "active" {
		return fmt.Errorf("the connection is %v after the exchange", connected["status"])
	}
	return nil
}

// read reads the credential by the plain vault command and tries it at the service. Emulated Slack answers any token,
// so it counts only if it names the person who connected.
func (d *demo) read(ctx context.Context) error {
	token, err := d.vault.CLI(ctx, "read", "-field=access_token", mount+"/creds/"+connection)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.services.Endpoints("slack")["identity"], nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token))
	page, err := stack.NewRobot("").Open(req)
	if err != nil {
		return err
	}
	if !strings.Contains(page.Body, `"user":"`+person+`"`) {
		return errors.New("the credential is not one of " + person + ", who connected")
	}
	fmt.Printf("demo: vault read %s/creds/%s gave a token with which Slack knows %s\n", mount, connection, person)
	return nil
}

// invite says what can be done by hand, starting with a flow to finish.
func (d *demo) invite(ctx context.Context, out io.Writer) error {
	flow, err := d.write(ctx, "auth-code-url/github", nil)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, `
Vault is running with the engine at %[1]s/, and emulated Slack, GitHub and Google to connect.
In another shell:

  export VAULT_ADDR=%[2]s
  export VAULT_TOKEN=%[3]s
  vault read %[1]s/creds/%[4]s

The vault command itself, if you have none:

  alias vault=%[5]s

To connect an account by hand, open this and choose somebody:

  %[6]s

then give the code that the last page shows:

  vault write %[1]s/exchange flow_id=%[7]s confirmation_code=...
  vault read %[1]s/creds/github

To try it as a person, %[10]s, by the command line that make has built:

  export VAULT_ADDR=%[2]s
  export VAULT_TOKEN=$(vault %[11]s)
  bin/connectors list; bin/connectors connect github; bin/connectors ui

Vault's log is %[8]s
Its audit log is %[9]s
Ctrl-C stops everything and removes the files.
`, mount, d.vault.Addr, d.vault.Token, connection, d.vault.Binary(), flow["url"], flow["flow_id"],
		d.vault.LogFile, d.vault.AuditFile, person, strings.Join(login, " "))
	return err
}

func (d *demo) write(ctx context.Context, path string, data map[string]any) (map[string]any, error) {
	secret, err := d.vault.Client.Logical().WriteWithContext(ctx, mount+"/"+path, data)
	if err != nil {
		return nil, err
	}
	if secret == nil {
		return nil, nil
	}
	return secret.Data, nil
}
