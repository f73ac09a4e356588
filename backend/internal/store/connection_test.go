package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func grantOf(access, refresh string) *providers.Grant {
	return &providers.Grant{AccessToken: providers.NewSecret(access), RefreshToken: providers.NewSecret(refresh)}
}

func connected() *Connection {
	c := &Connection{Provider: "acme"}
	c.Adopt(grantOf("a", "r"), "pin", noon)
	return c
}

var (
	rejected  = Failure{Error: &providers.Error{Class: providers.Rejected}}
	transient = Failure{Error: &providers.Error{Class: providers.Transient}}
)

// status is that of a connection whose provider is as it was.
func status(c *Connection, now time.Time) Status {
	s, _ := c.Facts(true).Status(&c.Pinned, now)
	return s
}

func TestAdopt(t *testing.T) {
	c := connected()
	c.RefreshFailed(rejected, noon)
	require.Equal(t, StatusNeedsReconnect, status(c, noon))
	c.Adopt(&providers.Grant{}, "pin2", noon.Add(time.Hour))
	assert.Equal(t, StatusActive, status(c, noon))
	assert.Equal(t, Refusal{}, c.Refused)
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
	refresh := func(c *Connection) { c.Refreshed(grantOf("a2", "r2"), noon) }
	refuse := func(c *Connection) {
		refresh(c)
		c.RefreshFailed(rejected, noon)
	}
	reuse := func(c *Connection) { c.Refreshed(grantOf("a2", "r"), noon) }
	consent := func(c *Connection) { c.Adopt(grantOf("a2", "r2"), "pin", noon) }
	disable := func(c *Connection) { decide(c, true, ann) }
	same := grantOf("a", "r")
	for name, c := range map[string]struct {
		since          func(*Connection)
		again          *providers.Grant
		pinned         string
		has, refreshed bool
	}{
		"at once":                       {func(*Connection) {}, same, "pin", true, false},
		"at once, the refresh token":    {func(*Connection) {}, grantOf("", "r"), "pin", true, false},
		"with another access token":     {func(*Connection) {}, grantOf("b", "r"), "pin", false, false},
		"refreshed":                     {refresh, same, "pin", true, true},
		"refreshed, another access":     {refresh, grantOf("b", "r"), "pin", true, true},
		"refreshed, no new token of it": {reuse, same, "pin", true, true},
		"another refresh token":         {refresh, grantOf("a", "another"), "pin", false, false},
		"the newest one":                {refresh, grantOf("a2", "r2"), "pin", true, false},
		"no refresh token":              {refresh, grantOf("a", ""), "pin", false, false},
		"provider changed":              {refresh, same, "pin2", false, false},
		"refused":                       {refuse, same, "pin", false, false},
		"disabled":                      {func(c *Connection) { refresh(c); disable(c) }, same, "pin", true, true},
		"refused and disabled":          {func(c *Connection) { refuse(c); disable(c) }, same, "pin", false, false},
		"connected anew":                {consent, same, "pin", false, false},
		"a key since":                   {func(c *Connection) { c.AdoptKey(nil, "pin", noon) }, same, "pin", false, false},
		"another import since": {
			func(c *Connection) { c.AdoptImport(grantOf("", "r2"), "pin", noon) }, same, "pin", false, false,
		},
		"an access token since": {
			func(c *Connection) { c.AdoptImport(grantOf("a2", ""), "pin", noon) }, same, "pin", false, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &Connection{Provider: "acme"}
			conn.AdoptImport(grantOf("a", "r"), "pin", noon)
			c.since(conn)
			has, refreshed := conn.HasImport(c.again, c.pinned)
			assert.Equal(t, c.has, has)
			assert.Equal(t, c.refreshed, refreshed)
		})
	}
}

// An import is known for what it is also when it serves no more.
func TestFromImport(t *testing.T) {
	c := &Connection{}
	assert.False(t, c.FromImport(grantOf("a", "")), "no token is not the token of no import")
	c.AdoptImport(grantOf("a", "r"), "pin", noon)
	c.Refreshed(grantOf("a2", "r2"), noon)
	c.RefreshFailed(rejected, noon)
	assert.True(t, c.FromImport(grantOf("", "r")))
	assert.False(t, c.FromImport(grantOf("a", "")))
	assert.False(t, c.FromImport(grantOf("a2", "r2")))
	c.Adopt(grantOf("a3", "r3"), "pin", noon)
	assert.False(t, c.FromImport(grantOf("", "r")))
}

func TestRefreshFailed(t *testing.T) {
	next := noon.Add(time.Minute)
	for class, want := range map[providers.Class]Refusal{
		providers.Transient: {}, providers.Unknown: {}, providers.RateLimited: {}, providers.Misconfigured: {},
		providers.Expired: {}, providers.Forbidden: {}, providers.Rejected: {ReasonGrantRefused, noon},
	} {
		t.Run("a failure of class "+string(class)+" is recorded, and refuses only if the provider did", func(t *testing.T) {
			c := connected()
			c.RefreshFailed(Failure{
				Error: &providers.Error{Class: class, Code: "code", Reason: "why"}, Lost: class == providers.Unknown,
				Next: next, ProviderSerial: 7,
			}, noon)
			assert.Equal(t, want, c.Refused)
			assert.Equal(t, Attempt{
				Failures: 1, Last: noon, Next: next, Class: class, Code: "code", Why: "why", ProviderSerial: 7,
				Unknown: class == providers.Unknown,
			}, c.Attempt)
			assert.Equal(t, uint64(1), c.Generation, "the credential is the same")
		})
	}
	t.Run("a later failure does not take a refusal back", func(t *testing.T) {
		c := connected()
		c.RefreshFailed(rejected, noon)
		c.RefreshFailed(transient, noon.Add(time.Hour))
		assert.Equal(t, Refusal{ReasonGrantRefused, noon}, c.Refused)
	})
}

func TestRefusalAfterTheIdleLimit(t *testing.T) {
	const limit = 24 * time.Hour
	for name, c := range map[string]struct {
		grant  providers.Grant
		idle   time.Duration
		lost   bool
		reason Reason
	}{
		"within it":             {providers.Grant{Issued: noon.Add(time.Second - limit)}, limit, false, ReasonGrantRefused},
		"reached":               {providers.Grant{Issued: noon.Add(-limit)}, limit, false, ReasonIdleLimit},
		"the provider has none": {providers.Grant{Issued: noon.Add(-limit)}, 0, false, ReasonGrantRefused},
		"the refresh token lives": {
			providers.Grant{Issued: noon, RefreshExpires: noon.Add(time.Second)}, 0, false, ReasonGrantRefused,
		},
		"the refresh token's end": {providers.Grant{Issued: noon, RefreshExpires: noon}, 0, false, ReasonIdleLimit},
		"but an answer was lost":  {providers.Grant{Issued: noon.Add(-limit)}, limit, true, ReasonOutcomeUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			conn.Grant, conn.Attempt.Unknown = &c.grant, c.lost
			conn.RefreshFailed(Failure{Error: rejected.Error, Idle: c.idle}, noon)
			assert.Equal(t, Refusal{c.reason, noon}, conn.Refused)
		})
	}
}

// A refusal after an answer was lost does not mean that a person revoked anything.
func TestRefusalAfterALostAnswer(t *testing.T) {
	c := connected()
	c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Unknown}, Lost: true, Next: noon}, noon)
	c.RefreshFailed(transient, noon)
	c.RefreshFailed(rejected, noon)
	assert.Equal(t, ReasonOutcomeUnknown, c.Refused.Reason)
	assert.Equal(t, 3, c.Attempt.Failures)
	c.Refreshed(&providers.Grant{}, noon)
	assert.Equal(t, Attempt{}, c.Attempt)
	assert.Equal(t, Refusal{}, c.Refused)
	assert.Equal(t, noon, c.LastRefresh)
	assert.Equal(t, uint64(2), c.Generation)
}

// Whose account it is outlives the grants it is known by, for a reconnect to be compared with it.
func TestAccount(t *testing.T) {
	adopted := func(id, pinned string) func(*Connection) {
		return func(c *Connection) { c.Adopt(&providers.Grant{Account: providers.Account{ID: id}}, pinned, noon) }
	}
	told := func(a providers.Account) func(*Connection) { return func(c *Connection) { c.Identified(a) } }
	known := Account{ID: "1", Label: "Ann", Email: "ann@example.com", Pinned: "pin"}
	for name, c := range map[string]struct {
		event func(*Connection)
		want  Account
	}{
		"a refresh that does not tell it keeps it": {func(c *Connection) { c.Refreshed(grantOf("a2", "r2"), noon) }, known},
		"a refresh that tells another replaces it": {
			func(c *Connection) { c.Refreshed(&providers.Grant{Account: providers.Account{ID: "2"}}, noon) },
			Account{ID: "2", Pinned: "pin"},
		},
		"a refusal keeps it": {func(c *Connection) { c.RefreshFailed(rejected, noon) }, known},
		"a failure keeps it": {
			func(c *Connection) {
				c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Transient}}, noon)
			}, known,
		},
		"switching off and on keeps it":            {func(c *Connection) { decide(c, true, ann); decide(c, false, ann) }, known},
		"a consent that does not tell it keeps it": {adopted("", "pin"), known},
		"a consent that tells it replaces it":      {adopted("2", "pin"), Account{ID: "2", Pinned: "pin"}},
		"a silent consent elsewhere keeps its pin": {adopted("", "pin2"), known},
		"a consent elsewhere that tells it pins":   {adopted("1", "pin2"), Account{ID: "1", Pinned: "pin2"}},
		"not being told it later keeps it":         {told(providers.Account{}), known},
		"being told a label is enough": {
			told(providers.Account{Label: "A"}),
			Account{Label: "A", Pinned: "pin"},
		},
		"being told an address is enough": {
			told(providers.Account{Email: "e"}),
			Account{Email: "e", Pinned: "pin"},
		},
		"a key may be anybody's": {func(c *Connection) { c.AdoptKey(nil, "pin", noon) }, Account{}},
		"an import may be anybody's": {
			func(c *Connection) { c.AdoptImport(grantOf("a2", "r2"), "pin", noon) }, Account{},
		},
		"an import that tells it replaces it": {
			func(c *Connection) { c.AdoptImport(&providers.Grant{Account: providers.Account{ID: "3"}}, "pin", noon) },
			Account{ID: "3", Pinned: "pin"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &Connection{}
			g := grantOf("a", "r")
			g.Account = providers.Account{ID: "1", Label: "Ann", Email: "ann@example.com"}
			conn.Adopt(g, "pin", noon)
			require.Equal(t, known, conn.Account)
			c.event(conn)
			assert.Equal(t, c.want, conn.Account)
		})
	}
	t.Run("one learnt elsewhere is not taken for this provider's after it was stored", func(t *testing.T) {
		c := storedReconnected.Clone()
		b, err := encodeConnection(c)
		require.NoError(t, err)
		c, err = decodeConnection(b)
		require.NoError(t, err)
		renewed := *c.Grant // a refresh passes on what the grant was known by
		c.Refreshed(&renewed, noon)
		assert.Equal(t, Account{ID: "ann", Pinned: "former pin"}, c.Account)
	})
}

func TestWorked(t *testing.T) {
	c := connected()
	assert.False(t, c.Worked(), "an import may never have worked")
	c.RefreshFailed(rejected, noon)
	assert.False(t, c.Worked())
	c.Refreshed(grantOf("a", "r"), noon)
	assert.True(t, c.Worked())
	c = connected()
	c.FlowID = "flow"
	assert.True(t, c.Worked(), "its consent brought the grant")
	c = storedKey.Clone()
	c.FlowID = "flow"
	assert.False(t, c.Worked(), "a key that came by a link need not have been checked")
	c = connected()
	c.Kind = providers.KindClientCredentials
	assert.True(t, c.Worked(), "the provider gave it the grant")
	c.Grant = nil
	assert.False(t, c.Worked())
}

// A person's two switches change nothing but themselves, and each keeps its first time.
func TestDisableEnableDelete(t *testing.T) {
	t.Run("switching off notes who did so first, and switching on who did that", func(t *testing.T) {
		c := connected()
		before := c.Clone()
		decide(c, false, ann)
		assert.Equal(t, before, c, "what is on is not switched on")
		decide(c, true, ann)
		decide(c, true, bob)
		assert.Equal(t, Stops{Others: Stop{Disabled: ann}, By: ann}, c.Stops)
		decide(c, false, bob)
		decide(c, false, ann)
		assert.Equal(t, Stops{By: bob}, c.Stops)
		c.Stops, c.Switched = Stops{}, nil
		assert.Equal(t, before, c)
	})
	t.Run("a reconnect does not switch on", func(t *testing.T) {
		c := connected()
		decide(c, true, ann)
		c.Adopt(&providers.Grant{}, "pin", noon)
		assert.Equal(t, StatusDisabled, status(c, noon))
		decide(c, false, ann)
		assert.Equal(t, StatusActive, status(c, noon))
	})
	t.Run("what happens while it is off shows when it is on again", func(t *testing.T) {
		c := connected()
		decide(c, true, ann)
		c.RefreshFailed(rejected, noon)
		assert.Equal(t, StatusDisabled, status(c, noon))
		decide(c, false, ann)
		assert.Equal(t, StatusNeedsReconnect, status(c, noon))
	})
	t.Run("nothing takes a deletion back", func(t *testing.T) {
		c := connected()
		decide(c, true, ann)
		c.Delete(noon)
		c.Delete(noon.Add(time.Hour))
		decide(c, false, ann)
		c.Adopt(&providers.Grant{}, "pin", noon)
		assert.Equal(t, noon, c.Deleting)
		s, reason := c.Facts(true).Status(&c.Pinned, noon)
		assert.Equal(t, []any{StatusDisabled, ReasonDeleting}, []any{s, reason})
	})
}

// whole has something in everything that a copy could share.
func whole() *Connection {
	c := connected()
	c.Tags, c.Inputs, c.RequiredScopes = map[string]string{"a": "1"}, map[string]string{"a": "1"}, []string{"a"}
	c.Grant.Scopes, c.Grant.Config = []string{"a"}, map[string]string{"a": "1"}
	c.Grant.SecretConfig = map[string]providers.Secret{"a": providers.NewSecret("1")}
	c.Key = map[string]providers.Secret{"a": providers.NewSecret("1")}
	c.Captured, c.FormerCaptured = captured(), captured()
	c.Shares = []Share{{Entity: "e-2", By: ann}}
	return c
}

func captured() *providers.Captured {
	return &providers.Captured{
		Config:       map[string]string{"a": "1"},
		SecretConfig: map[string]providers.Secret{"a": providers.NewSecret("1")},
	}
}

func spoil(c *Connection) {
	for _, told := range []*providers.Captured{c.Captured, c.FormerCaptured} {
		told.Config["a"] = "2"
		delete(told.SecretConfig, "a")
	}
	c.Tags["a"], c.Inputs["a"], c.RequiredScopes[0] = "2", "2", "2"
	c.Grant.Scopes[0], c.Grant.Config["a"] = "2", "2"
	delete(c.Grant.SecretConfig, "a")
	delete(c.Key, "a")
	c.Grant.AccessToken = providers.NewSecret("2")
	c.Shares[0].Entity = "x"
}

func TestCopiesShareNothing(t *testing.T) {
	t.Run("no connection has no copy", func(t *testing.T) {
		assert.Nil(t, (*Connection)(nil).Clone())
	})
	t.Run("a clone shares nothing with the original", func(t *testing.T) {
		c := whole()
		out := c.Clone()
		require.Equal(t, c, out)
		spoil(out)
		assert.Equal(t, whole(), c)
	})
	t.Run("a credential laid over a connection shares nothing with either", func(t *testing.T) {
		c, other := whole(), whole()
		out := c.Over(other.Credential)
		require.Equal(t, whole(), out)
		spoil(out)
		assert.Equal(t, whole(), c)
		assert.Equal(t, whole(), other)
	})
}

// What people wrote meanwhile stays under a credential that comes late.
func TestOver(t *testing.T) {
	c := connected()
	c.Serial, c.Label, c.Private = 7, "renamed", true
	c.Tags = map[string]string{"team": "sales"}
	decide(c, true, ann)
	c.Delete(noon)
	late := connected()
	late.Label, late.Tags = "as it was", nil
	late.Refreshed(grantOf("a2", "r2"), noon.Add(time.Hour))
	late.RefreshFailed(rejected, noon.Add(2*time.Hour))

	want := c.Clone()
	want.Credential = late.Clone().Credential
	assert.Equal(t, want, c.Over(late.Credential))
}

// Only what the owner's entity says opens a connection for what that entity will put in it.
func TestPrivacyOfAConnection(t *testing.T) {
	yes, no := true, false
	owner, other := Setter{Actor: Actor{EntityID: "ann"}, Owner: true}, Setter{Actor: Actor{EntityID: "bob"}}
	set := func(private *bool, by Setter) func(*Connection) {
		return func(c *Connection) { c.Set(Settings{Private: private}, by) }
	}
	adopt := func(c *Connection) { c.Adopt(grantOf("a", "r"), "pin", noon); c.CloseFor("ann") }
	for name, c := range map[string]struct {
		steps   []func(*Connection)
		private bool
	}{
		"adopted":                      {[]func(*Connection){adopt}, true},
		"opened by another, adopted":   {[]func(*Connection){set(&no, other), adopt}, true},
		"opened by its owner, adopted": {[]func(*Connection){set(&no, owner), adopt}, false},
		"adopted, opened, adopted":     {[]func(*Connection){adopt, set(&no, owner), adopt}, false},
		"opened, closed, adopted":      {[]func(*Connection){set(&no, owner), set(&yes, owner), adopt}, true},
		"opened, closed by another, opened by that one, adopted": {
			[]func(*Connection){set(&no, owner), set(&yes, other), set(&no, other), adopt}, true,
		},
		"nothing said": {[]func(*Connection){set(nil, owner)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &Connection{}
			for _, step := range c.steps {
				step(conn)
			}
			assert.Equal(t, c.private, conn.Private)
		})
	}
	t.Run("goes along with a credential that is laid over what storage has", func(t *testing.T) {
		adopted := &Connection{}
		adopt(adopted)
		opened := &Connection{OpenedBy: "ann"}
		assert.True(t, (&Connection{}).Over(adopted.Credential).Private)
		assert.False(t, opened.Over(adopted.Credential).Private)
		adopted.Adopt(grantOf("b", "r"), "pin", noon) // by somebody else
		assert.False(t, (&Connection{}).Over(adopted.Credential).Private)
	})
}

// What a second consent of the same account does not tell is not forgotten; nothing goes from one account to another.
func TestAdoptConsent(t *testing.T) {
	grant := func(account, refresh string, scopes ...string) *providers.Grant {
		g := grantOf("access", refresh)
		g.Scopes, g.Account = scopes, providers.Account{ID: account}
		return g
	}
	nothing := func(*Connection) {}
	for name, c := range map[string]struct {
		since    func(*Connection)
		g        *providers.Grant
		spending bool
		pinned   string
		refresh  string
		captures bool
	}{
		"the same account":       {nothing, grant("1", "", "a", "b"), false, "pin", "former", true},
		"with more scopes":       {nothing, grant("1", "", "a", "b", "c"), false, "pin", "former", true},
		"with fewer scopes":      {nothing, grant("1", "", "a"), false, "pin", "", true},
		"with one of its own":    {nothing, grant("1", "new", "a", "b"), false, "pin", "new", true},
		"another account":        {nothing, grant("2", "", "a", "b"), false, "pin", "", false},
		"an account not learned": {nothing, grant("", "", "a", "b"), false, "pin", "", false},
		"another provider":       {nothing, grant("1", "", "a", "b"), false, "pin2", "", false},
		"while it is spent":      {nothing, grant("1", "", "a", "b"), true, "pin", "", true},
		"refused": {
			func(c *Connection) { c.RefreshFailed(rejected, noon) }, grant("1", "", "a", "b"), false, "pin", "", true,
		},
		"an answer was lost": {
			func(c *Connection) {
				c.RefreshFailed(Failure{Error: &providers.Error{Class: providers.Unknown}, Lost: true}, noon)
			}, grant("1", "", "a", "b"), false, "pin", "", true,
		},
		"its consent has run out": {
			func(c *Connection) { c.Grant.HardLimit = noon }, grant("1", "", "a", "b"), false, "pin", "", true,
		},
		"it has died": {
			func(c *Connection) { c.Grant.RefreshExpires = noon }, grant("1", "", "a", "b"), false, "pin", "", true,
		},
		"a failure that passes": {
			func(c *Connection) { c.RefreshFailed(transient, noon) }, grant("1", "", "a", "b"), false, "pin", "former", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := &Connection{Provider: "acme"}
			first := grant("1", "former", "a", "b")
			first.Config = map[string]string{"site": "one", "plan": "old"}
			conn.Adopt(first, "pin", noon.Add(-time.Hour))
			c.since(conn)
			c.g.Config = map[string]string{"plan": "new"}
			conn.AdoptConsent(c.g, c.spending, c.pinned, noon)
			assert.Equal(t, c.refresh, conn.Grant.RefreshToken.Reveal())
			assert.Equal(t, "new", conn.Grant.Config["plan"])
			assert.Equal(t, c.captures, conn.Grant.Config["site"] == "one")
			assert.Equal(t, StatusActive, status(conn, noon))
			assert.NotContains(t, c.g.Config, "site", "what the caller has is not changed")
		})
	}
}

// What was told of a key is gone with it, and comes back with it; a grant has its own.
func TestCapture(t *testing.T) {
	c := connected()
	c.Capture(captured())
	assert.Nil(t, c.Captured, "of a grant nothing is told here")
	assert.Nil(t, (&Connection{}).SecretConfig())

	c.AdoptKey(map[string]providers.Secret{"a": providers.NewSecret("k")}, "pin", noon)
	told := captured()
	c.Capture(told)
	told.Config["a"] = "2"
	assert.Equal(t, captured().Config, c.Config())
	assert.Equal(t, captured().SecretConfig, c.SecretConfig())
	c.Capture(nil)
	assert.Equal(t, captured(), c.Captured, "not knowing changes nothing")

	former, of := c.Key, c.Captured
	c.AdoptKey(map[string]providers.Secret{"a": providers.NewSecret("l")}, "pin", noon)
	assert.Nil(t, c.Captured)
	assert.Empty(t, c.Config())
	c.KeepFormer(former, of, noon.Add(time.Hour))
	require.True(t, c.EraseFormer(noon.Add(time.Hour)))
	assert.Nil(t, c.FormerCaptured)

	c.Capture(captured())
	c.KeepFormer(former, of, noon.Add(time.Hour))
	c.Adopt(&providers.Grant{Config: map[string]string{"b": "3"}}, "pin", noon)
	assert.Nil(t, c.Captured)
	assert.Nil(t, c.FormerCaptured)
	assert.Equal(t, map[string]string{"b": "3"}, c.Config())
}

// decide is what somebody else than the owner says.
func decide(c *Connection, disabled bool, by Actor) {
	c.Set(Settings{Decision: Decision{Disabled: &disabled}}, Setter{Actor: by})
}
