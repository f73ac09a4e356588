package acceptance

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// TestProviderFaults insists on a new token over one that lives. Only a provider that refuses this very grant makes a
// person reconnect; after anything else the connection is active, says what was wrong, and comes back by itself.
func TestProviderFaults(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.write(t, "config", map[string]any{"request_timeout": 1, "refresh_margin": 10})
	respond := func(status int, body string, headers ...string) []providertest.Behavior {
		return []providertest.Behavior{providertest.Respond(status, body, headers...)}
	}
	twice := func(b providertest.Behavior) []providertest.Behavior { return []providertest.Behavior{b, b} }

	tests := map[string]struct {
		script   []providertest.Behavior // of the coming refreshes
		requests int
		class    string        // of the failure; empty: none
		rests    time.Duration // at least until the next try
		reason   string        // why it needs to be reconnected, if it does
		lost     bool          // whether the old token died with the refresh
	}{
		"500": {
			script: respond(500, "<h1>Oops</h1>", "Content-Type", "text/html"), requests: 1, class: "transient",
			rests: time.Second,
		},
		"503 with a code": {
			script: respond(503, `{"error":"invalid_grant"}`), requests: 1, class: "transient", rests: time.Second,
		},
		"502": {
			script: twice(providertest.Respond(502, "<h1>Oops</h1>")), requests: 2, class: "unknown", rests: time.Second,
		},
		"502 once": {script: respond(502, ""), requests: 2},
		"401 of a gateway": {
			script: respond(401, "<h1>Sign in</h1>"), requests: 1, class: "transient", rests: time.Second,
		},
		"429": {
			script: respond(429, "", "Retry-After", "120"), requests: 1, class: "rate_limited", rests: 115 * time.Second,
		},
		"garbage under 400": {
			script: respond(400, "<h1>Blocked</h1>", "Content-Type", "text/html"), requests: 1, class: "transient",
			rests: time.Second,
		},
		"hangs": {
			script: twice(providertest.Hang()), requests: 2, class: "unknown", rests: time.Second,
		},
		"hangs once":               {script: []providertest.Behavior{providertest.Hang()}, requests: 2},
		"resets before it rotates": {script: []providertest.Behavior{providertest.Reset()}, requests: 2},
		"resets after it rotated": {
			script: []providertest.Behavior{providertest.ResetAfter()}, requests: 2, class: "rejected",
			reason: "refresh_outcome_unknown", lost: true,
		},
		"garbage after it rotated": {
			script: []providertest.Behavior{providertest.GarbageAfter()}, requests: 2, class: "rejected",
			reason: "refresh_outcome_unknown", lost: true,
		},
		"garbage twice": {
			script: twice(providertest.Respond(200, "OK", "Content-Type", "text/plain")), requests: 2, class: "unknown",
			rests: time.Second,
		},
		"refuses the grant": {
			script: respond(400, `{"error":"invalid_grant","error_description":"words of theirs"}`), requests: 1,
			class: "rejected", reason: "grant_refused",
		},
		"refuses the app": {
			script: respond(401, `{"error":"invalid_client"}`), requests: 1, class: "misconfigured", rests: 55 * time.Second,
		},
		"refuses the app's privilege": {
			script: respond(400, `{"error":"unauthorized_client"}`), requests: 1, class: "misconfigured", rests: 55 * time.Second,
		},
	}
	services, former := map[string]*service{}, map[string]string{}
	adopt := func(s *service, account string) {
		former[account] = s.adopt(t, account)
		_, warnings, err := e.insist(t.Context(), account, replaceable)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.Contains(t, warnings[0], "refresh/org/default/"+account+" replaces it now")
	}
	for name, c := range tests {
		s := e.newService(t, strings.ToLower(notInPaths.ReplaceAllString(name, "-")), providertest.WithLifetime(replaceable))
		services[name] = s
		adopt(s, s.provider)
		if c.class == "rate_limited" {
			adopt(s, s.provider+"-2")
		}
		require.Zero(t, s.Count("refresh"), "a new token is not replaced because a reader insists")
	}
	e.ages(t, soonest, slices.Collect(maps.Keys(former))...)

	for name, c := range tests {
		t.Run(name, func(t *testing.T) { // one after another: too much later the background replaces the tokens
			s := services[name]
			account := s.provider
			former, other := former[account], former[account+"-2"]
			s.Next("refresh", c.script...)

			asked := time.Now()
			token, warnings, err := e.insist(t.Context(), account, replaceable)
			require.NoError(t, err, "a token that lives is answered, whatever became of its successor")
			if c.class == "" {
				assert.NotEqual(t, former, token)
				assert.Empty(t, warnings)
			} else {
				assert.Equal(t, former, token)
				require.Len(t, warnings, 1)
				assert.NotContains(t, warnings[0], "words of theirs")
			}
			assert.Equal(t, !c.lost, s.Alive(token))
			status := "active"
			if c.reason != "" {
				status = "needs_reconnect"
			}
			e.stands(t, account, status, c.reason)
			meta := e.read(t, "connections/"+account)
			if c.class == "" {
				assert.Empty(t, meta["last_error"])
			} else {
				assert.Equal(t, c.class, meta["last_error"].(map[string]any)["class"])
			}
			if c.rests > 0 {
				next, err := time.Parse(time.RFC3339, meta["next_refresh"].(string))
				require.NoError(t, err)
				assert.GreaterOrEqual(t, next.Sub(asked.Truncate(time.Second)), c.rests)
			}
			_, _, err = e.insist(t.Context(), account, replaceable)
			require.NoError(t, err)
			assert.Equal(t, c.requests, s.Count("refresh"), "a second demand does not reach the provider")

			switch {
			case c.reason != "": // a person consents again
				assert.True(t, s.Alive(s.adopt(t, account)))
			case c.class == "rate_limited": // it holds for all of the provider
				token, warnings, err := e.insist(t.Context(), account+"-2", replaceable)
				require.NoError(t, err)
				assert.Equal(t, other, token)
				assert.Len(t, warnings, 1)
				assert.Equal(t, c.requests, s.Count("refresh"))
			case c.class == "misconfigured": // the operator corrects the app
				e.write(t, "providers/"+s.provider, map[string]any{"client_secret": providertest.ClientSecret})
				fallthrough
			case c.class != "":
				require.Eventually(t, func() bool {
					token, _, err = e.insist(t.Context(), account, replaceable)
					return err == nil && token != former
				}, patience, 100*time.Millisecond)
				assert.True(t, s.Alive(token))
				assert.Equal(t, c.requests+1, s.Count("refresh"))
			}
			e.stands(t, account, "active", "")
		})
	}
}

// The clients of Vault send again what was answered with 502. The backoff on the entry keeps that from the provider.
func TestProviderDownAndTokenDead(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(2*time.Second))
	s.adopt(t, "account")
	e.expires(t, "account", s.Alive)
	s.Next("refresh", providertest.Respond(http.StatusServiceUnavailable, ""))
	for range 3 {
		e.as(t, e.vault.Token).refusesRead(t, http.StatusBadGateway, "the next try is at", "creds/account")
	}
	assert.Equal(t, 1, s.Count("refresh"))
	e.stands(t, "account", "active", "")
	assert.True(t, s.Alive(e.serves(t, "account", s.Alive)))
	assert.Equal(t, 2, s.Count("refresh"))
	e.stands(t, "account", "active", "")
}

// RFC 6749 section 6: an answer without a refresh token leaves the old one good.
func TestRefreshTokenNotRepeated(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service", providertest.WithLifetime(2*time.Second), providertest.WithReusableRefreshTokens())
	tokens := []string{s.adopt(t, "account")}
	for round := 1; round <= 2; round++ {
		e.expires(t, "account", s.Alive)
		token := e.token(t, "account")
		assert.True(t, s.Alive(token))
		assert.NotContains(t, tokens, token)
		tokens = append(tokens, token)
		assert.Equal(t, round, s.Count("refresh"))
	}
	e.stands(t, "account", "active", "")
}

// A person who ends the grant in the provider's settings is asked to consent again, and the provider is left alone.
func TestGrantRevokedAtProvider(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	s := e.newService(t, "service")
	s.adopt(t, "account")
	s.RevokeAll()
	e.ages(t, restless, "account")
	for range 2 {
		e.refusesWrite(t, http.StatusConflict, "needs to be reconnected (grant_refused)", "refresh/account", nil)
		_, warnings, err := e.insist(t.Context(), "account", time.Hour)
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		assert.Contains(t, warnings[0], "needs to be reconnected (grant_refused)")
	}
	assert.Equal(t, 1, s.Count("refresh"))
	e.stands(t, "account", "needs_reconnect", "grant_refused")
	assert.True(t, s.Alive(s.adopt(t, "account")))
	e.stands(t, "account", "active", "")
}
