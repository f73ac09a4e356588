package acceptance

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// The page of a link in a browser, by mouse and by keyboard alone: after a scanner's look and a person's no, a consent;
// a key, one that is refused, one that is used up; nothing for axe-core to find, and no scrolling sideways on a phone.
func TestLinkInChromium(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.newOIDC(t, "idp", "basic", stack.OIDCOptions{})
	e.newKeyService(t, deskKey)
	for name, keys := range map[string]bool{"mouse": false, "keyboard": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLooker(t, keys)
			judges := func(page string) {
				if !keys { // the pages are the same
					l.judges("link-" + page)
				}
			}
			made := e.write(t, "connect-link/user/u-"+name+"/idp", map[string]any{
				"provider": "idp", "purpose": "the calendar of the team",
			})
			link := made["url"].(string)
			visits(t, link, nil)
			l.opens(link)
			l.presses("^Continue to")
			l.logsIn("u-" + name)
			l.cancels()
			l.sees("Nothing was connected")
			judges("denied")
			assert.Equal(t, "pending", e.read(t, "connections/user/u-"+name+"/idp")["status"])
			l.opens(link)
			l.sees("the calendar of the team")
			judges("consent")
			l.presses("^Continue to")
			l.allows()
			code := l.sees(`(?m)^([A-Z0-9]{4}-[A-Z0-9]{4})$`)
			judges("tell")
			connected := e.write(t, "exchange", map[string]any{
				"flow_id": made["flow_id"], "confirmation_code": strings.ReplaceAll(code, "-", ""),
			})
			assert.Equal(t, "active", connected["status"])
			l.opens(link)
			l.sees("This link leads nowhere")
			judges("gone")

			made = e.write(t, "connect-link/user/u-"+name+"/desk", map[string]any{"provider": "desk"})
			l.opens(made["url"].(string))
			l.sees("Check and hand over")
			judges("key")
			l.fills("^[Aa]pi.?key", "a wrong key")
			l.presses("^Check and hand over")
			l.sees("does not take this key")
			judges("refused")
			l.fills("^[Aa]pi.?key", deskKey)
			l.presses("^Check and hand over")
			code = l.sees(`(?m)^([A-Z0-9]{4}-[A-Z0-9]{4})$`)
			html, err := stack.Evaluate[string](l.Window, `document.documentElement.outerHTML`)
			require.NoError(t, err)
			assert.NotContains(t, html, deskKey)
			connected = e.write(t, "exchange", map[string]any{
				"flow_id": made["flow_id"], "confirmation_code": strings.ReplaceAll(code, "-", ""),
			})
			assert.Equal(t, "active", connected["status"])
		})
	}
}

// linking is an application of two users, each with a browser of their own: it makes links, and finishes what comes
// back in the session of whoever brings it, as the README says.
type linking struct {
	*engine
	*httptest.Server
}

func (a *linking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if user, login := strings.CutPrefix(r.URL.Path, "/login/"); login {
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "session-of-" + user, Path: "/", HttpOnly: true})
		_, _ = fmt.Fprintf(w, "<title>in</title><p>you are %s", user)
		return
	}
	session, err := r.Cookie("session")
	if err != nil || r.URL.Path != "/back" {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	answer, err := a.vault.Client.Logical().WriteWithContext(r.Context(), a.path+"/exchange", map[string]any{
		"flow_id": r.URL.Query().Get("flow_id"), "confirmation_code": r.URL.Query().Get("confirmation_code"),
		"session_binding_value": session.Value,
	})
	if err != nil {
		_, _ = fmt.Fprintf(w, "<title>back</title><p>%s: nothing was connected", session.Value)
		return
	}
	_, _ = fmt.Fprintf(w, "<title>back</title><p>%s: connected %s", session.Value, answer.Data["owner"])
}

// A link of the one user that the other is sent, be it to click or by a page that posts it in their browser, connects
// nothing, though the service asks for no consent again; the first one's own does.
func TestLinkOfTwoUsersInChromium(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	service := newPlant(t) // consents without asking
	a := &linking{engine: e}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	e.write(t, "providers/app", map[string]any{
		"definition": "oauth2", "client_id": "app", "client_secret": plantedSecret, "return_urls": a.URL + "/back",
		"endpoints": map[string]string{"authorize": service.url + "/authorize", "token": service.url + "/token"},
	})
	attacker, victim := newLooker(t, false), newLooker(t, false)
	for user, l := range map[string]*looker{"mallory": attacker, "alice": victim} {
		l.opens(a.URL + "/login/" + user)
		l.sees("you are " + user)
	}
	of := func(user string) string {
		binding := sha256.Sum256([]byte("session-of-" + user))
		return e.write(t, "connect-link/user/"+user+"/app", map[string]any{
			"provider": "app", "return_url": a.URL + "/back",
			"session_binding": base64.RawURLEncoding.EncodeToString(binding[:]),
		})["url"].(string)
	}
	victim.opens(of("mallory"))
	victim.presses("^Continue to")
	victim.sees("session-of-alice: nothing was connected")
	assert.Equal(t, "pending", e.read(t, "connections/user/mallory/app")["status"])

	link := of("mallory")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<form method="post" action=%q><input name="link" value=%q></form>
<script>document.forms[0].submit()</script>`, e.url()+"/connect", link[strings.LastIndex(link, "=")+1:])
	}))
	t.Cleanup(evil.Close)
	victim.opens(evil.URL)
	victim.sees("session-of-alice: nothing was connected")
	assert.Equal(t, "pending", e.read(t, "connections/user/mallory/app")["status"])

	attacker.opens(of("mallory"))
	attacker.presses("^Continue to")
	attacker.sees("session-of-mallory: connected user/mallory")
}
