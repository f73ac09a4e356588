package backend

import (
	"encoding/base64"
	"fmt"
	"html"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/pages"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
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
		assert.Zero(t, f.provider.Count("token"), "the callback spends nothing")
	})
}

// Everything that is not the browser that consented looks the same and changes nothing.
func TestCallbackNeutral(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("providers/other", f.acme()).OK(t)
		id, back, code := f.parked(t, "slack", nil)
		fresh := f.provider.Consent(t, f.start(t, "fresh", nil)["url"].(string))
		own := f.provider.Consent(t, f.start(t, "own", map[string]any{"redirect_uri": appRedirect})["url"].(string))
		f.Storage.Forget()
		for name, c := range map[string]struct {
			provider string
			query    map[string]string
		}{
			"nothing":                 {"acme", nil},
			"the same again":          {"acme", back},
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
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
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

// Who said no is led back to the application, which hears of it at once, and to a command line that waits.
func TestCallbackDeniedLeadsBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const app = "https://app.example.com/connected?tab=1"
		f.Write("providers/acme", map[string]any{"return_urls": app}).OK(t)
		for to, mark := range map[string]string{app: "&", "http://127.0.0.1:4711/connected": "?"} {
			flow := f.start(t, "slack", map[string]any{"return_url": to})
			shown := f.callback(t, "acme", map[string]string{
				"state": query(t, flow["url"].(string), "state"), "error": "access_denied", "error_description": "words of theirs",
			})
			assert.Contains(t, shown, html.EscapeString(to+mark+"flow_id="+flow["flow_id"].(string)+"&error=access_denied"))
			assert.NotContains(t, shown, "confirmation_code")
			assert.NotContains(t, shown, "words of theirs")
			f.Write("exchange", map[string]any{"flow_id": flow["flow_id"]}).Refused(t, http.StatusConflict, "said no")
		}
	})
}

// response_mode=form_post brings the same parameters by POST, beside a JSON body that no provider sends.
func TestCallbackByPost(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		back := f.provider.Consent(t, f.start(t, "slack", nil)["url"].(string))
		odd := f.Write("callback/acme", map[string]any{"state": back["state"], "code": back["code"], "x": map[string]any{"a": 1}},
			testenv.Nobody)
		assert.Equal(t, neutral(t), page(t, odd))
		shown := page(t, f.Write("callback/acme", map[string]any{"state": back["state"], "code": back["code"]},
			testenv.Nobody))
		require.Regexp(t, shownCode, shown)
		assert.Equal(t, neutral(t), f.callback(t, "acme", back), "by GET, neither")
	})
}

// Whoever reads a log of requests can send them again. They see nothing and change nothing, whatever the page was.
func TestPageIsShownOnce(t *testing.T) {
	for name, c := range map[string]struct {
		data   map[string]any
		answer map[string]string // over what the browser brings
		off    bool              // confirm=false
		shows  string
		ends   int // the status of an exchange with what the page showed
	}{
		"confirmation code": {shows: "Confirmation code", ends: http.StatusOK},
		"return_url": {
			data:  map[string]any{"return_url": "https://app.example.com/connected"},
			shows: "https://app.example.com/connected?flow_id=", ends: http.StatusOK,
		},
		"return_url, no confirmation": {
			data: map[string]any{"return_url": "https://app.example.com/connected"}, off: true,
			shows: "https://app.example.com/connected?flow_id=", ends: http.StatusOK,
		},
		"no confirmation": {off: true, shows: "You can go back now", ends: http.StatusOK},
		"denied": {
			answer: map[string]string{"error": "access_denied"}, shows: "Nothing was connected", ends: http.StatusConflict,
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"confirm": !c.off}).OK(t)
				flow := f.start(t, "slack", c.data)
				back := f.provider.Consent(t, flow["url"].(string))
				maps.Copy(back, c.answer)
				shown := f.callback(t, "acme", back)
				require.Contains(t, shown, c.shows)
				f.Storage.Forget()
				for range 2 {
					assert.Equal(t, neutral(t), f.callback(t, "acme", back))
					posted := map[string]any{}
					for field, v := range back {
						posted[field] = v
					}
					assert.Equal(t, neutral(t), page(t, f.Write("callback/acme", posted, testenv.Nobody)))
					assert.Zero(t, f.Storage.Writes())
					f.restart(t)
				}
				exchange := map[string]any{"flow_id": flow["flow_id"]}
				code := regexp.MustCompile(`(?:confirmation_code=)([A-Z0-9]{8})`).FindStringSubmatch(shown)
				if code != nil {
					exchange["confirmation_code"] = code[1]
				}
				require.Equal(t, !c.off && c.answer == nil, code != nil)
				assert.Equal(t, c.ends, f.Write("exchange", exchange).Status)
			})
		})
	}
}

// A browser that loads its page twice at once is shown it once.
func TestPageIsShownOnceAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", nil)
		back := f.provider.Consent(t, flow["url"].(string))
		pages := make([]string, 8)
		var all sync.WaitGroup
		for i := range pages {
			all.Go(func() { pages[i] = f.callback(t, "acme", back) })
		}
		all.Wait()
		var codes []string
		for _, p := range pages {
			if shown := shownCode.FindStringSubmatch(p); shown != nil {
				codes = append(codes, shown[1]+shown[2])
			} else {
				assert.Equal(t, neutral(t), p)
			}
		}
		require.Len(t, codes, 1)
		f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": codes[0]}).OK(t)
	})
}

// The bounds are those of the flow's entry: what is within them is parked, and one more is nothing a provider sends.
func TestCallbackBounds(t *testing.T) {
	padded := func(more int, name, value string) map[string]string {
		out := map[string]string{"code": "c"}
		for i := range more {
			out[fmt.Sprint(name, i)] = value
		}
		return out
	}
	long := func(n int) string { return strings.Repeat("x", n) }
	each(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]struct {
			data map[string]string // beside the state
			ok   bool
		}{
			"64 parameters":           {padded(61, "x", ""), true}, // with state, code and the path's provider
			"65 parameters":           {padded(62, "x", ""), false},
			"a code of 8192 bytes":    {map[string]string{"code": long(8192)}, true},
			"a code of 8193 bytes":    {map[string]string{"code": long(8193)}, false},
			"a value of 8192 bytes":   {map[string]string{"code": "c", "x": long(8192)}, true},
			"a value of 8193 bytes":   {map[string]string{"code": "c", "x": long(8193)}, false},
			"a name of 128 bytes":     {map[string]string{"code": "c", long(128): ""}, true},
			"a name of 129 bytes":     {map[string]string{"code": "c", long(129): ""}, false},
			"nearly 32 KiB in all":    {padded(60, "x", long(530)), true},
			"more than 32 KiB in all": {padded(60, "x", long(545)), false},
		} {
			state := query(t, f.start(t, "slack", nil)["url"].(string), "state")
			c.data["state"] = state
			c.data["code"] += name // no two flows bring one code
			if strings.HasPrefix(name, "a code") {
				c.data["code"] = c.data["code"][len(name):]
			}
			f.Storage.Forget()
			shown := f.callback(t, "acme", c.data)
			assert.Equal(t, c.ok, shown != neutral(t), name)
			assert.Equal(t, c.ok, f.Storage.Writes() > 0, name)
			f.Advance(time.Hour)
		}
	})
}

// Anybody may write to the callback, so only what the definition looks at is kept.
func TestKept(t *testing.T) {
	brought := map[string]string{
		"state": "s", "code": "c", "provider": "acme", "iss": "i", "realm": "r", "shop": "one", "session_state": "x",
		"utm": "y", "hmac": "h",
	}
	for name, c := range map[string]struct {
		def  providers.Definition
		want map[string]string
	}{
		"nothing is looked at": {want: map[string]string{}},
		"a capture and its alternatives": {
			def: providers.Definition{Connection: []providers.Capture{
				{Name: "id", From: "callback", Path: []string{"realm", "missing"}},
				{Name: "other", From: "token", Path: []string{"utm"}},
			}},
			want: map[string]string{"realm": "r"},
		},
		"a parameter that must match": {
			def:  providers.Definition{Callback: providers.Callback{Match: map[string]providers.Template{"shop": "{shop}"}}},
			want: map[string]string{"shop": "one"},
		},
		"state and code are kept by themselves": {
			def: providers.Definition{
				Callback: providers.Callback{Code: "realm", State: "shop"},
				Connection: []providers.Capture{
					{Name: "id", From: "callback", Path: []string{"realm", "shop", "provider", "iss", "utm"}},
				},
			},
			want: map[string]string{"utm": "y"},
		},
		"signed together": {
			def: providers.Definition{Callback: providers.Callback{Signed: "hmac_query"}},
			want: map[string]string{
				"state": "s", "code": "c", "iss": "i", "realm": "r", "shop": "one", "session_state": "x", "utm": "y",
				"hmac": "h",
			},
		},
	} {
		assert.Equal(t, c.want, kept(&c.def, brought), name)
	}
}

func TestUnwantedParametersAreNotStored(t *testing.T) {
	const capture = "connection_config:\n  - {name: realm, from: callback, path: [realm], pattern: '[a-z]+'}\n"
	eachWith(t, unproven(t, capture), func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", nil)
		back := f.provider.Consent(t, flow["url"].(string))
		back["realm"], back["unwanted"] = "wanted", "planted"
		shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
		require.NotNil(t, shown)
		entry, err := f.Storage.Get(t.Context(), "flow/"+flow["flow_id"].(string))
		require.NoError(t, err)
		assert.Contains(t, string(entry.Value), `"callback":{"realm":"wanted"}`)
		assert.NotContains(t, string(entry.Value), "planted")
		exchange := map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}
		made := f.Write("exchange", exchange).OK(t)
		assert.Equal(t, map[string]any{"realm": "wanted"}, members(t, made["connection_config"]))
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

// A command line on the browser's machine is led back to without being listed, and by no other address than that.
func TestLoopbackReturn(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		const address = "http://127.0.0.1:54321/connected"
		assert.Equal(t, true, f.Read("config", nil).OK(t)["loopback_return"])
		flow := f.start(t, "slack", map[string]any{"return_url": address, "session_binding": sha256Of("a value")})
		shown := f.callback(t, "acme", f.provider.Consent(t, flow["url"].(string)))
		to := regexp.MustCompile(address + `\?flow_id=([0-9a-f]{64})&amp;confirmation_code=([A-Z0-9]{8})`).FindStringSubmatch(shown)
		require.NotNil(t, to, shown)
		finish := map[string]any{"flow_id": to[1], "confirmation_code": to[2]}
		f.Write("exchange", finish).Refused(t, http.StatusForbidden, "session_binding_value")
		finish["session_binding_value"] = "a value"
		f.Write("exchange", finish).OK(t)

		asked := func(address string) testenv.Result {
			return f.Write("auth-code-url/x", map[string]any{"provider": "acme", "return_url": address})
		}
		for _, other := range []string{
			"http://127.0.0.1/connected", "http://127.0.0.1:0/connected", "http://127.0.0.1:65536/connected",
			"http://127.0.0.1:080/connected", "http://127.0.0.1:/connected", "https://127.0.0.1:54321/connected",
			"http://127.0.0.1:54321/", "http://127.0.0.1:54321/connected/", "http://127.0.0.1:54321/connected?x=1",
			"http://127.0.0.1:54321/connected?", "http://127.0.0.1:54321/connected#x", "http://me@127.0.0.1:54321/connected",
			"http://127.0.0.2:54321/connected", "http://localhost:54321/connected", "http://[::1]:54321/connected",
			"http://127.0.0.1.example.com:54321/connected", "HTTP://127.0.0.1:54321/connected",
		} {
			asked(other).Refused(t, http.StatusBadRequest, "not on the list")
		}
		f.Write("providers/acme", map[string]any{"require_session_binding": true}).OK(t)
		asked(address).Refused(t, http.StatusBadRequest, "asks for session_binding")
		f.Write("providers/acme", map[string]any{"require_session_binding": false}).OK(t)

		f.Write("config", map[string]any{"loopback_return": false}).OK(t)
		assert.Equal(t, false, f.Read("config", nil).OK(t)["loopback_return"])
		f.Write("config", f.Read("config", nil).OK(t)).OK(t)
		asked(address).Refused(t, http.StatusBadRequest, "loopback_return=false")
		f.Write("providers/acme", map[string]any{"return_urls": address}).OK(t)
		asked(address).OK(t)
		f.Write("config", map[string]any{"loopback_return": true}).OK(t)
		f.Write("providers/acme", map[string]any{"return_urls": ""}).OK(t)
		asked(address).OK(t)
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
			found := a.Under("connection/") || a.Under("wal/") || a.Under("import/")
			assert.True(t, a.Op == "list" && found, "%s %s", a.Op, a.Key)
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

// What browsers and services bring that the standard does not know, or brought twice.
func TestOddCallbacks(t *testing.T) {
	twice := []any{"one", "two"}
	each(t, func(t *testing.T, f *fixture) {
		for name, c := range map[string]struct {
			data   map[string]any
			parked bool
			denied bool
		}{
			"an unknown parameter twice": {map[string]any{"code": "c1", "utm": twice}, true, false},
			"the code twice":             {map[string]any{"code": twice}, false, false},
			"the code twice, as bytes":   {map[string]any{"code": []string{"a", "b"}}, false, false},
			"the state twice":            {map[string]any{"code": "c2", "state": twice}, false, false},
			"the issuer twice":           {map[string]any{"code": "c3", "iss": twice}, false, false},
			"error_code without error":   {map[string]any{"error_code": "1349", "error_message": "no"}, true, true},
			"error_code beside a code":   {map[string]any{"code": "c4", "error_code": "0"}, true, false},
		} {
			flow := f.start(t, "slack", nil)
			data := with(map[string]any{"state": query(t, flow["url"].(string), "state")}, c.data)
			shown := page(t, f.Read("callback/acme", data, testenv.Nobody))
			assert.Equal(t, c.parked, shown != neutral(t), name)
			r := f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAA-AAAA"})
			switch {
			case c.denied:
				assert.Contains(t, r.Text, "said no", name)
			case c.parked:
				assert.Contains(t, r.Text, "does not match", name)
			default:
				assert.Contains(t, r.Text, "authorization_pending", name)
			}
			f.Advance(time.Hour)
		}
	})
}
