package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var (
	ofAnn = Key{Owner{User: "e-1"}, "slack"}
	ofBob = Key{Owner{User: "e-2"}, "slack"}
)

// full is the connection that has something in each field, and stands.
func full() *Connection {
	c := storedConnection.Clone()
	c.Deleting, c.Moving, c.Offer, c.MovedFrom, c.Ending = time.Time{}, Moving{}, nil, "", Ending{}
	c.Companions = map[string]providers.Secret{"hook": providers.NewSecret("hook secret")}
	return c
}

func TestArrived(t *testing.T) {
	all := func(string) bool { return true }
	arrive := func(from, to Key, change func(*Connection)) *Connection {
		c := full()
		c.Key = map[string]providers.Secret{"api_key": providers.NewSecret("k")}
		c.FormerKey = map[string]providers.Secret{"api_key": providers.NewSecret("former")}
		c.MakeOffer(to, Setter{Actor: ann}, false, noon)
		c.Move(Moving{To: to.String(), Since: noon, By: bob, Private: c.Private})
		change(c)
		return c.Arrived(from, to, all)
	}
	none := func(*Connection) {}
	before := full()

	renamed := arrive(ofAnn, Key{ofAnn.Owner, "crm"}, none)
	assert.Equal(t, before.Stops, renamed.Stops)
	assert.NotEmpty(t, renamed.FormerKey)
	assert.Equal(t, []any{"e-1", "e-1", "e-1"}, []any{renamed.SetBy, renamed.RequiredBy, renamed.AdoptedBy})

	same := arrive(ofAnn, Key{Owner{"acme", "e-1"}, "slack"}, none)
	assert.Equal(t, before.Stops, same.Stops, "its entity is the same")
	assert.Empty(t, same.FormerKey)

	other := arrive(ofAnn, ofBob, func(c *Connection) { c.SetBy, c.RequiredBy = "", "" })
	assert.Equal(t, Stops{Others: before.Stops.Others, Either: before.Stops.Either, By: before.Stops.By}, other.Stops)
	assert.Equal(t, []any{"none", "none", "", "", false}, []any{
		other.SetBy, other.RequiredBy, other.AdoptedBy, other.OpenedBy, other.Closed,
	})
	assert.Empty(t, other.FormerKey)

	for _, c := range []*Connection{renamed, same, other} {
		assert.Equal(t, []any{before.ID, before.Label, before.Tags, before.RequiredScopes, before.Inputs, before.Account}, []any{
			c.ID, c.Label, c.Tags, c.RequiredScopes, c.Inputs, c.Account,
		})
		assert.Equal(t, before.Grant, c.Grant)
		assert.Equal(t, before.Generation, c.Generation)
		assert.Empty(t, c.Shares)
		assert.Nil(t, c.Switched)
		assert.Equal(t, []any{"user/e-1/slack", Moving{}, ""}, []any{c.MovedFrom, c.Moving, c.offeredTo()})
	}

	bare := arrive(ofAnn, ofBob, func(c *Connection) { c.Moving.Bare, c.Moving.Private = true, false })
	assert.Equal(t, &providers.Grant{Issued: noon}, bare.Grant)
	assert.Equal(t, []any{Account{}, Import{}, "", false, Refusal{ReasonTransferred, noon}}, []any{
		bare.Account, bare.Imported, bare.FlowID, bare.Private, bare.Refused,
	})
	assert.Empty(t, bare.Companions)
	assert.Empty(t, bare.Key)
	assert.Empty(t, bare.FormerKey)
	assert.Nil(t, bare.Sites)
	assert.Nil(t, bare.Captured)
	assert.Greater(t, bare.Generation, before.Generation)
	assert.Equal(t, before.Label, bare.Label)
	entry, err := encodeConnection(bare)
	require.NoError(t, err)
	for _, secret := range []string{"access token", "refresh token", "hook secret", "former", "secret config"} {
		assert.NotContains(t, string(entry), secret)
	}
}

func TestOffered(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Connection)
		at     time.Duration
		open   bool
	}{
		"as it was":          {func(*Connection) {}, 0, true},
		"its last moment":    {func(*Connection) {}, OfferLife - 1, true},
		"over":               {func(*Connection) {}, OfferLife, false},
		"deleted":            {func(c *Connection) { c.Delete(noon) }, 0, false},
		"moving":             {func(c *Connection) { c.Move(Moving{To: "x"}) }, 0, false},
		"stopped":            {func(c *Connection) { c.Stops.By.Time = noon.Add(9 * time.Hour) }, 0, false},
		"another account":    {func(c *Connection) { c.Account.ID = "2" }, 0, false},
		"an unknown account": {func(c *Connection) { c.Account.ID = "" }, 0, false},
		"the same account":   {func(c *Connection) { c.FlowID, c.SetBy = "another", "e-2" }, 0, true},
		"a key that says so": {func(c *Connection) {
			c.Kind, c.Grant, c.FlowID = providers.KindAPIKey, nil, ""
		}, 0, false},
		"another key, by which its host names the same account": {func(c *Connection) {
			c.Grant.Key = map[string]providers.Secret{"api_key": providers.NewSecret("another")}
		}, 0, false},
		"taken back":     {(*Connection).Stay, 0, false},
		"to nobody":      {func(c *Connection) { c.Offer.To = "" }, 0, false},
		"a refresh":      {func(c *Connection) { c.Refreshed(c.Grant, noon) }, 0, true},
		"its owner left": {func(c *Connection) { c.Entity = Entity{Left: ReasonOwnerDisabled, Since: noon} }, 0, false},
		"it had left":    {func(c *Connection) { c.Entity = Entity{Left: ReasonOwnerDisabled, Since: noon.Add(-1)} }, 0, true},
	} {
		conn := full()
		conn.Entity = Entity{}
		conn.MakeOffer(ofBob, Setter{Actor: ann, Name: "e-1", Owner: true}, true, noon)
		c.change(conn)
		got, open := conn.Offered(noon.Add(c.at))
		assert.Equal(t, c.open, open, name)
		if open {
			assert.True(t, got.Is(*conn.Offer), name)
			assert.Equal(t, []any{"user/e-2/slack", true, true}, []any{got.To, got.Owner, got.Live})
		}
	}
	unknown := full()
	unknown.Account, unknown.Entity = Account{}, Entity{}
	unknown.MakeOffer(ofBob, Setter{}, false, noon)
	learned := unknown.Clone()
	learned.Account.ID = "1"
	_, open := learned.Offered(noon)
	assert.True(t, open, "whose it is was learned")
	learned.FlowID = "another"
	_, open = learned.Offered(noon)
	assert.False(t, open, "or it is another's")
	_, open = full().Offered(noon)
	assert.False(t, open, "nothing was offered")
}

func TestOffersThatAreOthers(t *testing.T) {
	one := Offer{To: "a", By: ann, Until: noon, Owner: true}
	assert.True(t, one.Is(Offer{To: "a", By: ann, Until: noon, Owner: true, Account: "1"}))
	for _, other := range []Offer{
		{},
		{To: "b", By: ann, Until: noon, Owner: true},
		{To: "a", By: bob, Until: noon, Owner: true},
		{To: "a", By: ann, Until: noon.Add(1), Owner: true},
		{To: "a", By: ann, Until: noon},
	} {
		assert.False(t, one.Is(other), "%+v", other)
	}
}

// A release that does not know the mark sees that the connection is stopped, and takes nothing from the stops.
func TestMovingForAFormerRelease(t *testing.T) {
	for _, stops := range []Stops{{}, {By: bob}, storedStops} {
		c := full()
		c.Stops = stops
		c.Move(Moving{To: "org/acme/slack", Since: noon})
		entry, err := encodeConnection(c)
		require.NoError(t, err)
		var former struct{ Disabled struct{ On bool } }
		require.NoError(t, json.Unmarshal(entry, &former))
		assert.True(t, former.Disabled.On)
		got, err := decodeConnection(entry)
		require.NoError(t, err)
		assert.Equal(t, stops, got.Stops)
		assert.True(t, got.IsMoving())
		got.Stay()
		got.Entity = Entity{}
		assert.Equal(t, stops.On(), got.disabled().On)
		status, reason := c.Facts(true).Status(&c.Pinned, noon)
		assert.Equal(t, []any{StatusDisabled, ReasonMoving, noon}, []any{status, reason, c.Since(status, reason)})
	}
}

// A connection on its way serves nothing, in former releases neither.
func TestMovingConnectionIsDisabledForFormerReleases(t *testing.T) {
	c := full()
	c.Stops, c.Entity = Stops{}, Entity{}
	assert.False(t, c.disabled().On)
	c.Move(Moving{To: ofBob.String(), Since: noon, By: bob})
	assert.True(t, c.disabled().On)
	entry, err := encodeConnection(c)
	require.NoError(t, err)
	var seen struct{ Disabled struct{ On bool } }
	require.NoError(t, json.Unmarshal(entry, &seen))
	assert.True(t, seen.Disabled.On)
}
