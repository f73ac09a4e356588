package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestDay(t *testing.T) {
	midnight := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	day := DayOf(midnight.Add(-time.Nanosecond))
	assert.Equal(t, "2026-03-01", day.String())
	assert.Equal(t, day+1, DayOf(midnight))
	assert.Equal(t, midnight, day.End())
	assert.Equal(t, day, DayOf(midnight.In(time.FixedZone("west", -8*3600)).Add(-time.Hour)), "days are those of UTC")
	assert.Empty(t, Day(0).String())
	for _, odd := range []time.Time{{}, time.Unix(-1, 0), time.Date(2400, 1, 1, 0, 0, 0, 0, time.UTC)} {
		assert.NotZero(t, DayOf(odd), "a day is some day: none means never")
	}
	for _, d := range []Day{0, 1, day, 1<<16 - 1} {
		text, err := d.MarshalText()
		require.NoError(t, err)
		back := Day(7)
		require.NoError(t, back.UnmarshalText(text))
		assert.Equal(t, d, back)
	}
	assert.Error(t, new(Day).UnmarshalText([]byte("yesterday")))
}

// entityReader is an entity that reads under some display name.
func entityReader(id, display string) Reader { return Reader{EntityID: id, DisplayName: display} }

func TestNoteReadings(t *testing.T) {
	app, again, root := entityReader("e-1", "approle-app"), entityReader("e-1", "jwt-app"), Reader{DisplayName: "root"}
	crowd := func(n int, day Day) (all []Reading) {
		for i := range n {
			all = append(all, Reading{entityReader(fmt.Sprintf("e-%02d", i), "x"), day})
		}
		return all
	}
	for name, c := range map[string]struct {
		before  Use
		note    Reading
		after   Use
		changes bool
	}{
		"the first reader":     {Use{}, Reading{app, 5}, Use{5, []Reading{{app, 5}}}, true},
		"the same on that day": {Use{5, []Reading{{app, 5}}}, Reading{app, 5}, Use{5, []Reading{{app, 5}}}, false},
		"the same before":      {Use{5, []Reading{{app, 5}}}, Reading{app, 4}, Use{5, []Reading{{app, 5}}}, false},
		"the same on the next": {Use{5, []Reading{{app, 5}}}, Reading{app, 6}, Use{6, []Reading{{app, 6}}}, true},
		"an entity by another name": {
			Use{5, []Reading{{app, 5}}}, Reading{again, 6}, Use{6, []Reading{{again, 6}}}, true,
		},
		"a token without an entity": {
			Use{5, []Reading{{app, 5}}}, Reading{root, 5}, Use{5, []Reading{{app, 5}, {root, 5}}}, true,
		},
		"a later one comes first": {
			Use{5, []Reading{{app, 5}}}, Reading{root, 6}, Use{6, []Reading{{root, 6}, {app, 5}}}, true,
		},
		"an earlier one comes last": {
			Use{5, []Reading{{app, 5}}}, Reading{root, 4}, Use{5, []Reading{{app, 5}, {root, 4}}}, true,
		},
		"one who reads again goes to the front": {
			Use{6, []Reading{{root, 6}, {app, 5}}}, Reading{app, 7}, Use{7, []Reading{{app, 7}, {root, 6}}}, true,
		},
		"a ninth of the same day": {Use{5, crowd(8, 5)}, Reading{root, 5}, Use{5, crowd(8, 5)}, false},
		"a ninth of a later day": {
			Use{5, crowd(8, 5)}, Reading{root, 6}, Use{6, append([]Reading{{root, 6}}, crowd(7, 5)...)}, true,
		},
		"nobody": {Use{5, nil}, Reading{Day: 6}, Use{6, nil}, true},
	} {
		got := c.before
		before := fmt.Sprint(c.before)
		assert.Equal(t, c.changes, got.Note(c.note), name)
		assert.Equal(t, c.after, got, name)
		assert.Equal(t, before, fmt.Sprint(c.before), "%s: what was noted before is shared", name)
	}
}

// What another node wrote meanwhile stays.
func TestMergeOfShards(t *testing.T) {
	a, b := entityReader("e-a", "a"), entityReader("e-b", "b")
	alive := func(string) bool { return false }
	type of = map[string]Use
	by := func(r Reader, day Day) []Reading { return []Reading{{r, day}} }
	for name, c := range map[string]struct {
		stored, noted, after of
		gone                 string
		changes              bool
	}{
		"nothing":       {nil, nil, of{}, "", false},
		"the first":     {nil, of{"x": {5, by(a, 5)}}, of{"x": {5, by(a, 5)}}, "", true},
		"what is there": {of{"x": {5, by(a, 5)}}, of{"x": {5, by(a, 5)}}, of{"x": {5, by(a, 5)}}, "", false},
		"of an old node": {
			of{"x": {5, by(a, 5)}}, of{"x": {4, by(b, 4)}}, of{"x": {5, append(by(a, 5), by(b, 4)...)}}, "", true,
		},
		"of others":     {of{"x": {5, nil}}, of{"y": {6, nil}}, of{"x": {5, nil}, "y": {6, nil}}, "", true},
		"one gone":      {of{"x": {5, nil}, "y": {5, nil}}, nil, of{"y": {5, nil}}, "x", true},
		"read and gone": {nil, of{"x": {5, nil}}, of{}, "x", false},
		"a day to come": {of{"x": {99, by(a, 99)}}, nil, of{"x": {9, by(a, 9)}}, "", true},
		"of that clock": {of{"x": {99, nil}}, of{"x": {8, nil}}, of{"x": {9, nil}}, "", true},
	} {
		s := &UseShard{Connections: c.stored}
		gone := alive
		if c.gone != "" {
			gone = func(id string) bool { return id == c.gone }
		}
		assert.Equal(t, c.changes, s.Merge(c.noted, gone, 9), name)
		want, err := json.Marshal(c.after)
		require.NoError(t, err)
		got, err := json.Marshal(s.Connections)
		require.NoError(t, err)
		assert.JSONEq(t, string(want), string(got), name)
	}
}

// Readers go before days do, which decide what is unused.
func TestShardThatWouldBeTooLarge(t *testing.T) {
	s := &UseShard{Connections: map[string]Use{}}
	for i := range 500 {
		u := Use{Day: 5}
		for r := range MaxReaders {
			u.Note(Reading{entityReader(fmt.Sprintf("%d-%s", r, strings.Repeat("e", 34)), strings.Repeat("d", 64)), 5})
		}
		s.Connections[fmt.Sprintf("%026d", i)] = u
	}
	storage := &logical.InmemStorage{}
	require.NoError(t, New(storage).PutUse(t.Context(), 15, s))
	assert.LessOrEqual(t, len(inStorage(t, storage, "use/00f")), MaxEntry)
	got, err := New(storage).Use(t.Context(), 15)
	require.NoError(t, err)
	require.Len(t, got.Connections, 500)
	for _, u := range got.Connections {
		assert.Equal(t, Day(5), u.Day)
		assert.Len(t, u.Readers, 2)
	}
	assert.Len(t, s.Connections["00000000000000000000000000"].Readers, MaxReaders, "what was given is as it was")
}

func TestShardsOfUse(t *testing.T) {
	storage := &testenv.Storage{}
	s := New(storage)
	for _, shard := range []int{0, 15, 4095} {
		require.NoError(t, s.PutUse(t.Context(), shard, &UseShard{Connections: map[string]Use{"x": {5, nil}}}))
	}
	require.NoError(t, s.PutUseBegan(t.Context(), &UseBegan{Time: noon}))
	shards, err := s.Uses(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int{0, 15, 4095}, shards)
	require.NoError(t, s.PutUse(t.Context(), 15, &UseShard{Connections: map[string]Use{}}))
	shards, err = s.Uses(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []int{0, 4095}, shards, "one with nothing in it is gone")
	for _, name := range []string{"", "0", "0000", "00g", "-01", "FFFF", "began"} {
		_, ok := ParseUseShard(name)
		assert.False(t, ok, name)
	}
	seen := map[int]bool{}
	for i := range 100_000 {
		seen[UsedOf(fmt.Sprint(i)).Shard()] = true
	}
	assert.Len(t, seen, UseShards, "all of them are used")
}

// A connection of a former release is told from others by its key until it has an id.
func TestUseID(t *testing.T) {
	assert.Equal(t, "id-1", (&Connection{ID: "id-1"}).UseID(slack))
	k := slack
	k.Name = "other"
	assert.NotEqual(t, (&Connection{}).UseID(slack), (&Connection{}).UseID(k))
}

func TestTrackUse(t *testing.T) {
	c := DefaultConfig()
	c.SetTracksUse(true, noon)
	assert.Equal(t, DefaultConfig(), c, "it is the default")
	c.SetTracksUse(false, noon)
	c.SetTracksUse(false, noon.Add(time.Hour))
	assert.True(t, c.UseOff)
	c.SetTracksUse(true, noon.Add(2*time.Hour))
	c.SetTracksUse(true, noon.Add(3*time.Hour))
	assert.False(t, c.UseOff)
	assert.Equal(t, noon.Add(2*time.Hour), c.UseSince)
}
