package backend

import (
	"encoding/hex"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// link makes a link at acme, or at another provider that data names.
func (f *fixture) link(t testing.TB, path string, data map[string]any, as ...testenv.Caller) (value, id string) {
	t.Helper()
	answer := f.Write("connect-link/"+path, with(map[string]any{"provider": "acme"}, data), as...).OK(t)
	value, is := strings.CutPrefix(answer["url"].(string), "https://vault.example.com/v1/connectors/connect?link=")
	require.True(t, is, answer["url"])
	return value, answer["flow_id"].(string)
}

func TestConnectLink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		answer := f.Write("connect-link/user/u-17/slack", map[string]any{"provider": "acme"}, alice).OK(t)
		assert.Equal(t, "2026-03-01T13:00:00Z", answer["expire_time"], "an hour")
		assert.Contains(t, answer["next_step"], "vault write connectors/exchange flow_id="+answer["flow_id"].(string)+
			" confirmation_code=...")
		value, id := f.link(t, "user/u-17/slack", map[string]any{"ttl": "24h"}, alice)
		assert.True(t, store.ValidLink(value))
		assert.Equal(t, store.LinkID(value), id)
		assert.Equal(t, "pending", f.Read("connections/user/u-17/slack", nil).OK(t)["status"])
		assert.Zero(t, f.provider.Count(providers.StepToken))
		raw, err := hex.DecodeString(id)
		require.NoError(t, err)
		for _, name := range f.stored(t, "flow/") {
			entry, err := f.Storage.Get(t.Context(), "flow/"+name)
			require.NoError(t, err)
			for _, secret := range []string{value, string(raw)} {
				assert.NotContains(t, string(entry.Value)+name, secret)
			}
		}
		assert.NotContains(t, f.Logs.String(), value)
	})
}

func TestConnectLinkRefuses(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.git(t, nil)
		f.allowApp(t)
		f.Write("providers/openai", nil).OK(t)
		f.key(t, "user/e-alice/mine", alice)
		f.connect(t, "there")
		f.Storage.Forget()
		for name, c := range map[string]struct {
			path   string
			data   map[string]any
			status int
			says   string
		}{
			"redirect_uri": {"x", map[string]any{"redirect_uri": appRedirect}, 400, `unknown field "redirect_uri"`},
			"too long":     {"x", map[string]any{"ttl": "25h"}, 400, "ttl must lie between"},
			"too short":    {"x", map[string]any{"ttl": 1}, 400, "ttl must lie between"},
			"none":         {"x", map[string]any{"ttl": 0}, 400, "ttl must lie between"},
			"return_url": {
				"x", map[string]any{"return_url": "https://evil.example.com"}, 400, "return_url is not on the list",
			},
			"scopes":            {"x", map[string]any{"scopes": "admin"}, 400, "admin"},
			"no such provider":  {"x", map[string]any{"provider": "nobody"}, 400, "nobody"},
			"another provider":  {"there", map[string]any{"provider": "openai"}, 400, "belongs to provider"},
			"no such kind":      {"x", map[string]any{"kind": "nothing"}, 400, "has no kind"},
			"a kind of the app": {"x", map[string]any{"kind": "client_credentials"}, 400, "needs no person"},
			"scopes for a key":  {"x", map[string]any{"provider": "openai", "scopes": "a"}, 400, "goes with a consent"},
			"hint for a key":    {"x", map[string]any{"provider": "openai", "login_hint": "a"}, 400, "goes with a consent"},
			"purpose in lines":  {"x", map[string]any{"purpose": "a\nb"}, 400, "purpose holds a line break"},
			"purpose turned":    {"x", map[string]any{"purpose": "a\u202eb"}, 400, "purpose holds a character"},
			"purpose too long":  {"x", map[string]any{"purpose": strings.Repeat("x", 257)}, 400, "purpose is longer"},
			"binding":           {"x", map[string]any{"session_binding": "x"}, 400, "session_binding must be"},
			"flow_id":           {"x", map[string]any{"flow_id": "x"}, 400, "flow_id is for reading"},
			"a private key":     {"user/e-alice/mine", map[string]any{"provider": "openai"}, 403, "is private"},
			"host for their key": {"x", map[string]any{
				"provider": "git", "kind": "api_key", "inputs": "base=https://evil.example.com",
			}, 400, "for the person who has it"},
			"unknown input": {"x", map[string]any{"inputs": "nothing=x"}, 400, "nothing"},
		} {
			f.Write("connect-link/"+c.path, with(map[string]any{"provider": "acme"}, c.data), bob).Refused(t, c.status, c.says)
			assert.Zero(t, f.Storage.Writes(), name)
		}
		f.Write("connect-link/x", map[string]any{"provider": "acme"}, testenv.Batch).Refused(t, 400, "neither an entity")
		f.System.AddEntity("e-1")
		f.Write("connect-link/user/e-1/x", map[string]any{"provider": "acme"}, bob).Refused(t, 403, "provision=true")
		f.link(t, "user/e-1/x", map[string]any{"provision": true}, bob)
		f.Write("providers/acme", map[string]any{"require_session_binding": true}).OK(t)
		back := map[string]any{"provider": "acme", "return_url": "https://app.example.com/connected"}
		f.Write("connect-link/x", back).Refused(t, 400, "asks for session_binding")
		f.link(t, "x", with(back, map[string]any{"session_binding": sha256Of("v")}))
		f.Write("config", map[string]any{"public_url": ""}).OK(t)
		f.Write("connect-link/x", map[string]any{"provider": "acme"}).
			Refused(t, 400, "public_url is not set", "writes it to config")
		f.Write("config", map[string]any{"public_url": "https://a;b.example.com"}).OK(t)
		f.Write("connect-link/x", map[string]any{"provider": "acme"}).Refused(t, 400, "public_url leads to no page")
	})
}

// Only who made a link hears how it stands, and ends it.
func TestOnlyTheStarterReadsALink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "slack", nil, alice)
		for _, who := range []testenv.Caller{bob, testenv.Root, testenv.Batch} {
			f.Read("connect-link/slack", nil, who).Refused(t, http.StatusForbidden, "made by somebody else")
			f.Read("connect-link/slack", map[string]any{"flow_id": id}, who).Refused(t, http.StatusForbidden)
			f.Delete("connect-link/slack", nil, who).Refused(t, http.StatusForbidden, "made by somebody else")
		}
		f.Read("connect-link/other", nil, alice).Refused(t, http.StatusBadRequest, "no link of yours")
		f.Read("device-code/slack", nil, alice).Refused(t, http.StatusBadRequest, "no device flow")
		f.Storage.Forget()
		state := f.Read("connect-link/slack", nil, alice).OK(t)
		assert.Equal(t, []any{"offered", "", "acme", "2026-03-01T13:00:00Z", 0.0, id}, []any{
			state["state"], state["reason"], state["provider"], state["expire_time"], number(state["tries"]), state["flow_id"],
		})
		assert.Zero(t, f.Storage.Writes())
		require.NotEqual(t, goneText(t), f.shows(t, value))
		f.Delete("connect-link/slack", nil, alice).OK(t)
		f.Read("connect-link/slack", nil, alice).Refused(t, http.StatusBadRequest, "no link of yours")
		f.Delete("connect-link/slack", nil, alice).Refused(t, http.StatusBadRequest)
		assert.Equal(t, goneText(t), f.shows(t, value))
		assert.Equal(t, goneText(t), f.posts(t, value, nil))
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
	})
}

// A link goes through its states, and each is told with what comes next.
func TestStatesOfALink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		is := func(name, state, reason string) {
			t.Helper()
			got := f.Read("connect-link/"+name, nil, alice).OK(t)
			assert.Equal(t, state, got["state"], got["reason"])
			assert.Contains(t, got["reason"], reason)
		}
		value, id := f.link(t, "slack", nil, alice)
		back := f.provider.Consent(t, f.leads(t, value))
		is("slack", "started", "")
		f.callback(t, "acme", map[string]string{"state": back["state"], "error": "access_denied"})
		is("slack", "offered", "access_denied")
		back = f.provider.Consent(t, f.leads(t, value))
		code := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
		require.NotNil(t, code)
		is("slack", "parked", "")
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code[1] + code[2]}, alice).OK(t)
		is("slack", "connected", "")

		f.link(t, "late", map[string]any{"ttl": "1m"}, alice)
		f.Advance(time.Minute)
		is("late", "expired", "in time")
		f.periodic(t)
		is("late", "expired", "start again with connect-link/org/default/late")
		f.Advance(finishTime)
		f.periodic(t)
		f.Read("connect-link/late", nil, alice).Refused(t, http.StatusBadRequest, "no link of yours")

		value, _ = f.link(t, "unfinished", nil, alice)
		f.callback(t, "acme", f.provider.Consent(t, f.leads(t, value)))
		f.Advance(10 * time.Minute)
		is("unfinished", "expired", "nobody finished it in time")

		value, _ = f.link(t, "tried", nil, alice)
		for range store.MaxLinkTries {
			f.leads(t, value)
		}
		is("tried", "started", "")
		f.Advance(10 * time.Minute)
		is("tried", "failed", "five tries")
	})
}

// Links have a limit of their own, and leave other flows theirs.
func TestMaxOpenLinks(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("config", map[string]any{"max_open_links": 2, "max_open_flows": 1}).OK(t)
		value, _ := f.link(t, "a", map[string]any{"ttl": "2h"}, alice)
		f.link(t, "b", nil, alice)
		full := func() {
			t.Helper()
			f.Write("connect-link/c", map[string]any{"provider": "acme"}, alice).Refused(t, http.StatusConflict,
				"you have 2 links offered", "max_open_links", "2026-03-01T13:00:00Z")
		}
		full()
		f.leads(t, value)
		full()
		f.restart(t)
		full()
		f.start(t, "x", nil, alice)
		f.Write("auth-code-url/y", map[string]any{"provider": "acme"}, alice).
			Refused(t, http.StatusConflict, "max_open_flows")
		f.link(t, "c", nil, bob)
		f.Delete("connect-link/b", nil, alice).OK(t)
		f.link(t, "c", nil, alice)
		f.Advance(2*time.Hour + finishTime)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "flow/"), "those that are over go")
	})
}

// Those that were ended are gone soon: they are kept for no longer than flows that end otherwise.
func TestLinkThatWasEndedIsKeptShortly(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.link(t, "a", map[string]any{"ttl": "24h"}, alice)
		f.Delete("connect-link/a", nil, alice).OK(t)
		f.Advance(2 * finishTime)
		f.periodic(t)
		assert.Empty(t, f.stored(t, "flow/"))
	})
}

// A flow that a newer release wrote hides nothing, and neither does one that is damaged.
func TestUnreadableLink(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		value, id := f.link(t, "a", nil, alice)
		f.undecodable(t, "flow/"+id)
		assert.Equal(t, goneText(t), f.shows(t, value))
		assert.Equal(t, goneText(t), f.posts(t, value, nil))
	})
}

// Deleting the connection ends its links, as it ends other flows.
func TestDeletionEndsLinks(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack", alice)
		value, id := f.link(t, "slack", nil, alice)
		code := f.consents(t, value)
		other, _ := f.link(t, "slack", nil, bob)
		f.Delete("connections/slack", nil).OK(t)
		assert.Equal(t, goneText(t), f.shows(t, other))
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, alice).Refused(t, http.StatusBadRequest)
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
	})
}

func TestLinkOnAStandby(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		value, _ := f.link(t, "slack", nil, alice)
		f.restart(t)
		f.System.SetReplication(standby)
		f.Storage.Forget()
		calls := f.provider.Count(providers.StepDiscovery)
		for what, r := range map[string]testenv.Result{
			"a link":            f.Write("connect-link/x", map[string]any{"provider": "idp"}, alice),
			"a use":             f.Write("connect", map[string]any{"link": value}, testenv.Nobody),
			"a look":            f.Read("connect", map[string]any{"link": value}, testenv.Nobody),
			"a use of anything": f.Write("connect", map[string]any{"link": "x"}, testenv.Nobody),
		} {
			require.Error(t, r.Err, what)
			assert.Equal(t, logical.ErrReadOnly.Error(), r.Err.Error(), what)
		}
		assert.Zero(t, f.Storage.Writes())
		assert.Equal(t, calls, f.provider.Count(providers.StepDiscovery))
	})
}
