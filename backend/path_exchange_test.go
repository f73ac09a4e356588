package backend

import (
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestExchangeOfAnOwnRedirect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		made := f.connect(t, "slack", alice)
		assert.Equal(t, "active", made["status"])
		assert.True(t, f.provider.Alive(f.Read("creds/slack", nil).OK(t)["access_token"].(string)))
		sent := f.provider.Requests(providers.StepToken)[0].Form
		assert.Equal(t, appRedirect, sent.Get("redirect_uri"))
		assert.Len(t, sent.Get("code_verifier"), 43)
	})
}

func TestExchangeOfALoopbackRedirect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Write("exchange", f.own(t, "cli", map[string]any{"redirect_uri": "http://127.0.0.1:49152/cb"})).OK(t)
		assert.Equal(t, "http://127.0.0.1:49152/cb", f.provider.Requests(providers.StepToken)[0].Form.Get("redirect_uri"))
	})
}

func TestExchangeRequest(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "own", nil)
		id, back, code := f.parked(t, "slack", nil)
		for name, c := range map[string]struct {
			data map[string]any
			code int
			says string
		}{
			"nothing":              {nil, 400, "name the flow"},
			"both":                 {with(own, map[string]any{"flow_id": id}), 400, "either"},
			"state alone":          {map[string]any{"state": own["state"]}, 400, "code"},
			"code alone":           {map[string]any{"code": own["code"]}, 400, "name the flow"},
			"unknown field":        {with(own, map[string]any{"redirect_uri": appRedirect}), 400, "unknown field"},
			"unknown state":        {map[string]any{"state": "x", "code": "y"}, 400, "no such flow"},
			"unknown id":           {map[string]any{"flow_id": strings.Repeat("0", 64)}, 400, "no such flow"},
			"malformed id":         {map[string]any{"flow_id": "../../config"}, 400, "no such flow"},
			"no confirmation code": {map[string]any{"flow_id": id}, 400, "confirmation_code is missing"},
			"state of a callback":  {map[string]any{"state": back["state"], "code": back["code"]}, 400, "flow_id"},
			"id of an own redirect": {
				map[string]any{"flow_id": flowOfState(own["state"].(string)), "confirmation_code": code}, 400, "state and code",
			},
		} {
			r := f.Write("exchange", c.data)
			require.Equal(t, c.code, r.Status, "%s: %s", name, r.Text)
			assert.Contains(t, r.Text, c.says, name)
		}
		assert.Zero(t, f.provider.Count(providers.StepToken))
		f.Write("exchange", own).OK(t)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
	})
}

func TestOnlyTheStarterFinishes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "one", nil, alice)
		id, _, code := f.parked(t, "two", nil) // root: bound to its token
		for _, who := range []testenv.Caller{bob, testenv.Root, testenv.Batch} {
			f.Write("exchange", own, who).Refused(t, http.StatusForbidden, "somebody else")
		}
		for _, who := range []testenv.Caller{alice, testenv.Batch} {
			f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}, who).Refused(t, http.StatusForbidden,
				"somebody else")
		}
		for range 6 { // a stranger's misses are not the starter's
			f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": "AAAAAAAA"}, bob).Refused(t,
				http.StatusForbidden)
		}
		assert.Zero(t, f.provider.Count(providers.StepToken))
		f.Write("exchange", own, alice).OK(t)
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
		f.Write("exchange", own, bob).Refused(t, http.StatusForbidden, "somebody else")
	})
}

func TestConfirmationCode(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, _, code := f.parked(t, "slack", nil)
		try := func(code string) testenv.Result {
			return f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code})
		}
		for _, wrong := range []string{"AAAAAAAA", code[:7], code + "A", "ΑΒΓΔ"} {
			try(wrong).Refused(t, http.StatusBadRequest, "does not match")
		}
		f.restart(t)
		try(strings.ToLower(code[:4]) + " - " + code[4:]).OK(t)
	})
}

func TestFifthMissVoidsTheFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, back, code := f.parked(t, "slack", nil)
		try := func(code string) testenv.Result {
			return f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code})
		}
		for range 4 {
			try("AAAAAAAA").Refused(t, http.StatusBadRequest, "does not match")
		}
		try("AAAAAAAA").Refused(t, http.StatusConflict, "void")
		try(code).Refused(t, http.StatusBadRequest, "no such flow")
		assert.Equal(t, neutral(t), f.callback(t, "acme", back))
		assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}

// A crash, or storage that fails at the right moment, must not win a sixth try.
func TestTriesAreCountedBeforeTheyAreJudged(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, _, code := f.parked(t, "slack", nil)
		try := func(code string) testenv.Result {
			return f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code})
		}
		for range 4 {
			try("AAAAAAAA").Refused(t, http.StatusBadRequest)
		}
		f.Storage.FailWrite(2) // the count is stored, that the flow is void is not
		try("AAAAAAAA").Refused(t, http.StatusInternalServerError)
		f.Storage.Judge(nil)
		f.restart(t)
		try(code).Refused(t, http.StatusConflict, "void")

		id, _, code = f.parked(t, "slack", nil)
		f.Storage.FailWrites()
		assert.Equal(t, http.StatusInternalServerError, try(code).Status, "what cannot be counted is not judged")
		assert.NotContains(t, try("AAAAAAAA").Text, "match")
		f.Storage.Judge(nil)
		try(code).OK(t)
	})
}

func TestAuthorizationPending(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		flow := f.start(t, "slack", nil)
		for range 7 {
			f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAAAAAA"}).
				Refused(t, http.StatusConflict, "authorization_pending")
		}
		f.callback(t, "acme", f.provider.Consent(t, flow["url"].(string)))
		f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": "AAAAAAAA"}).Refused(t,
			http.StatusBadRequest, "1 of 5")
	})
}

func TestExpiredFlow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "one", nil)
		id, _, code := f.parked(t, "two", nil)
		f.Advance(10 * time.Minute)
		f.Write("exchange", own).Refused(t, http.StatusBadRequest, "no such flow")
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).Refused(t, http.StatusBadRequest,
			"no such flow")
		assert.Zero(t, f.provider.Count(providers.StepToken))
	})
}

func TestSessionBinding(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", map[string]any{"session_binding": sha256Of("value of a cookie")})
		f.Write("exchange", own).Refused(t, http.StatusForbidden, "session_binding_value")
		f.Write("exchange", with(own, map[string]any{"session_binding_value": "of another"})).Refused(t,
			http.StatusForbidden)
		assert.Zero(t, f.provider.Count(providers.StepToken))
		f.Write("exchange", with(own, map[string]any{"session_binding_value": "value of a cookie"})).OK(t)
	})
}

// The session that started a flow is asked for beside the confirmation code, and before a try at that is counted.
func TestSessionBindingOfTheCallback(t *testing.T) {
	const cookie = "value of a cookie"
	for name, c := range map[string]struct {
		data map[string]any
		off  bool // confirm=false
	}{
		"callback":                    {},
		"callback, no confirmation":   {off: true},
		"return_url":                  {data: map[string]any{"return_url": "https://app.example.com/connected"}},
		"return_url, no confirmation": {data: map[string]any{"return_url": "https://app.example.com/connected"}, off: true},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.Write("providers/acme", map[string]any{"confirm": !c.off}).OK(t)
				flow := f.start(t, "slack", with(c.data, map[string]any{"session_binding": sha256Of(cookie)}))
				assert.Contains(t, flow["next_step"], "session_binding_value=")
				exchange := map[string]any{"flow_id": flow["flow_id"]}
				bound := map[string]any{"session_binding_value": cookie}
				strangers := func() {
					t.Helper()
					for _, value := range []any{nil, "", "of another", sha256Of(cookie)} {
						f.Write("exchange", with(exchange, map[string]any{"session_binding_value": value})).
							Refused(t, http.StatusForbidden, "session_binding_value")
					}
				}
				strangers()
				f.Write("exchange", with(exchange, bound)).Refused(t, http.StatusConflict, "authorization_pending")
				shown := f.callback(t, "acme", f.provider.Consent(t, flow["url"].(string)))
				code := regexp.MustCompile(`confirmation_code=([A-Z0-9]{8})`).FindStringSubmatch(shown)
				require.Equal(t, !c.off, code != nil)
				if code != nil {
					exchange["confirmation_code"] = code[1]
				}
				f.Storage.Forget()
				strangers()
				strangers()
				assert.Zero(t, f.Storage.Writes(), "no try is counted")
				if code != nil {
					wrong := with(exchange, map[string]any{"confirmation_code": "AAAAAAAA"})
					f.Write("exchange", with(wrong, bound)).Refused(t, http.StatusBadRequest, "1 of 5")
				}
				assert.Zero(t, f.provider.Count(providers.StepToken))
				f.restart(t)
				f.Write("exchange", with(exchange, bound)).OK(t)
				f.Write("exchange", with(exchange, bound)).OK(t)
				f.Write("exchange", exchange).Refused(t, http.StatusForbidden, "session_binding_value")
				assert.Equal(t, 1, f.provider.Count(providers.StepToken))
			})
		})
	}
}

// The issuer promises iss in every answer (RFC 9207 section 3), so a missing one is as wrong as a wrong one.
func TestIssuerOfTheAnswer(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.issuer(t)
		own := f.own(t, "me", map[string]any{"provider": "idp"})
		for _, iss := range []any{nil, "", "https://evil.example.com", f.provider.URL + "/"} {
			f.Write("exchange", with(own, map[string]any{"iss": iss})).Refused(t, http.StatusConflict, "issuer")
		}
		assert.Zero(t, f.provider.Count(providers.StepToken))
		made := f.Write("exchange", with(own, map[string]any{"iss": f.provider.URL})).OK(t)
		assert.Equal(t, "account-1", members(t, made["account"])["id"])

		flow := f.start(t, "two", map[string]any{"provider": "idp"})
		back := f.provider.Consent(t, flow["url"].(string))
		back["iss"] = "https://evil.example.com"
		shown := shownCode.FindStringSubmatch(f.callback(t, "idp", back))
		require.NotNil(t, shown)
		f.Write("exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2]}).Refused(t,
			http.StatusConflict, "issuer")
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))

		id, _, code := f.parked(t, "three", map[string]any{"provider": "idp"})
		f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).OK(t)
	})
}

func TestExchangeSentAgain(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "slack", nil)
		first := f.Write("exchange", own).OK(t)
		assert.Equal(t, first, f.Write("exchange", own).OK(t))
		f.restart(t)
		assert.Equal(t, first, f.Write("exchange", own).OK(t))
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		assert.Equal(t, 1, f.provider.Count(providers.StepIdentity))
		f.Write("exchange", with(own, map[string]any{"code": "another"})).Refused(t, http.StatusConflict, "another request")

		f.Delete("connections/slack", nil).OK(t)
		f.Write("exchange", own).Refused(t, http.StatusConflict, "deleted since")
		f.Advance(10 * time.Minute)
		f.Write("exchange", own).Refused(t, http.StatusBadRequest, "no such flow")
	})
}

func TestExchangeSentAtOnce(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id, _, code := f.parked(t, "slack", nil)
		answers := make([]map[string]any, 8)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				r := f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code})
				if assert.Equal(t, http.StatusOK, r.Status, r.Text) {
					answers[i] = r.Data
				}
			})
		}
		all.Wait()
		for _, a := range answers {
			assert.Equal(t, answers[0], a)
		}
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
	})
}

// Once the code may be spent, no answer is a 5xx: clients would send the request again.
func TestProviderFailsAtTheExchange(t *testing.T) {
	for name, answer := range map[string]providertest.Behavior{
		"server error": providertest.Respond(http.StatusInternalServerError, "<h1>words of theirs</h1>"),
		"rate limited": providertest.Respond(http.StatusTooManyRequests, "words of theirs", "Retry-After", "60"),
		"code refused": providertest.Respond(http.StatusBadRequest,
			`{"error":"invalid_grant","error_description":"words of theirs"}`),
		"app refused": providertest.Respond(http.StatusUnauthorized,
			`{"error":"invalid_client","error_description":"words of theirs"}`),
		"unknown error":   providertest.Respond(http.StatusBadRequest, `{"error":"words of theirs"}`),
		"redirected":      providertest.Respond(http.StatusFound, "", "Location", "https://evil.example.com/"),
		"no token":        providertest.Respond(http.StatusOK, `{}`),
		"answer lost":     providertest.ResetAfter(),
		"nothing arrives": providertest.Reset(),
		"garbage":         providertest.GarbageAfter(),
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.provider.Next(providers.StepToken, answer)
				own := f.own(t, "slack", nil)
				first := f.Write("exchange", own)
				first.Refused(t, http.StatusConflict, "start again with auth-code-url/org/default/slack")
				assert.NotContains(t, first.Text, "words of theirs")
				calls := f.provider.Count(providers.StepToken)
				again := f.Write("exchange", own)
				again.Refused(t, http.StatusConflict, first.Text)
				f.restart(t)
				f.Write("exchange", own).Refused(t, http.StatusConflict, first.Text)
				assert.Equal(t, calls, f.provider.Count(providers.StepToken), "the outcome is kept")
				assert.Equal(t, http.StatusNotFound, f.Read("connections/slack", nil).Status)
			})
		})
	}
}

func TestAccountThatCannotBeLearned(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		r := f.Write("exchange", f.own(t, "slack", nil))
		assert.Equal(t, "active", r.OK(t)["status"], "a token in hand is kept")
		require.NotEmpty(t, r.Warnings)
		assert.Contains(t, r.Warnings[0], "whose account")

		f.connect(t, "two")
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.Write("exchange", f.own(t, "two", nil)).Refused(t, http.StatusConflict, "allow_account_change")
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.Write("exchange", with(f.own(t, "two", nil), map[string]any{"allow_account_change": true})).OK(t)
	})
}

func TestReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "self/slack", alice)
		f.Write("connections/self/slack", map[string]any{
			"label": "Mine", "tags": map[string]any{"a": "b"}, "required_scopes": "read",
		}, alice).OK(t)
		before := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
		made := f.Write("connections/self/slack", map[string]any{"disabled": false}, alice).OK(t)
		f.Advance(time.Minute)
		again := f.connect(t, "self/slack", alice)
		for _, kept := range []string{
			"owner", "name", "label", "tags", "private", "required_scopes", "created_by",
			"created_time", "account",
		} {
			assert.Equal(t, made[kept], again[kept], kept)
		}
		assert.Equal(t, "2026-03-01T12:01:00Z", again["last_rotation"])
		assert.NotEqual(t, before, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])
	})
}

func TestReconnectRefusesAnotherAccount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		before := f.Read("creds/slack", nil).OK(t)["access_token"]
		other := providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Mallory"}`)
		f.provider.Next(providers.StepIdentity, other, other)
		f.Write("exchange", f.own(t, "slack", nil)).Refused(t, http.StatusConflict,
			"another account", "allow_account_change=true")
		assert.Equal(t, before, f.Read("creds/slack", nil).OK(t)["access_token"])
		assert.Equal(t, "account-1", members(t, f.Read("connections/slack", nil).OK(t)["account"])["id"])
		made := f.Write("exchange", with(f.own(t, "slack", nil), map[string]any{"allow_account_change": true})).OK(t)
		assert.Equal(t, "account-2", members(t, made["account"])["id"])
	})
}

func TestReconnectHeals(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.provider.RevokeAll()
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "grant_refused", "auth-code-url/org/default/slack")
		assert.Equal(t, "needs_reconnect", f.Read("connections/slack", nil).OK(t)["status"])
		healed := f.connect(t, "slack")
		assert.Equal(t, "active", healed["status"])
		assert.Empty(t, members(t, healed["last_error"]))
		f.Advance(time.Minute)
		assert.Equal(t, "active", f.Write("refresh/slack", nil).OK(t)["status"])
	})
}

// Two people start for the same name: the second to finish must not take over what the first made private meanwhile.
func TestConnectionMadeMeanwhile(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		theirs := f.own(t, "user/e-alice/slack", nil, bob)
		f.connect(t, "self/slack", alice)
		token := f.Read("creds/self/slack", nil, alice).OK(t)["access_token"]
		f.Write("exchange", theirs, bob).Refused(t, http.StatusConflict, "private")
		assert.Equal(t, token, f.Read("creds/self/slack", nil, alice).OK(t)["access_token"])

		late := f.own(t, "other", nil)
		f.key(t, "other")
		f.Write("exchange", late).Refused(t, http.StatusConflict, "another provider")
		assert.Equal(t, openaiKey, f.Read("creds/other", nil).OK(t)["api_key"])
	})
}

func TestMissingScopes(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepToken, providertest.Respond(http.StatusOK,
			`{"access_token":"a","token_type":"bearer","expires_in":3600,"scope":"read"}`))
		r := f.Write("exchange", f.own(t, "slack", map[string]any{"scopes": "read,write"}))
		made := r.OK(t)
		assert.Equal(t, []string{"read"}, texts(t, made["scopes"]))
		assert.Equal(t, []string{"write"}, texts(t, made["missing_scopes"]))
		all := strings.Join(r.Warnings, "\n")
		assert.Contains(t, all, "not granted: write")
		assert.Contains(t, all, "no refresh token")
	})
}

// Who is turned away at the provider's door has lost nothing: no try, and no code.
func TestExchangeWhileTheProviderRests(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		own := f.own(t, "two", nil)
		id, _, code := f.parked(t, "three", nil)
		confirmed := map[string]any{"flow_id": id, "confirmation_code": code}
		wrong := with(confirmed, map[string]any{"confirmation_code": "AAAAAAAA"})
		f.rests(t, "slack")
		f.Storage.Forget()
		for range 6 {
			for _, data := range []map[string]any{wrong, confirmed, own} {
				f.Write("exchange", data).
					Refused(t, http.StatusBadGateway, "left alone", "nothing was sent or changed", "12:02:00")
			}
		}
		assert.Zero(t, f.Storage.Writes())
		assert.Equal(t, 1, f.provider.Count(providers.StepToken))
		f.Advance(time.Minute)
		f.Write("exchange", wrong).Refused(t, http.StatusBadRequest, "1 of 5")
		f.Write("exchange", confirmed).OK(t)
		f.Write("exchange", own).OK(t)
	})
}

// down lets the provider fail for connections of several accounts, and gives their names.
func (f *fixture) down(t *testing.T) []string {
	t.Helper()
	names := []string{"a", "b", "c"}
	for _, name := range names {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusOK, `{"sub":"account of `+name+`"}`))
		f.connect(t, name)
	}
	f.Advance(time.Minute)
	for _, name := range names {
		f.provider.Next(providers.StepRefresh, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.Write("refresh/"+name, nil).Refused(t, http.StatusBadGateway)
	}
	return names
}

// A person who has consented is the best probe there is: the code would be worth nothing later.
func TestExchangeWhileTheProviderIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		own := f.own(t, "mine", nil)
		names := f.down(t)
		circuits := func() map[string]any { return members(t, f.Read("status", nil).OK(t)["circuits"]) }
		require.Contains(t, circuits(), "acme")
		f.Write("exchange", own).OK(t)
		assert.Empty(t, circuits())
		f.Write("refresh/"+names[0], nil).Refused(t, http.StatusBadGateway) // a failure a moment ago answers
		f.Advance(5 * time.Second)
		f.Write("refresh/"+names[0], nil).OK(t)
	})
}

// Whose account it was is known though its grant is worth nothing any more: a stranger must not take its place.
func TestReconnectAfterARefusalRefusesAnotherAccount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		stranger := providertest.Respond(http.StatusOK, `{"sub":"account-2","name":"Mallory"}`)
		refused := func(says ...string) {
			t.Helper()
			f.provider.Next(providers.StepIdentity, stranger)
			f.Write("exchange", f.own(t, "slack", nil)).Refused(t, http.StatusConflict, says...)
			assert.Equal(t, "account-1", members(t, f.Read("connections/slack", nil).OK(t)["account"])["id"])
		}
		f.connect(t, "slack")
		f.provider.RevokeAll()
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "grant_refused")
		refused("it is another account than before (set allow_account_change=true")
		f.restart(t)
		refused("it is another account than before (set allow_account_change=true")

		moved := f.acme()
		delete(moved["endpoints"].(map[string]any), "revoke")
		f.Write("providers/acme", moved).OK(t)
		assert.Equal(t, "provider_changed", f.Read("connections/slack", nil).OK(t)["status_reason"])
		refused("it is another account than before, or the provider, which was changed since",
			"allow_account_change=true")
		f.connect(t, "slack")
		refused("it is another account than before (set allow_account_change=true")
		assert.Equal(t, "active", f.Read("connections/slack", nil).OK(t)["status"])
	})
}

// Whose account the connection is counts when the exchange lands, not when it set out.
func TestExchangeMeetsAReconnect(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.provider.Next(providers.StepIdentity, providertest.Respond(http.StatusServiceUnavailable, ""))
		f.connect(t, "x")
		own := f.own(t, "x", nil)
		asked, release := make(chan struct{}), make(chan struct{})
		f.provider.Next(providers.StepIdentity, func(
			s *providertest.Server, w http.ResponseWriter, r *http.Request, behave http.HandlerFunc,
		) {
			close(asked)
			providertest.HangUntil(release)(s, w, r, func(w http.ResponseWriter, r *http.Request) {
				providertest.Respond(http.StatusOK, `{"sub":"somebody-else"}`)(s, w, r, behave)
			})
		})
		answer := make(chan testenv.Result, 1)
		go func() { answer <- f.Write("exchange", own) }()
		<-asked
		f.connect(t, "x")
		token := f.token(t, "x")
		close(release)
		(<-answer).Refused(t, http.StatusConflict, "another account", "nothing was connected")
		assert.Equal(t, token, f.token(t, "x"))
	})
}
