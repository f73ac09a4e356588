package backend

import (
	"encoding/base64"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
)

var shownCode = regexp.MustCompile(`<code>([A-Z0-9]{4})-([A-Z0-9]{4})</code>`)

// parked starts a flow that ends at Vault's callback and lets the person consent. It gives the flow's id, what the
// browser brought, and the confirmation code that its page showed.
func (f *fixture) parked(t *testing.T, path string, data map[string]any,
	as ...testenv.Caller,
) (id string, back map[string]string, code string) {
	t.Helper()
	flow := f.start(t, path, data, as...)
	back = f.provider.Consent(t, flow["url"].(string))
	provider := "acme"
	if p, ok := data["provider"]; ok {
		provider = p.(string)
	}
	shown := shownCode.FindStringSubmatch(f.callback(t, provider, back))
	require.NotNil(t, shown, "the page shows no confirmation code")
	return flow["flow_id"].(string), back, shown[1] + shown[2]
}

// neutral is the page that tells nothing.
func neutral(t *testing.T) string {
	t.Helper()
	body, err := pages.Page{}.Render()
	require.NoError(t, err)
	return string(body)
}

func TestCallbackParks(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "user/u1/slack", nil, alice)
		back := f.provider.Consent(t, flow["url"].(string))
		shown := f.callback(t, "acme", back)
		for _, says := range []string{
			"user/u1/slack", "userpass-e-alice",
			"vault write connectors/exchange flow_id=" + flow["flow_id"].(string),
		} {
			assert.Contains(t, shown, says)
		}
		for _, secret := range []string{back["code"], back["state"], "<script"} {
			assert.NotContains(t, shown, secret)
		}
		assert.Equal(t, shown, f.callback(t, "acme", back), "the same browser reloads")
		f.restart(t)
		assert.Equal(t, shown, f.callback(t, "acme", back))
		assert.Zero(t, f.provider.Count("token"), "the callback spends nothing")
	})
}

// Everything that is not the browser that consented looks the same and changes nothing.
func TestCallbackNeutral(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/other", f.acme()).OK(t)
		_, back, _ := f.parked(t, "slack", nil)
		shown := f.callback(t, "acme", back)
		fresh := f.provider.Consent(t, f.start(t, "fresh", nil)["url"].(string))
		own := f.provider.Consent(t, f.start(t, "own", map[string]any{"redirect_uri": appRedirect})["url"].(string))
		f.Storage.Forget()
		for name, c := range map[string]struct {
			provider string
			query    map[string]string
		}{
			"nothing":                 {"acme", nil},
			"unknown state":           {"acme", map[string]string{"state": strings.Repeat("x", 43), "code": "c"}},
			"unknown provider":        {"nothing", fresh},
			"hostile provider":        {"..", fresh},
			"the callback of another": {"other", fresh},
			"parked, another code":    {"acme", map[string]string{"state": back["state"], "code": "mine"}},
			"parked, no code":         {"acme", map[string]string{"state": back["state"]}},
			"parked, then denied":     {"acme", map[string]string{"state": back["state"], "error": "access_denied"}},
			"parked, denied with code": {
				"acme", map[string]string{"state": back["state"], "code": back["code"], "error": "access_denied"},
			},
			"neither code nor error": {"acme", map[string]string{"state": fresh["state"]}},
			"an application's own":   {"acme", own},
			"the flow id as state":   {"acme", map[string]string{"state": "flow", "code": "c"}},
			"overlong": {
				"acme", map[string]string{"state": fresh["state"], "code": strings.Repeat("c", maxCallbackValue+1)},
			},
			"overlong in another": {
				"acme", map[string]string{"state": fresh["state"], "code": "c", "x": strings.Repeat("c", maxCallbackValue+1)},
			},
			"overlong name": {
				"acme", map[string]string{"state": fresh["state"], "code": "c", strings.Repeat("x", 129): "c"},
			},
			"provider named in the data": {"other", map[string]string{
				"state": fresh["state"], "code": "c",
				"provider": "acme",
			}},
		} {
			assert.Equal(t, neutral(t), f.callback(t, c.provider, c.query), name)
		}
		assert.Zero(t, f.Storage.Writes())
		assert.Equal(t, shown, f.callback(t, "acme", back), "the one that was first is still there")
		assert.NotEqual(t, neutral(t), f.callback(t, "acme", fresh))
	})
}

func TestCallbackAfterTheEnd(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, used, code := f.parked(t, "slack", nil)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
		assert.Equal(t, neutral(t), f.callback(t, "acme", used), "used")
		_, parked, _ := f.parked(t, "two", nil)
		open := f.provider.Consent(t, f.start(t, "three", nil)["url"].(string))
		f.Advance(10 * time.Minute)
		assert.Equal(t, neutral(t), f.callback(t, "acme", parked), "expired")
		assert.Equal(t, neutral(t), f.callback(t, "acme", open), "expired")
	})
}

func TestCallbackDenied(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for code, told := range map[string]string{
			"access_denied": "access_denied", "temporarily_unavailable": "temporarily_unavailable",
			"<b>words of theirs</b>": "refused",
		} {
			flow := f.start(t, "slack", nil)
			state := query(t, flow["url"].(string), "state")
			shown := f.callback(t, "acme", map[string]string{
				"state": state, "error": code, "error_description": "words of theirs",
			})
			assert.NotEqual(t, neutral(t), shown)
			assert.NotContains(t, shown, "words of theirs")
			assert.Equal(t, neutral(t), f.callback(t, "acme", map[string]string{"state": state, "code": "late"}))
			r := f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAAAAAA"})
			r.Refused(t, http.StatusConflict, "said no", told)
			assert.NotContains(t, r.Text, "words of theirs")
		}
	})
}

// response_mode=form_post brings the same parameters by POST, beside a JSON body that no provider sends.
func TestCallbackByPost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		back := f.provider.Consent(t, f.start(t, "slack", nil)["url"].(string))
		odd := f.Write("callback/acme", map[string]any{"state": back["state"], "code": back["code"], "x": []any{"a"}},
			testenv.Nobody)
		assert.Equal(t, neutral(t), page(t, odd))
		shown := page(t, f.Write("callback/acme", map[string]any{"state": back["state"], "code": back["code"]},
			testenv.Nobody))
		require.Regexp(t, shownCode, shown)
		assert.Equal(t, shown, f.callback(t, "acme", back))
	})
}

func TestReturnURL(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", map[string]any{"return_url": "https://app.example.com/connected"})
		shown := f.callback(t, "acme", f.provider.Consent(t, flow["url"].(string)))
		to := regexp.MustCompile(`https://app\.example\.com/connected\?flow_id=([0-9a-f]{64})&amp;confirmation_code=([A-Z0-9]{8})`).FindStringSubmatch(shown)
		require.NotNil(t, to, shown)
		assert.Equal(t, flow["flow_id"], to[1])
		assert.Contains(t, shown, `http-equiv="refresh"`)
		f.Write("exchange", map[string]any{"flow_id": to[1], "confirmation_code": to[2]}).OK(t)
	})
}

func TestConfirmOff(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/acme", map[string]any{"confirm": false}).OK(t)
		r := f.Write("auth-code-url/slack", map[string]any{"provider": "acme"})
		flow := r.OK(t)
		assert.NotEmpty(t, r.Warnings)
		assert.NotContains(t, flow["next_step"], "confirmation")
		exchange := map[string]any{"flow_id": flow["flow_id"]}
		f.Write("exchange", exchange).Refused(t, http.StatusConflict, "authorization_pending")
		assert.NotRegexp(t, shownCode, f.callback(t, "acme", f.provider.Consent(t, flow["url"].(string))))
		f.Write("exchange", exchange).OK(t)
	})
}

// What a flow was started with holds to its end, however the provider's switch stands later.
func TestConfirmIsFrozen(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, _, code := f.parked(t, "slack", nil)
		f.Write("providers/acme", map[string]any{"confirm": false}).OK(t)
		f.Write("exchange", map[string]any{"flow_id": id}).Refused(t, http.StatusBadRequest, "confirmation_code is missing")
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
	})
}

// A page that is base64 by chance would be decoded if it went as a text.
func TestPageGoesAsBytes(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	body := f.Read("callback/acme", nil, testenv.Nobody).OK(t)["http_raw_body"]
	assert.IsType(t, []byte{}, body)
	f = newFixture(t, Options{}, testenv.OverGRPC)
	text, ok := f.Read("callback/acme", nil, testenv.Nobody).OK(t)["http_raw_body"].(string)
	require.True(t, ok)
	_, err := base64.StdEncoding.DecodeString(text)
	assert.NoError(t, err)
}

// Anybody may call callback/ for any name, without a token: that must not keep storage busy.
func TestCallbackOfUnknownProviders(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		query := map[string]string{"state": strings.Repeat("x", 43), "code": "c"}
		assert.Equal(t, neutral(t), f.callback(t, "later", query))
		f.Storage.Forget()
		for _, name := range []string{"later", "later", "another", "third"} {
			assert.Equal(t, neutral(t), f.callback(t, name, query))
		}
		for _, a := range f.Storage.History() { // the start of the mount may still be looking for connections
			assert.True(t, a.Op == "list" && (a.Under("connection/") || a.Under("wal/")), "%s %s", a.Op, a.Key)
		}

		f.Write("providers/later", f.acme()).OK(t)
		id, _, code := f.parked(t, "slack", map[string]any{"provider": "later"})
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)

		here := f.Env
		f.restart(t) // another node
		f.Write("providers/third", f.acme()).OK(t)
		back := f.provider.Consent(t, f.start(t, "two", map[string]any{"provider": "third"})["url"].(string))
		here.Backend.InvalidateKey(t.Context(), "provider/third")
		f.Env = here
		f.System.SetReplication(0) // it leads again
		assert.NotEqual(t, neutral(t), f.callback(t, "third", back))
	})
}
