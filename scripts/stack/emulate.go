package stack

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// EmulatedApp is an OAuth app registered at an emulated service.
type EmulatedApp struct {
	ClientID     string
	ClientSecret string
	RedirectURIs []string
	Scopes       []string // Slack and Linear only: what the app may ask for
}

// EmulateOptions name the app at each service.
type EmulateOptions struct {
	Slack, GitHub, Google, Microsoft, Linear, Okta EmulatedApp
}

// Emulate is a running emulator of six services. Each knows the users alice and bob, with addresses at example.com.
type Emulate struct {
	Slack, GitHub, Google, Microsoft, Linear, Okta string // the origins

	apps    EmulateOptions
	process *process
	dir     string
}

// StartEmulate starts the emulated services, each on a port of loopback.
func StartEmulate(ctx context.Context, tools Tools, o EmulateOptions) (*Emulate, error) {
	dir, err := os.MkdirTemp("", "emulate-")
	if err != nil {
		return nil, err
	}
	e := &Emulate{apps: o, dir: dir}
	if err := e.start(ctx, tools); err != nil {
		e.Stop()
		return nil, err
	}
	return e, nil
}

func (e *Emulate) start(ctx context.Context, tools Tools) error {
	origins := []*string{&e.Slack, &e.GitHub, &e.Google, &e.Microsoft, &e.Linear, &e.Okta} // the order of --service
	port, err := freePorts(len(origins))
	if err != nil {
		return err
	}
	for i, origin := range origins {
		*origin = fmt.Sprintf("http://127.0.0.1:%d", port+i)
	}
	seed := filepath.Join(e.dir, "seed.json")
	content, err := json.Marshal(e.seed())
	if err != nil {
		return err
	}
	if err := os.WriteFile(seed, content, 0o600); err != nil {
		return err
	}
	// Its own script rather than npx, which would leave the server behind when it is told to end.
	cmd := exec.Command(tools.Node, filepath.Join(tools.ServersDir, "node_modules", "emulate", "dist", "index.js"),
		"start",
		"--port", strconv.Itoa(port), "--service", "slack,github,google,microsoft,linear,okta", "--seed", seed)
	cmd.Dir = e.dir
	cmd.Env = environment(e.dir)
	if e.process, err = start("emulate", cmd, filepath.Join(e.dir, "log")); err != nil {
		return err
	}
	return e.process.ready(ctx, func(ctx context.Context) error {
		for _, origin := range origins {
			if _, err := status(ctx, *origin); err != nil {
				return err
			}
		}
		return nil
	})
}

// seed is emulate's own configuration format.
func (e *Emulate) seed() map[string]any {
	o := e.apps
	type object = map[string]any
	app := func(a EmulatedApp) []object {
		return []object{{
			"name": "Connectors", "client_id": a.ClientID, "client_secret": a.ClientSecret,
			"redirect_uris": a.RedirectURIs,
			"scopes":        a.Scopes,
		}}
	}
	users := func(key string) (list []object) {
		for _, name := range []string{"alice", "bob"} {
			list = append(list, object{key: name, "email": name + "@example.com", "email_verified": true})
		}
		return list
	}
	return object{
		"slack": object{
			"team": object{"name": "Acme", "domain": "acme"}, "users": users("name"), "oauth_apps": app(o.Slack),
		},
		"github":    object{"users": users("login"), "oauth_apps": app(o.GitHub)},
		"google":    object{"users": users("name"), "oauth_clients": app(o.Google)},
		"microsoft": object{"users": users("name"), "oauth_clients": app(o.Microsoft)},
		"linear": object{
			"organization": object{"name": "Acme", "url_key": "acme"}, "users": users("name"), "oauth_apps": app(o.Linear),
		},
		"okta": object{"baseUrl": e.Okta, "users": users("login"), "oauth_clients": app(o.Okta)},
	}
}

// Endpoints gives the URLs of a service by step, for a provider that is to talk to the emulator instead: those of
// every step of its definition, so that nothing is left to reach the real service.
func (e *Emulate) Endpoints(definition string) map[string]string {
	switch definition {
	case "slack":
		return map[string]string{
			"authorize": e.Slack + "/oauth/v2/authorize",
			"token":     e.Slack + "/api/oauth.v2.access",
			"identity":  e.Slack + "/api/auth.test",
			"revoke":    e.Slack + "/api/auth.revoke",
		}
	case "github":
		return map[string]string{
			"authorize": e.GitHub + "/login/oauth/authorize",
			"token":     e.GitHub + "/login/oauth/access_token",
			"identity":  e.GitHub + "/user",
			"revoke":    e.GitHub + "/applications/" + e.apps.GitHub.ClientID + "/grant",
		}
	case "google":
		return map[string]string{
			"authorize": e.Google + "/o/oauth2/v2/auth",
			"token":     e.Google + "/oauth2/token",
			"identity":  e.Google + "/oauth2/v2/userinfo",
			"revoke":    e.Google + "/oauth2/revoke",
		}
	case "microsoft":
		return map[string]string{
			"authorize": e.Microsoft + "/oauth2/v2.0/authorize",
			"token":     e.Microsoft + "/oauth2/v2.0/token",
			"identity":  e.Microsoft + "/v1.0/me",
		}
	case "linear":
		return map[string]string{
			"authorize": e.Linear + "/oauth/authorize",
			"token":     e.Linear + "/oauth/token",
			"identity":  e.Linear + "/graphql",
			"revoke":    e.Linear + "/oauth/revoke",
		}
	}
	return nil
}

// Stop ends the emulator.
func (e *Emulate) Stop() {
	e.process.stop()
	_ = os.RemoveAll(e.dir)
}

// status asks whether anything answers at a URL, and with which status.
func status(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}
