package store

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

func chunkName(first, term uint64, writer string, try uint64) NoticeChunkName {
	return NoticeChunkName{First: first, Term: term, Writer: writer, Try: try}
}

// Each writer's chunks take the place of what was written late by those before it, whichever is listed first.
func TestNoticesAreInOrder(t *testing.T) {
	for name, c := range map[string]struct {
		chunks    []NoticeChunkName
		log, void []NoticeChunkName
	}{
		"one writer": {
			chunks: []NoticeChunkName{chunkName(1, 1, "a", 0), chunkName(300, 1, "a", 0)},
			log:    []NoticeChunkName{{1, 1, "a", 0, 300}, chunkName(300, 1, "a", 0)},
		},
		"a write that failed landed late": {
			chunks: []NoticeChunkName{chunkName(1, 1, "a", 0), chunkName(10, 1, "a", 1), chunkName(10, 1, "a", 2)},
			log:    []NoticeChunkName{{1, 1, "a", 0, 10}, chunkName(10, 1, "a", 2)},
			void:   []NoticeChunkName{chunkName(10, 1, "a", 1)},
		},
		"a deposed node went on": {
			chunks: []NoticeChunkName{
				chunkName(1, 1, "b", 0), chunkName(10, 1, "b", 0), chunkName(10, 2, "a", 0), chunkName(15, 1, "b", 7),
				chunkName(20, 2, "a", 0), chunkName(20, 1, "b", 9),
			},
			log:  []NoticeChunkName{{1, 1, "b", 0, 10}, {10, 2, "a", 0, 20}, chunkName(20, 2, "a", 0)},
			void: []NoticeChunkName{chunkName(10, 1, "b", 0), chunkName(15, 1, "b", 7), chunkName(20, 1, "b", 9)},
		},
	} {
		var names []string
		for _, n := range c.chunks {
			names = append(names, n.String())
		}
		names = append(names, "another release's")
		for range 2 {
			log, void := OrderNotices(names)
			assert.Equal(t, c.log, log, name)
			assert.ElementsMatch(t, c.void, void, name)
			slices.Reverse(names)
		}
	}
	own := NoticeChunkName{First: 3, End: 5}.Own(&NoticeChunk{Notices: []Notice{{Seq: 2}, {Seq: 3}, {Seq: 4}, {Seq: 5}}})
	assert.Equal(t, []Notice{{Seq: 3}, {Seq: 4}}, own)
}

func TestNoticeChunksAreKept(t *testing.T) {
	s, ctx := New(&testenv.Storage{}), t.Context()
	n := chunkName(7, 3, "w", 2)
	chunk := &NoticeChunk{Start: 9, Written: noon, Covered: noon, Notices: []Notice{{Seq: 7, ID: "i", Time: noon}}}
	require.NoError(t, s.PutNoticeChunk(ctx, n, chunk))
	log, void, err := s.NoticeChunks(ctx)
	require.NoError(t, err)
	assert.Equal(t, []NoticeChunkName{n}, log)
	assert.Empty(t, void)
	read, err := s.NoticeChunk(ctx, n)
	require.NoError(t, err)
	assert.Equal(t, chunk, read)
	require.NoError(t, s.DeleteNoticeChunk(ctx, n))
	read, err = s.NoticeChunk(ctx, n)
	require.NoError(t, err)
	assert.Nil(t, read)
}

func TestTransitions(t *testing.T) {
	base := Connection{ID: "c", Provider: "acme", Credential: Credential{
		Generation: 1, Kind: "authorization_code", Grant: &providers.Grant{Expires: noon, HardLimit: noon.Add(time.Hour)},
	}}
	yes, no := true, false
	by := Setter{Actor: ann}
	revoked := func(c *Connection) { c.End(Ended{Outcome: EndRevoked, Time: noon}, by) }
	for name, c := range map[string]struct {
		first  func(*Connection) // nil: the connection is new
		change func(*Connection)
		renews bool
		tells  []Transition
	}{
		"made":     {nil, func(*Connection) {}, false, []Transition{{NoticeConnect, "authorization_code"}}},
		"labelled": {func(*Connection) {}, func(c *Connection) { c.Label = "x" }, false, nil},
		"renewed":  {func(*Connection) {}, func(c *Connection) { c.credentialChanged(noon) }, true, nil},
		"replaced": {
			func(c *Connection) { c.Refused = Refusal{ReasonGrantRefused, noon} },
			func(c *Connection) { c.credentialChanged(noon) },
			false,
			[]Transition{{NoticeReconnect, "authorization_code"}},
		},
		"refused": {
			func(*Connection) {}, func(c *Connection) { c.Refused = Refusal{ReasonIdleLimit, noon} }, true,
			[]Transition{{NoticeNeedsReconnect, "idle_limit"}},
		},
		"refused otherwise": {
			func(c *Connection) { c.Refused = Refusal{ReasonGrantRefused, noon} },
			func(c *Connection) { c.Refused = Refusal{ReasonIdleLimit, noon} }, true, nil,
		},
		"taken again": {
			func(c *Connection) { c.Refused = Refusal{ReasonGrantRefused, noon} },
			func(c *Connection) { c.credentialChanged(noon) },
			true,
			[]Transition{{NoticeRecovered, "grant_refused"}},
		},
		"past its limit": {
			func(*Connection) {}, func(c *Connection) { require.True(t, c.PassLimit(true, noon.Add(time.Hour))) }, false,
			[]Transition{{NoticeNeedsReconnect, "hard_limit"}},
		},
		"run out": {
			func(*Connection) {}, func(c *Connection) { require.True(t, c.PassLimit(false, noon)) }, false,
			[]Transition{{NoticeNeedsReconnect, "expired"}},
		},
		"checked in vain": {
			func(*Connection) {}, func(c *Connection) { c.CheckFailed(noon) }, false,
			[]Transition{{NoticeCheckFailed, "token_refused"}},
		},
		"checked": {
			func(c *Connection) { c.CheckFailed(noon) }, func(c *Connection) { c.CheckPassed(providers.Account{}) }, false,
			[]Transition{{NoticeRecovered, "token_refused"}},
		},
		"disabled": {
			func(*Connection) {}, func(c *Connection) { c.Stops.decide(Decision{Disabled: &yes}, by) }, false,
			[]Transition{{NoticeDisabled, "disabled"}},
		},
		"and archived": {
			func(c *Connection) { c.Stops.decide(Decision{Disabled: &yes}, by) },
			func(c *Connection) { c.Stops.decide(Decision{Archived: &yes}, by) }, false,
			[]Transition{{NoticeDisabled, "archived"}},
		},
		"lifted by one side": {
			func(c *Connection) {
				c.Stops.decide(Decision{Disabled: &yes}, by)
				c.Stops.decide(Decision{Disabled: &yes}, Setter{Actor: ann, Owner: true})
			},
			func(c *Connection) { c.Stops.decide(Decision{Disabled: &no}, by) }, false, nil,
		},
		"enabled": {
			func(c *Connection) { c.Stops.decide(Decision{Disabled: &yes}, by) },
			func(c *Connection) { c.Stops.decide(Decision{Disabled: &no}, by) }, false,
			[]Transition{{NoticeRecovered, "disabled_by_person"}},
		},
		"shared": {
			func(c *Connection) { c.Private = true }, func(c *Connection) { c.Shares = []Share{{Everyone: true}} }, false,
			[]Transition{{NoticeShared, "private=true"}},
		},
		"opened": {
			func(c *Connection) { c.Private = true }, func(c *Connection) { c.Private = false }, false,
			[]Transition{{NoticeShared, "private=false"}},
		},
		"deleted": {func(*Connection) {}, func(c *Connection) { c.Delete(noon) }, false, []Transition{{NoticeDeleted, ""}}},
		"revoked": {func(*Connection) {}, revoked, false, []Transition{{NoticeRevoked, "revoked"}}},
		"revoked and deleted": {
			func(c *Connection) { c.BeginEnd(Ending{Job: "j", Then: ThenDelete}) }, revoked, false,
			[]Transition{{NoticeDeleted, ""}, {NoticeRevoked, "revoked"}},
		},
		"its owner missed": {
			func(*Connection) {}, func(c *Connection) { c.Entity.Left = ReasonOwnerMissing }, false,
			[]Transition{{NoticeOwnerMissing, ""}},
		},
		"its owner disabled": {
			func(*Connection) {}, func(c *Connection) { c.Entity.Left = ReasonOwnerDisabled }, false,
			[]Transition{{NoticeOwnerDisabled, ""}},
		},
		"its owner back": {
			func(c *Connection) { c.Entity.Left = ReasonOwnerMissing }, func(c *Connection) { c.Entity.Left = "" }, false,
			[]Transition{{NoticeRecovered, "owner_missing"}},
		},
		"moved bare": {
			func(*Connection) {}, func(c *Connection) { c.Move(Moving{To: "org/x/y", Bare: true}) }, false,
			[]Transition{{NoticeTransferred, ""}, {NoticeNeedsReconnect, "transferred"}},
		},
	} {
		after := base.Clone()
		var before *Connection
		if c.first != nil {
			c.first(after)
			before = after.Clone()
		}
		c.change(after)
		after.Note(before, "write", ann, c.renews)
		if c.tells == nil {
			if after.Record != nil {
				assert.Empty(t, after.Record.Tells, name)
			}
			continue
		}
		require.NotNil(t, after.Record, name)
		assert.Equal(t, c.tells, after.Record.Tells, name)
		assert.Equal(t, "acme", after.Record.Provider, name)
	}
}

// A limit is told once, of what a person can do something about.
func TestLimitIsDueOnce(t *testing.T) {
	c := &Connection{Credential: Credential{Grant: &providers.Grant{Expires: noon, HardLimit: noon.Add(time.Hour)}}}
	assert.Equal(t, noon.Add(time.Hour), c.LimitDue(true))
	assert.Equal(t, noon, c.LimitDue(false))
	assert.False(t, c.PassLimit(true, noon))
	for name, stop := range map[string]func(*Connection){
		"refused": func(c *Connection) { c.Refused.Reason = ReasonGrantRefused },
		"deleted": func(c *Connection) { c.Delete(noon) },
		"ending":  func(c *Connection) { c.Ending.Job = "j" }, "moving": func(c *Connection) { c.Moving.To = "org/x/y" },
		"stopped": func(c *Connection) { c.Stops.Either = ann },
		"left":    func(c *Connection) { c.Entity.Left = ReasonOwnerMissing },
		"a key":   func(c *Connection) { c.Grant = nil },
	} {
		other := c.Clone()
		stop(other)
		assert.Zero(t, other.LimitDue(false), name)
	}
	assert.True(t, c.PassLimit(true, noon.Add(time.Hour)))
	assert.Zero(t, c.LimitDue(true))
	assert.False(t, c.PassLimit(true, noon.Add(2*time.Hour)))
	c.Grant = &providers.Grant{HardLimit: noon.Add(3 * time.Hour)}
	assert.Equal(t, noon.Add(3*time.Hour), c.LimitDue(true), "another grant's")
}

// Of a private connection a notice has the engine's own words and no others.
func TestNoticesOfPrivateConnections(t *testing.T) {
	owner := Key{Owner{User: "e-1"}, "slack"}
	r := Record{
		ID: "c", N: 3, By: Actor{EntityID: "e-1", DisplayName: "oidc-ann@example.com", Time: noon}, Verb: "write",
		Private: true, Provider: "slack", Tells: []Transition{{NoticeDisabled, "disabled"}}, Changes: []Change{
			{"account", "", "ann@example.com"}, {"label", "old", "new"}, {"stops", "", "disabled by owner"},
		},
	}
	want := Notice{
		ID: "c-3-disabled", Time: noon, Kind: NoticeDisabled, Provider: "slack", Connection: "user/e-1/slack",
		ConnectionID: "c", ByID: "e-1", Verb: "write", Reason: "disabled", Private: true,
		Changes: []Change{{Field: "account"}, {Field: "label"}, {"stops", "", "disabled by owner"}},
	}
	assert.Equal(t, []Notice{want}, NoticesOf(owner, &r))
	opened := r
	opened.Private, opened.Changes = false, append(slices.Clone(r.Changes), Change{"private", "true", ""})
	got := NoticesOf(owner, &opened)
	assert.Equal(t, Change{Field: "label"}, got[0].Changes[1], "it was private before")
	public := r
	public.Private = false
	got = NoticesOf(owner, &public)
	assert.Equal(t, r.Changes, got[0].Changes)
	assert.Equal(t, "oidc-ann@example.com", got[0].By)
	assert.Equal(t, "new", r.Changes[1].After, "the record itself is shared")
	assert.Empty(t, NoticesOf(owner, nil))
}

// A move is told where it leads, once.
func TestNoticesOfAMove(t *testing.T) {
	r := Record{
		ID: "c", N: 1, Provider: "slack", Tells: []Transition{{NoticeTransferred, ""}},
		Changes: []Change{{"moving", "", "org/b/slack"}},
	}
	assert.Empty(t, NoticesOf(Key{Owner{Org: "a"}, "slack"}, &r))
	assert.Len(t, NoticesOf(Key{Owner{Org: "b"}, "slack"}, &r), 1)
}
