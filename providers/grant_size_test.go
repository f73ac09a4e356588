package providers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// wide lets a definition keep 64 values of one source.
func wide(d *providers.Definition, from string) {
	for i := range 64 {
		name := fmt.Sprintf("v%02d", i)
		d.Connection = append(d.Connection, providers.Capture{
			Name: name, From: from, Path: []string{name}, Secret: i%2 == 0,
		})
	}
}

// values is a JSON answer with these fields and 64 values of a length.
func values(fields string, length int) providertest.Behavior {
	var b strings.Builder
	for i := range 64 {
		fmt.Fprintf(&b, `,"v%02d":%q`, i, strings.Repeat("v", length))
	}
	return providertest.Respond(200, `{`+fields+b.String()+`}`)
}

// No part of a grant may be too long, nor may all of them together.
func TestGrantTooLarge(t *testing.T) {
	const token = `"access_token":"tok","refresh_token":"ref","expires_in":3600`
	manyScopes := func(n int, letter string) string {
		var scopes []string
		for i := range n {
			scopes = append(scopes, fmt.Sprint(i)+strings.Repeat(letter, 1000))
		}
		return token + `,"scope":"` + strings.Join(scopes, " ") + `"`
	}
	for _, test := range []struct {
		name   string
		from   string
		answer providertest.Behavior
		fits   bool
	}{
		{"little", "token", values(token, 10), true},
		{"many long values", "token", values(token, 2000), true},
		{"too many long values", "token", values(token, 4000), false},
		{"many long scopes", "", values(manyScopes(100, "s"), 1), true},
		{"too many long scopes", "", values(manyScopes(200, "s"), 1), false},
		{"scopes that storage writes longer", "", values(manyScopes(100, "<"), 1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			app := server.App()
			if test.from != "" {
				wide(app.Definition, test.from)
			}
			holds := func(step providers.Step, err error) {
				t.Helper()
				if test.fits {
					require.NoError(t, err)
					return
				}
				e := failure(t, err)
				assert.Equal(t, []any{providers.Unknown, step, providers.ReasonGrantTooLarge}, []any{e.Class, e.Step, e.Reason})
			}
			f := begin(t, server, newClient(t, time.Now), app, "read")
			server.Next(providers.StepToken, test.answer, test.answer)
			_, err := f.client.Exchange(t.Context(), app, f.finish)
			holds(providers.StepToken, err)
			_, err = f.client.Issue(t.Context(), app, providers.IssueRequest{Kind: providers.KindClientCredentials, Resolved: f.res, Scopes: []string{"read"}})
			holds(providers.StepToken, err)

			g := &providers.Grant{AccessToken: providers.NewSecret("a"), RefreshToken: providers.NewSecret("r")}
			before := *g
			server.Next(providers.StepRefresh, test.answer)
			renewed, err := f.client.Refresh(t.Context(), app, f.res, providers.KindAuthorizationCode, g)
			require.NoError(t, err, "the former refresh token may be spent")
			assert.Equal(t, []any{"tok", "ref"}, []any{renewed.AccessToken.Reveal(), renewed.RefreshToken.Reveal()})
			if !test.fits {
				assert.Empty(t, renewed.Config)
				assert.Empty(t, renewed.Scopes)
			}
			assert.Equal(t, before, *g)
		})
	}
}

// What a grant has already counts: the last call may be the one too many, and then its answer is left out.
func TestIdentityThatMakesAGrantTooLarge(t *testing.T) {
	server := providertest.New(t)
	app, g := probed(server, func(d *providers.Definition) {
		d.Account = providers.AccountSpec{ID: []string{"sub"}}
		wide(d, "identity")
	})
	before := *g
	server.Next(providers.StepIdentity, values(`"sub":"a"`, 4000), values(`"sub":"a"`, 1000))
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	e := failure(t, client.Identify(t.Context(), app, res, ofPerson, g))
	assert.Equal(t, []any{providers.StepIdentity, providers.ReasonGrantTooLarge}, []any{e.Step, e.Reason})
	assert.Equal(t, before, *g, "as it was")
	require.NoError(t, client.Identify(t.Context(), app, res, ofPerson, g))
	assert.Equal(t, "a", g.Account.ID)

	// one that was too large before is none the worse for it
	g.Account.ID, g.Config["former"] = "", strings.Repeat("v", 1<<20)
	server.Next(providers.StepIdentity, values(`"sub":"b"`, 10))
	require.NoError(t, client.Identify(t.Context(), app, res, ofPerson, g))
	assert.Equal(t, "b", g.Account.ID)
}

// A flow keeps the endpoints of the document.
func TestDiscoveryDocumentThatIsTooLarge(t *testing.T) {
	for name, more := range map[string]string{
		"a long endpoint": `"authorization_endpoint":"https://x.test/` + strings.Repeat("x", 3000) + `"`,
		"a long address":  `"jwks_uri":"https://x.test/` + strings.Repeat("x", 3000) + `"`,
		"many algorithms": `"id_token_signing_alg_values_supported":[` + strings.Repeat(`"RS256",`, 40) + `"RS256"]`,
		"a long one":      `"id_token_signing_alg_values_supported":["` + strings.Repeat("R", 300) + `"]`,
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app := openID(server)
			server.Next(providers.StepDiscovery, providertest.Respond(200, fmt.Sprintf(
				`{"issuer":%q,"token_endpoint":"https://x.test/token",%s}`, server.URL, more)))
			client := newClient(t, time.Now)
			_, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			assert.Equal(t, providers.ReasonDiscoveryRefused, failure(t, err).Reason)
			_, err = client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			assert.NoError(t, err)
		})
	}
}
