package store

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var annsOwn = Owner{User: "e-1"}

// Who was a live entity is told by what the owner did, and what nothing takes away needs no note.
func TestWasLive(t *testing.T) {
	for name, c := range map[string]struct {
		set         func(*Connection)
		owner       Owner
		live, noted bool
	}{
		"nothing tells":       {func(*Connection) {}, annsOwn, false, false},
		"it was noted":        {func(c *Connection) { c.Entity.Known = true }, annsOwn, true, true},
		"it made it":          {func(c *Connection) { c.Created = ann }, annsOwn, true, true},
		"somebody else did":   {func(c *Connection) { c.Created, c.SetBy = bob, "e-2" }, annsOwn, false, false},
		"it adopted it":       {func(c *Connection) { c.AdoptedBy = "e-1" }, annsOwn, true, false},
		"it opened it":        {func(c *Connection) { c.OpenedBy = "e-1" }, annsOwn, true, false},
		"it set it":           {func(c *Connection) { c.SetBy = "e-1" }, annsOwn, true, false},
		"as a member":         {func(c *Connection) { c.Created = ann }, Owner{Org: "acme", User: "e-1"}, true, true},
		"an organization":     {func(c *Connection) { c.Entity.Known = true }, Owner{Org: "acme"}, false, false},
		"of root's, by no id": {func(*Connection) {}, Owner{Org: "acme"}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			c.set(conn)
			assert.Equal(t, []bool{c.live, c.noted}, []bool{conn.WasLive(c.owner), conn.NotedLive(c.owner)})
		})
	}
	t.Run("that the owner adopts it is noted, though somebody else writes it later", func(t *testing.T) {
		conn := connected()
		conn.CloseFor("e-1")
		conn.AdoptKey(nil, "pin", noon)
		assert.True(t, conn.WasLive(annsOwn))
	})
}

// Each fact is its own: what the look did neither wipes what a person decided, nor is wiped by it.
func TestOwnerLeft(t *testing.T) {
	day, grace := 24*time.Hour, 72*time.Hour
	type word struct {
		status Status
		reason Reason
		since  time.Time
	}
	gone := func(c *Connection) bool { return c.OwnerLeft(annsOwn, ReasonOwnerMissing, noon) }
	off := func(c *Connection) bool { return c.OwnerLeft(annsOwn, ReasonOwnerDisabled, noon.Add(day)) }
	shelve := func(c *Connection) bool { return c.ArchiveLeft(grace, noon.Add(4*day)) }
	early := func(c *Connection) bool { return c.ArchiveLeft(grace, noon.Add(grace-1)) }
	never := func(c *Connection) bool { return c.ArchiveLeft(0, noon.Add(400*day)) }
	back := func(c *Connection) bool { return c.OwnerLives(annsOwn) }
	says := func(d Decision, by Actor) func(*Connection) bool {
		return func(c *Connection) bool { c.Set(Settings{Decision: d}, Setter{Actor: by}); return true }
	}
	switchOff, putAway := says(Decision{Disabled: new(true)}, bob), says(Decision{Archived: new(true)}, bob)
	switchOn := says(Decision{Disabled: new(false)}, bob)
	for name, c := range map[string]struct {
		made   Actor
		steps  []func(*Connection) bool
		wrote  []bool
		want   word
		stored Entity
	}{
		"live": {ann, []func(*Connection) bool{back}, []bool{false}, word{StatusActive, "", noon}, Entity{}},
		"live, and noted once": {
			bob,
			[]func(*Connection) bool{back, back},
			[]bool{true, false},
			word{StatusActive, "", noon},
			Entity{Known: true},
		},
		"missing": {
			ann,
			[]func(*Connection) bool{gone, gone},
			[]bool{true, false},
			word{StatusDisabled, ReasonOwnerMissing, noon},
			Entity{Left: ReasonOwnerMissing, Since: noon},
		},
		"missing, and never known": {
			bob,
			[]func(*Connection) bool{gone, shelve},
			[]bool{false, false},
			word{StatusActive, "", noon},
			Entity{},
		},
		"disabled, which says that it exists": {
			bob,
			[]func(*Connection) bool{off},
			[]bool{true},
			word{StatusDisabled, ReasonOwnerDisabled, noon.Add(day)},
			Entity{Known: true, Left: ReasonOwnerDisabled, Since: noon.Add(day)},
		},
		"disabled, and then deleted": {
			ann,
			[]func(*Connection) bool{off, gone},
			[]bool{true, true},
			word{StatusDisabled, ReasonOwnerMissing, noon.Add(day)},
			Entity{Left: ReasonOwnerMissing, Since: noon.Add(day)},
		},
		"archived in time": {
			ann,
			[]func(*Connection) bool{gone, never, early, shelve, shelve},
			[]bool{true, false, false, true, false},
			word{StatusArchived, ReasonOwnerMissing, noon.Add(4 * day)},
			Entity{Left: ReasonOwnerMissing, Since: noon, Archived: noon.Add(4 * day)},
		},
		"back": {
			ann,
			[]func(*Connection) bool{gone, shelve, back, back},
			[]bool{true, true, true, false},
			word{StatusActive, "", noon},
			Entity{},
		},
		"a person's stop goes before": {
			ann,
			[]func(*Connection) bool{gone, switchOff},
			[]bool{true, true},
			word{StatusDisabled, ReasonDisabledByPerson, bob.Time},
			Entity{Left: ReasonOwnerMissing, Since: noon},
		},
		"and stays": {
			ann,
			[]func(*Connection) bool{switchOff, gone, shelve, back},
			[]bool{true, true, true, true},
			word{StatusDisabled, ReasonDisabledByPerson, bob.Time},
			Entity{},
		},
		"archived goes before switched off": {
			ann,
			[]func(*Connection) bool{switchOff, gone, shelve},
			[]bool{true, true, true},
			word{StatusArchived, ReasonOwnerMissing, noon.Add(4 * day)},
			Entity{Left: ReasonOwnerMissing, Since: noon, Archived: noon.Add(4 * day)},
		},
		"a person's archive stays": {
			ann,
			[]func(*Connection) bool{gone, shelve, putAway, back},
			[]bool{true, true, true, true},
			word{StatusArchived, ReasonDisabledByPerson, bob.Time},
			Entity{},
		},
		"no person lifts it": {
			ann,
			[]func(*Connection) bool{gone, switchOff, switchOn},
			[]bool{true, true, true},
			word{StatusDisabled, ReasonOwnerMissing, noon},
			Entity{Left: ReasonOwnerMissing, Since: noon},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			conn.Created = c.made
			for i, step := range c.steps {
				assert.Equal(t, c.wrote[i], step(conn), "step %d", i)
			}
			assert.Equal(t, c.stored, conn.Entity)
			status, reason := conn.Facts(true).Status(&conn.Pinned, noon)
			if c.want.reason == "" && status == StatusActive {
				c.want.since = conn.Since(status, reason)
			}
			assert.Equal(t, c.want, word{status, reason, conn.Since(status, reason)})
		})
	}
}

// A release that knows nothing of owners who leave serves nothing of theirs, and what it makes of that is undone.
func TestOwnerLeftInAFormerRelease(t *testing.T) {
	left := Entity{Left: ReasonOwnerDisabled, Since: noon}
	looked := Actor{DisplayName: "owner_disabled", Time: noon}
	type says struct {
		Disabled disabledRecord
		Stops    Stops
	}
	for name, c := range map[string]struct {
		before Stops
		sees   disabledRecord
		writes says
		want   Stops
	}{
		"it leaves it": {
			Stops{By: bob}, disabledRecord{true, looked}, says{disabledRecord{true, looked}, Stops{By: bob}}, Stops{By: bob},
		},
		"it takes it for a person's": {
			Stops{By: bob},
			disabledRecord{true, looked},
			says{disabledRecord{true, looked}, Stops{Either: looked, By: looked}},
			Stops{},
		},
		"a person lifts it there": {
			Stops{}, disabledRecord{true, looked}, says{disabledRecord{false, ann}, Stops{}}, Stops{By: ann},
		},
		"and there is another stop beside it": {
			Stops{},
			disabledRecord{true, looked},
			says{disabledRecord{true, ann}, Stops{Owner: Stop{Archived: ann}, Either: looked, By: ann}},
			Stops{Owner: Stop{Archived: ann}, By: ann},
		},
		"what a person decided is told as that person's": {
			Stops{Others: Stop{Disabled: bob}, By: bob},
			disabledRecord{true, bob},
			says{disabledRecord{true, bob}, Stops{Others: Stop{Disabled: bob}, By: bob}},
			Stops{Others: Stop{Disabled: bob}, By: bob},
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn := connected()
			conn.Stops, conn.Entity = c.before, left
			entry, err := encodeConnection(conn)
			require.NoError(t, err)
			var record connectionRecord
			require.NoError(t, json.Unmarshal(entry, &record))
			assert.Equal(t, c.sees, record.Disabled)
			var fields map[string]any
			require.NoError(t, json.Unmarshal(entry, &fields))
			fields["disabled"], fields["stops"] = c.writes.Disabled, c.writes.Stops
			entry, err = json.Marshal(fields)
			require.NoError(t, err)
			got, err := decodeConnection(entry)
			require.NoError(t, err)
			assert.Equal(t, c.want, got.Stops)
			assert.Equal(t, left, got.Entity, "the owner is as gone as before")
			assert.True(t, got.OwnerLives(annsOwn))
			status, _ := got.Facts(true).Status(&got.Pinned, noon)
			assert.Equal(t, c.want.On(), status.Stopped(), "what a person decided stays, and no more than that")
		})
	}
}

// Times that are alike may be of zones that are not one: nobody changed the word then.
func TestStopsInAnyZone(t *testing.T) {
	zone := time.FixedZone("", 5*3600+1800)
	by := Actor{EntityID: "e-1", Time: noon.In(zone)}
	conn := connected()
	conn.Stops = Stops{Owner: Stop{Disabled: by}, By: by}
	entry, err := encodeConnection(conn)
	require.NoError(t, err)
	got, err := decodeConnection(entry)
	require.NoError(t, err)
	require.Len(t, got.Stops.Sides(), 1)
	assert.Equal(t, SideOwner, got.Stops.Sides()[0].Side)
}
