package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func connected() *Connection {
	c := &Connection{Provider: "acme", Status: StatusActive, Since: noon}
	c.Adopt(&providers.Grant{AccessToken: providers.NewSecret("a"), RefreshToken: providers.NewSecret("r")}, "pin", noon)
	return c
}

func TestAdopt(t *testing.T) {
	c := connected()
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Rejected}, Next: time.Time{}}, noon)
	require.Equal(t, StatusNeedsReconnect, c.Status)
	c.Adopt(&providers.Grant{}, "pin2", noon.Add(time.Hour))
	assert.Equal(t, StatusActive, c.Status)
	assert.Empty(t, c.Reason)
	assert.Equal(t, Attempt{}, c.Attempt)
	assert.Equal(t, "pin2", c.Pinned)
	assert.Equal(t, uint64(2), c.Generation)
	assert.Equal(t, noon.Add(time.Hour), c.Rotated)

	c.AdoptKey(map[string]providers.Secret{"api_key": providers.NewSecret("k")}, "pin3", noon)
	assert.Nil(t, c.Grant, "one credential at a time")
	c.Adopt(&providers.Grant{}, "pin", noon)
	assert.Nil(t, c.Key)
	assert.Equal(t, uint64(4), c.Generation)
}

// An import that is sent again must not put a spent refresh token in the place of a newer one.
func TestImportSentAgain(t *testing.T) {
	grant := func(access, refresh string) *providers.Grant {
		return &providers.Grant{AccessToken: providers.NewSecret(access), RefreshToken: providers.NewSecret(refresh)}
	}
	refresh := func(c *Connection) { c.Refreshed(grant("a2", "r2"), noon) }
	refuse := func(c *Connection) {
		refresh(c)
		c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Rejected}}, noon)
	}
	for name, c := range map[string]struct {
		since          func(*Connection)
		again          *providers.Grant
		pinned         string
		has, refreshed bool
	}{
		"at once":                       {func(*Connection) {}, grant("a", "r"), "pin", true, false},
		"at once, the refresh token":    {func(*Connection) {}, grant("", "r"), "pin", true, false},
		"with another access token":     {func(*Connection) {}, grant("b", "r"), "pin", false, false},
		"refreshed":                     {refresh, grant("a", "r"), "pin", true, true},
		"refreshed, another access":     {refresh, grant("b", "r"), "pin", true, true},
		"refreshed, no new token of it": {func(c *Connection) { c.Refreshed(grant("a2", "r"), noon) }, grant("a", "r"), "pin", true, true},
		"another refresh token":         {refresh, grant("a", "another"), "pin", false, false},
		"the newest one":                {refresh, grant("a2", "r2"), "pin", false, false},
		"no refresh token":              {refresh, grant("a", ""), "pin", false, false},
		"provider changed":              {refresh, grant("a", "r"), "pin2", false, false},
		"refused":                       {refuse, grant("a", "r"), "pin", false, false},
		"disabled":                      {func(c *Connection) { refresh(c); c.Disable(ReasonDisabledByPerson, noon) }, grant("a", "r"), "pin", true, true},
		"refused and disabled":          {func(c *Connection) { refuse(c); c.Disable(ReasonDisabledByPerson, noon) }, grant("a", "r"), "pin", false, false},
		"connected anew":                {func(c *Connection) { c.Adopt(grant("a2", "r2"), "pin", noon) }, grant("a", "r"), "pin", false, false},
		"a key since":                   {func(c *Connection) { c.AdoptKey(nil, "pin", noon) }, grant("a", "r"), "pin", false, false},
		"another import since":          {func(c *Connection) { c.AdoptImport(grant("", "r2"), "pin", noon) }, grant("a", "r"), "pin", false, false},
		"an access token since":         {func(c *Connection) { c.AdoptImport(grant("a2", ""), "pin", noon) }, grant("a", "r"), "pin", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &Connection{Provider: "acme", Status: StatusActive, Since: noon}
			conn.AdoptImport(grant("a", "r"), "pin", noon)
			c.since(conn)
			has, refreshed := conn.HasImport(c.again, c.pinned)
			assert.Equal(t, c.has, has)
			assert.Equal(t, c.refreshed, refreshed)
		})
	}
}

func TestRefreshFailed(t *testing.T) {
	next := noon.Add(time.Minute)
	for class, status := range map[providers.Class]Status{
		providers.Transient: StatusActive, providers.Unknown: StatusActive, providers.RateLimited: StatusActive,
		providers.Misconfigured: StatusActive, providers.Expired: StatusActive, providers.Forbidden: StatusActive,
		providers.Rejected: StatusNeedsReconnect,
	} {
		c := connected()
		c.RefreshFailed(Failure{Error: &providers.Error{Class: class, Code: "code", Reason: "why"}, Lost: class == providers.Unknown, Next: next, ProviderSerial: 7}, noon)
		assert.Equal(t, status, c.Status, class)
		assert.Equal(t, Attempt{
			Failures: 1, Last: noon, Next: next, Class: class, Code: "code", Why: "why", ProviderSerial: 7, Unknown: class == providers.Unknown,
		}, c.Attempt)
		assert.Equal(t, uint64(1), c.Generation, "the credential is the same")
	}
	c := connected()
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Rejected}, Next: next}, noon)
	assert.Equal(t, ReasonGrantRefused, c.Reason)
}

func TestRefusalAfterTheIdleLimit(t *testing.T) {
	const limit = 24 * time.Hour
	refused := &providers.Error{Class: providers.Rejected}
	for name, c := range map[string]struct {
		grant  providers.Grant
		idle   time.Duration
		lost   bool
		reason Reason
	}{
		"within it":               {providers.Grant{Issued: noon.Add(time.Second - limit)}, limit, false, ReasonGrantRefused},
		"reached":                 {providers.Grant{Issued: noon.Add(-limit)}, limit, false, ReasonIdleLimit},
		"the provider has none":   {providers.Grant{Issued: noon.Add(-limit)}, 0, false, ReasonGrantRefused},
		"the refresh token lives": {providers.Grant{Issued: noon, RefreshExpires: noon.Add(time.Second)}, 0, false, ReasonGrantRefused},
		"the refresh token's end": {providers.Grant{Issued: noon, RefreshExpires: noon}, 0, false, ReasonIdleLimit},
		"but an answer was lost":  {providers.Grant{Issued: noon.Add(-limit)}, limit, true, ReasonOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			conn.Grant, conn.Attempt.Unknown = &c.grant, c.lost
			conn.RefreshFailed(Failure{Error: refused, Idle: c.idle}, noon)
			assert.Equal(t, c.reason, conn.Reason)
		})
	}
}

// A refusal after an answer was lost does not mean that a person revoked anything.
func TestRefusalAfterALostAnswer(t *testing.T) {
	c := connected()
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Unknown}, Lost: true, Next: noon}, noon)
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Transient}, Next: noon}, noon)
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Rejected}, Next: noon}, noon)
	assert.Equal(t, ReasonOutcomeUnknown, c.Reason)
	assert.Equal(t, 3, c.Attempt.Failures)
	c.Refreshed(&providers.Grant{}, noon)
	assert.Equal(t, Attempt{}, c.Attempt)
	assert.Equal(t, noon, c.LastRefresh)
	assert.Equal(t, StatusActive, c.Status)
}

// What happens to a disabled connection shows when it is enabled.
func TestDisableAndEnable(t *testing.T) {
	c := connected()
	c.Enable(noon)
	assert.Equal(t, StatusActive, c.Status)
	c.Disable(ReasonDisabledByPerson, noon.Add(time.Minute))
	assert.Equal(t, StatusDisabled, c.Status)
	assert.Equal(t, noon.Add(time.Minute), c.Since)
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Rejected}, Next: noon}, noon)
	assert.Equal(t, StatusDisabled, c.Status)
	c.Disable(ReasonDeleting, noon.Add(time.Hour))
	assert.Equal(t, ReasonDeleting, c.Reason)
	assert.Equal(t, noon.Add(time.Minute), c.Since)
	c.Enable(noon.Add(2 * time.Hour))
	assert.Equal(t, StatusNeedsReconnect, c.Status)
	assert.Equal(t, ReasonGrantRefused, c.Reason)
	assert.Empty(t, c.DisabledFrom)

	c.Disable(ReasonDisabledByPerson, noon)
	c.Adopt(&providers.Grant{}, "pin", noon)
	assert.Equal(t, StatusDisabled, c.Status, "a reconnect does not enable")
	c.Enable(noon)
	assert.Equal(t, StatusActive, c.Status)
}

func TestStatusUnder(t *testing.T) {
	same, other := "pin", "other"
	for name, c := range map[string]struct {
		change func(*Connection)
		now    *string
		status Status
		reason Reason
	}{
		"as it is":         {func(*Connection) {}, &same, StatusActive, ""},
		"provider changed": {func(*Connection) {}, &other, StatusNeedsReconnect, ReasonProviderChanged},
		"provider gone":    {func(*Connection) {}, nil, StatusNeedsReconnect, ReasonProviderMissing},
		"disabled":         {func(c *Connection) { c.Disable(ReasonDisabledByPerson, noon) }, &other, StatusDisabled, ReasonDisabledByPerson},
		"hard limit":       {func(c *Connection) { c.HardLimitReached(noon) }, &same, StatusNeedsReconnect, ReasonHardLimit},
	} {
		conn := connected()
		c.change(conn)
		before := *conn
		status, reason := conn.StatusUnder(c.now)
		assert.Equal(t, c.status, status, name)
		assert.Equal(t, c.reason, reason, name)
		assert.Equal(t, before, *conn, "it changes nothing")
	}
}

func TestMissingScopes(t *testing.T) {
	c := connected()
	c.RequiredScopes, c.Grant.Scopes = []string{"a", "b", "c"}, []string{"b"}
	assert.Equal(t, []string{"a", "c"}, c.MissingScopes())
	c.AdoptKey(nil, "pin", noon)
	assert.Empty(t, c.MissingScopes())
}

func TestCloneSharesNothing(t *testing.T) {
	assert.Nil(t, (*Connection)(nil).Clone())
	c := connected()
	c.Tags, c.Inputs, c.RequiredScopes = map[string]string{"a": "1"}, map[string]string{"a": "1"}, []string{"a"}
	c.Grant.Scopes, c.Grant.Config = []string{"a"}, map[string]string{"a": "1"}
	c.Grant.SecretConfig = map[string]providers.Secret{"a": providers.NewSecret("1")}
	out := c.Clone()
	require.Equal(t, c, out)
	out.Tags["a"], out.Inputs["a"], out.RequiredScopes[0] = "2", "2", "2"
	out.Grant.Scopes[0], out.Grant.Config["a"] = "2", "2"
	delete(out.Grant.SecretConfig, "a")
	out.Grant.AccessToken = providers.NewSecret("2")
	for _, got := range []string{c.Tags["a"], c.Inputs["a"], c.Grant.Config["a"], c.Grant.SecretConfig["a"].Reveal()} {
		assert.Equal(t, "1", got)
	}
	assert.Equal(t, "a", c.RequiredScopes[0])
	assert.Equal(t, "a", c.Grant.Scopes[0])
	assert.Equal(t, "a", c.Grant.AccessToken.Reveal())
}
