package backend

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestCredsOfAnAccount(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		creds := f.Read("creds/slack", nil)
		data := creds.OK(t)
		assert.Empty(t, creds.Warnings)
		assert.Nil(t, creds.Secret, "no lease")
		assert.True(t, f.provider.Alive(data["access_token"].(string)))
		for field, want := range map[string]any{
			"token_type": "Bearer", "expire_time": "2026-03-01T13:00:00Z", "provider": "acme",
			"last_vault_rotation": "2026-03-01T12:00:00Z",
		} {
			assert.Equal(t, want, data[field], field)
		}
		assert.Equal(t, []string{"read", "write"}, texts(t, data["scopes"]))
		assert.Empty(t, members(t, data["connection_config"]))
		assert.InDelta(t, 3000, number(data["ttl"]), 0, "an hour less the margin of ten minutes")
		assert.InDelta(t, 3000, number(data["rotation_period"]), 0)
		assert.Len(t, data, 9, "and nothing else")
		f.Advance(10*time.Minute + 300*time.Millisecond)
		assert.InDelta(t, 2399, number(f.Read("creds/slack", nil).OK(t)["ttl"]), 0, "whole seconds, never too many")
	})
}

func TestCredsOfAKey(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "k")
		data := f.Read("creds/k", nil).OK(t)
		assert.Equal(t, openaiKey, data["api_key"])
		assert.Equal(t, "openai", data["provider"])
		assert.NotContains(t, data, "access_token")
		assert.InDelta(t, 300, number(data["ttl"]), 0)
		assert.InDelta(t, 300, number(data["rotation_period"]), 0)
		f.Write("config", map[string]any{"poll_interval": 5}).OK(t)
		assert.InDelta(t, 5, number(f.Read("creds/k", nil).OK(t)["ttl"]), 0)

		f.Write("providers/sendgrid", nil).OK(t)
		key := "SG.aaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
		f.Write("connections/mail", map[string]any{
			"provider": "sendgrid", "api_key": key, "inputs": map[string]any{"api_host": "api.eu.sendgrid.com"},
		}).OK(t)
		assert.Equal(t, "api.eu.sendgrid.com", members(t, f.Read("creds/mail", nil).OK(t)["connection_config"])["api_host"])
		f.Write("connections/mail", map[string]any{"inputs": map[string]any{}}).Refused(t, http.StatusBadRequest,
			"write it again in the same call")
		f.Write("connections/mail", map[string]any{"api_key": "not one"}).Refused(t, http.StatusBadRequest, "api_key")
	})
}

func TestCredsWithoutExpiry(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(1000 * time.Hour)
		data := f.Read("creds/slack", nil).OK(t)
		assert.Equal(t, "", data["expire_time"])
		assert.InDelta(t, 300, number(data["ttl"]), 0)
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
	}, providertest.WithLifetime(0))
}

func TestCredsOfAShortLife(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		data := f.Read("creds/slack", nil).OK(t)
		assert.InDelta(t, 5, number(data["ttl"]), 0, "never below five")
		assert.InDelta(t, 5, number(data["rotation_period"]), 0)
	}, providertest.WithLifetime(6*time.Second))
}

// Inside the margin the living token goes out at once, and the next read has the new one.
func TestCredsInsideTheMargin(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		old := f.Read("creds/slack", nil).OK(t)["access_token"]
		f.Advance(50 * time.Minute)
		release := make(chan struct{})
		f.provider.Next(providers.StepRefresh, providertest.HangUntil(release))
		data := f.Read("creds/slack", nil).OK(t)
		assert.Equal(t, old, data["access_token"])
		assert.InDelta(t, 5, number(data["ttl"]), 0)
		close(release)
		require.Eventually(t, func() bool {
			return f.Read("creds/slack", nil).OK(t)["access_token"] != old
		}, time.Minute, time.Millisecond)
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))
	})
}

func TestCredsOfADeadToken(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Hour)
		tokens := make([]any, 10)
		var readers sync.WaitGroup
		for i := range tokens {
			readers.Go(func() {
				if r := f.Read("creds/slack", nil); assert.Equal(t, http.StatusOK, r.Status, r.Text) {
					tokens[i] = r.Data["access_token"]
				}
			})
		}
		readers.Wait()
		for _, token := range tokens {
			assert.Equal(t, tokens[0], token)
		}
		assert.True(t, f.provider.Alive(tokens[0].(string)))
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh), "all share one request")
	})
}

func TestMinTTL(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		old := f.Read("creds/slack", map[string]any{"min_ttl": "59m"}).OK(t)["access_token"]
		f.Advance(20 * time.Minute)
		assert.Equal(t, old, f.Read("creds/slack", map[string]any{"min_ttl": 2400}).OK(t)["access_token"])
		assert.NotEqual(t, old, f.Read("creds/slack", map[string]any{"min_ttl": 2401}).OK(t)["access_token"])
		long := f.Read("creds/slack", map[string]any{"min_ttl": "2h"})
		long.OK(t)
		require.Len(t, long.Warnings, 1)
		assert.Contains(t, long.Warnings[0], "min_ttl")
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh), "no second refresh for what cannot be had")
		f.Read("creds/slack", map[string]any{"min_ttl": -1}).Refused(t, http.StatusBadRequest, "min_ttl")
		f.Read("creds/slack", map[string]any{"min_ttl": "soon"}).Refused(t, http.StatusBadRequest, "min_ttl")
	})
}

// Only the provider's refusal of this very grant costs the connection, and even then the old token lives to its end.
func TestRefreshFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer providertest.Behavior
		status string // of the connection afterwards
		class  string
		dead   int // what creds answers once the token is dead
		manual int // what refresh answers
	}{
		"server error":  {providertest.Respond(503, "words of theirs"), "active", "transient", 502, 502},
		"unreachable":   {providertest.Reset(), "active", "unknown", 502, 502},
		"rate limited":  {providertest.Respond(429, "", "Retry-After", "7200"), "active", "rate_limited", 502, 502},
		"app refused":   {providertest.Respond(401, `{"error":"invalid_client"}`), "active", "misconfigured", 409, 409},
		"unknown words": {providertest.Respond(400, `{"error":"words of theirs"}`), "active", "transient", 502, 502},
		"grant refused": {providertest.Respond(400, `{"error":"invalid_grant"}`), "needs_reconnect", "rejected", 409, 409},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.connect(t, "slack")
				f.Advance(40 * time.Minute)
				f.provider.Next(providers.StepRefresh, c.answer, c.answer)
				r := f.Write("refresh/slack", nil)
				r.Refused(t, c.manual)
				assert.NotContains(t, r.Text, "words of theirs")
				calls := f.provider.Count(providers.StepRefresh)
				view := f.Read("connections/slack", nil).OK(t)
				assert.Equal(t, c.status, view["status"])
				assert.Equal(t, c.class, members(t, view["last_error"])["class"])

				f.Advance(10 * time.Minute)
				living := f.Read("creds/slack", nil)
				assert.NotEmpty(t, living.OK(t)["access_token"])
				if c.class == "transient" || c.class == "unknown" || c.class == "misconfigured" {
					return // it may be tried again by now
				}
				assert.NotEmpty(t, living.Warnings)
				f.Advance(10 * time.Minute)
				f.Read("creds/slack", nil).Refused(t, c.dead)
				assert.Equal(t, calls, f.provider.Count(providers.StepRefresh), "it rests")
			})
		})
	}
}

func TestLivingTokenWithAFailingRefresh(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(50 * time.Minute)
		f.provider.Next(providers.StepRefresh, providertest.Respond(503, "words of theirs"))
		f.Write("refresh/slack", nil).Refused(t, http.StatusBadGateway)
		r := f.Read("creds/slack", nil)
		assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)))
		require.Len(t, r.Warnings, 1)
		assert.Contains(t, r.Warnings[0], "transient")
		assert.NotContains(t, r.Warnings[0], "words of theirs")
		f.restart(t)
		assert.Equal(t, r.Warnings, f.Read("creds/slack", nil).Warnings, "the backoff is stored")
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh))

		f.Advance(10 * time.Minute)
		assert.True(t, f.provider.Alive(f.Read("creds/slack", nil).OK(t)["access_token"].(string)), "it passed by itself")
	})
}

func TestDeadTokenWhileTheProviderIsDown(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Advance(time.Hour)
		f.provider.Next(providers.StepRefresh, providertest.Respond(503, ""))
		f.Read("creds/slack", nil).Refused(t, http.StatusBadGateway, "next try")
		f.Read("creds/slack", nil).Refused(t, http.StatusBadGateway, "next try")
		assert.Equal(t, 1, f.provider.Count(providers.StepRefresh), "clients retry a 5xx, so the backoff backs it")
		f.Write("refresh/slack", nil).Refused(t, http.StatusBadGateway, "next try")
		f.Advance(6 * time.Second)
		f.Write("refresh/slack", nil).OK(t)
		f.Read("creds/slack", nil).OK(t)
	})
}

func TestCredsOfNothing(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.Read("creds/slack", nil).Refused(t, http.StatusBadRequest, "no connection org/default/slack",
			"auth-code-url/org/default/slack")
		f.Read("creds/org/acme/slack", nil).Refused(t, http.StatusBadRequest, "org/acme/slack")
		f.Write("refresh/slack", nil).Refused(t, http.StatusBadRequest, "no connection")
	})
}

func TestRefreshPaused(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
		f.Advance(55 * time.Minute)
		f.Read("creds/slack", nil).OK(t)
		f.Write("refresh/slack", nil).Refused(t, http.StatusConflict, "refresh_paused=false")
		f.Advance(5 * time.Minute)
		f.Read("creds/slack", nil).Refused(t, http.StatusConflict, "paused")
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
		f.Write("config", map[string]any{"refresh_paused": false}).OK(t)
		f.Read("creds/slack", nil).OK(t)
	})
}

// A standby serves what lives, and hands everything else to the active node before anybody is called.
func TestStandby(t *testing.T) {
	for name, state := range map[string]consts.ReplicationState{
		"standby": consts.ReplicationPerformanceStandby, "secondary": consts.ReplicationPerformanceSecondary,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				f.issuer(t)
				f.connect(t, "slack")
				f.key(t, "key")
				own := f.own(t, "two", nil)
				id, back, code := f.parked(t, "three", nil)
				f.System.SetReplication(state)
				f.Storage.Forget()
				calls := func() (n int) {
					for _, step := range []providers.Step{"token", "refresh", "revoke", "identity", "discovery"} {
						n += f.provider.Count(step)
					}
					return n
				}
				before := calls()

				f.Read("creds/key", nil).OK(t)
				f.Read("creds/slack", nil).OK(t)
				f.Advance(55 * time.Minute)
				assert.InDelta(t, 5, number(f.Read("creds/slack", nil).OK(t)["ttl"]), 0, "inside the margin")
				f.Read("connections/slack", nil).OK(t)
				f.List("connections/").OK(t)
				f.Read("config", nil).OK(t)
				assert.Equal(t, false, f.Read("status", nil).OK(t)["writable"])

				f.Advance(5 * time.Minute)
				r := f.Read("creds/slack", nil)
				assert.EqualError(t, r.Err, logical.ErrReadOnly.Error(), "bare, or Vault does not know it")
				for path, data := range map[string]map[string]any{
					"connections/living": {"provider": "acme", "access_token": "x"},
					"refresh/slack":      nil, "exchange": own, "connections/slack": {"label": "x"}, "connections/new": {
						"provider": "acme", "refresh_token": "x",
					},
					"connections/m": {"provider": "acme", "kind": "client_credentials"}, "auth-code-url/x": {"provider": "idp"},
					"providers/acme": {"scopes": "x"}, "config": {"poll_interval": 60}, "callback/acme": {
						"state": back["state"], "code": back["code"],
					},
				} {
					assert.EqualError(t, f.Write(path, data).Err, logical.ErrReadOnly.Error(), path)
				}
				assert.EqualError(t, f.Write("exchange", map[string]any{"flow_id": id, "confirmation_code": code}).Err,
					logical.ErrReadOnly.Error())
				assert.EqualError(t, f.Delete("connections/slack", nil).Err, logical.ErrReadOnly.Error())
				assert.EqualError(t, f.Delete("providers/acme", nil).Err, logical.ErrReadOnly.Error())
				f.periodic(t)
				assert.Equal(t, before, calls())
				assert.Zero(t, f.Storage.Writes())
			})
		})
	}
}

// A token that nothing renews ends by itself, and everything that tells of its connection says so.
func TestTokenThatExpires(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		imported := map[string]any{
			"provider": "acme", "access_token": "unknown there", "expires_in": 600, "verify": false,
		}
		f.Write("connections/x", imported).OK(t)
		f.connect(t, "slack")
		for _, c := range []struct {
			passed                  time.Duration
			status                  string
			code, expired, answered int
		}{
			{9 * time.Minute, "active", http.StatusOK, 0, http.StatusOK},
			{time.Minute, "expired", http.StatusConflict, 1, http.StatusConflict},
		} {
			f.Advance(c.passed)
			for range 2 {
				view := f.Read("connections/x", nil).OK(t)
				assert.Equal(t, []any{c.status, ""}, []any{view["status"], view["status_reason"]})
				assert.Equal(t, c.code, f.Read("creds/x", nil).Status)
				by := members(t, f.Read("status", nil).OK(t)["by_status"])
				assert.EqualValues(t, 2-c.expired, by["active"])
				if c.expired > 0 {
					assert.EqualValues(t, c.expired, by["expired"])
				}
				info := members(t, members(t, f.List("connections/").OK(t)["key_info"])["x"])
				assert.Equal(t, c.status, info["status"])
				f.restart(t) // and so does what was read from storage
			}
		}
		assert.Equal(t, "2026-03-01T12:10:00Z", f.Read("connections/x", nil).OK(t)["status_since"])
		f.Read("creds/x", nil).Refused(t, http.StatusConflict, "expired", "auth-code-url/org/default/x")
	})
}

// What cannot be had here, the active node may give: readers of what would do are not sent there.
func TestStandbyOfATokenThatWouldDo(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		f.Storage.Forget()
		bare := func(data map[string]any) {
			t.Helper()
			r := f.Read("creds/slack", data)
			assert.EqualError(t, r.Err, logical.ErrReadOnly.Error(), "bare, or Vault does not know it")
		}
		f.Advance(20 * time.Minute)
		f.Read("creds/slack", map[string]any{"min_ttl": "40m"}).OK(t)
		bare(map[string]any{"min_ttl": "41m"})
		f.Advance(35 * time.Minute)
		r := f.Read("creds/slack", nil)
		assert.True(t, f.provider.Alive(r.OK(t)["access_token"].(string)), "in its margin it lives")
		assert.Empty(t, r.Warnings)
		f.Advance(5*time.Minute - 2*time.Second)
		bare(nil)
		f.Advance(2 * time.Second)
		bare(nil)
		assert.Zero(t, f.provider.Count(providers.StepRefresh))
		assert.Zero(t, f.Storage.Writes())
	})
}

func TestRefreshPausedTellsWhenToComeBack(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		f.Write("config", map[string]any{"refresh_paused": true}).OK(t)
		f.Advance(52 * time.Minute)
		data := f.Read("creds/slack", nil).OK(t)
		assert.Equal(t, 300, whole(t, data, "ttl"), "nothing newer comes before somebody ends that")
		f.Advance(6 * time.Minute)
		assert.Equal(t, 120, whole(t, f.Read("creds/slack", nil).OK(t), "ttl"), "it lives no longer")
	})
}

// The instance URL stands beside the token too, as 'vault read -field' and templates do not reach into a map.
func TestCredsTellTheInstance(t *testing.T) {
	const capture = "connection_config:\n  - {name: instance_url, from: callback, path: [instance_url], pattern: 'https://[a-z0-9.]+'}\n"
	eachWith(t, unproven(t, capture), func(t *testing.T, f *fixture) {
		flow := f.start(t, "crm", nil)
		back := f.provider.Consent(t, flow["url"].(string))
		back["instance_url"] = "https://eu7.crm.example.com"
		shown := shownCode.FindStringSubmatch(f.callback(t, "acme", back))
		require.NotNil(t, shown)
		f.Write("exchange", map[string]any{
			"flow_id": flow["flow_id"], "confirmation_code": shown[1] + shown[2],
		}).OK(t)
		data := f.Read("creds/crm", nil).OK(t)
		assert.Equal(t, back["instance_url"], data["instance_url"])
		assert.Equal(t, map[string]any{"instance_url": back["instance_url"]}, members(t, data["connection_config"]))
	})
}

// What an application needs to call the API is answered beside the credential: where, and, if it asks, by what.
func TestHowTheCredentialIsSent(t *testing.T) {
	eachWith(t, withKeys(t), func(t *testing.T, f *fixture) {
		f.connect(t, "acme")
		f.keyed(t)
		plain := f.Read("creds/keys", nil).OK(t)
		assert.NotContains(t, plain, "send")
		sent := members(t, f.Read("creds/keys", map[string]any{"include": "send"}).OK(t)["send"])
		assert.Equal(t, map[string]any{
			"headers": map[string]any{"X-Key": "the-key-1234"}, "query": map[string]any{},
			"path": "",
		}, sent)
		read := f.Read("creds/acme", map[string]any{"include": "send"}).OK(t)
		assert.Equal(t, "Bearer "+read["access_token"].(string),
			members(t, read["send"])["headers"].(map[string]any)["Authorization"])
		f.Read("creds/acme", map[string]any{"include": "refresh_token"}).Refused(t, http.StatusBadRequest, "include")

		f.Read("creds/acme", map[string]any{"provider": "acme"}).OK(t)
		f.Read("creds/acme", map[string]any{"provider": "keys"}).Refused(t, http.StatusConflict, `of provider "acme"`,
			"nothing was handed out")
	})
}

// Where a provider leads after it was changed is not where the credential belongs.
func TestWhereACredentialBelongs(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/github", map[string]any{
		"client_id": "id", "client_secret": "secret", "allow_import": "all", "inputs": map[string]any{
			"host": "one.ghe.com", "api_url": "https://api.one.ghe.com",
		},
	}).OK(t)
	f.Write("connections/github", map[string]any{"access_token": "tok", "expires_in": 3600, "verify": false}).OK(t)
	assert.Equal(t, "https://api.one.ghe.com", f.Read("creds/github", nil).OK(t)["api_base"])
	f.Write("providers/github", map[string]any{
		"client_secret": "secret", "inputs": map[string]any{"host": "two.ghe.com", "api_url": "https://api.two.ghe.com"},
	}).OK(t)
	read := f.Read("creds/github", nil)
	assert.NotContains(t, read.OK(t), "api_base")
	assert.NotEmpty(t, read.Warnings)
	f.Read("creds/github", map[string]any{"include": "send"}).Refused(t, http.StatusConflict, "changed since")
}
