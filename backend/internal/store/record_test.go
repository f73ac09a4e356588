package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func noteOf(n uint64, change ...Change) Record {
	return Record{ID: "c", N: n, By: Actor{EntityID: "e-1", Time: noon}, Verb: "write", Changes: change}
}

func TestHistoryKeepsTheNewest(t *testing.T) {
	for name, c := range map[string]struct {
		changes []Change
		kept    int
	}{
		"so many small ones": {nil, 20},
		"so much of large ones": {[]Change{
			{"a", strings.Repeat("a", 300), strings.Repeat("b", 300)}, {"b", "", strings.Repeat("c", 400)},
		}, 10},
	} {
		h := &History{}
		for n := range uint64(30) {
			assert.True(t, h.Append(noteOf(n, c.changes...)), name)
		}
		require.Len(t, h.Records, c.kept, name)
		assert.EqualValues(t, 29, h.Records[c.kept-1].N, name)
		assert.False(t, h.Append(noteOf(29)), name)
		assert.Len(t, h.Records, c.kept, name)
	}
}

func TestLastOfAHistory(t *testing.T) {
	at := func(hour int) Record { return Record{By: Actor{Time: noon.Add(time.Duration(hour) * time.Hour)}} }
	h := History{Records: []Record{at(1), at(3), at(2)}} // clocks of nodes differ
	assert.Equal(t, noon.Add(3*time.Hour), h.Last())
}

// However much changes, a record keeps its size: first the values of the last fields go, then these themselves.
func TestRecordFits(t *testing.T) {
	long := strings.Repeat("x", maxChange)
	for name, c := range map[string]struct {
		changes int
		first   Change // of what is left
		names   bool   // whether each field is still named
	}{
		"some":      {8, Change{"field-000", long, long}, true},
		"very many": {100, Change{"field-000", "", "..."}, false},
	} {
		r := noteOf(1)
		for i := range c.changes {
			r.Changes = append(r.Changes, Change{fmt.Sprintf("field-%03d", i), long, long})
		}
		r.fit()
		assert.LessOrEqual(t, r.size(), maxRecord, name)
		assert.Equal(t, c.first, r.Changes[0], name)
		last := r.Changes[len(r.Changes)-1]
		if c.names {
			assert.Len(t, r.Changes, c.changes, name)
			assert.Equal(t, Change{"field-007", "", "..."}, last, name)
		} else {
			assert.Equal(t, Change{Field: "..."}, last, name)
		}
	}
}

// What is stored does not hang on the order of a map: a record of nothing but that would be one of nothing.
func TestStopsOfARecordAreInOrder(t *testing.T) {
	both := Stop{Disabled: ann, Archived: ann}
	c := &Connection{Stops: Stops{Owner: both, Others: both}}
	for range 100 {
		assert.Equal(t, "archived by others, archived by owner, disabled by others, disabled by owner", public(c)["stops"])
	}
}

// A history that cannot be decoded is begun anew, and keeps nobody from changing or moving the connection.
func TestDamagedHistory(t *testing.T) {
	damage := func(t *testing.T, s Store, k Key) {
		t.Helper()
		require.NoError(t, s.storage.Put(t.Context(), &logical.StorageEntry{
			Key: "history/" + k.HistoryID(), Value: []byte("{"),
		}))
	}
	s := New(&testenv.Storage{})
	damage(t, s, ofAnn)
	require.NoError(t, s.TakeHistory(t.Context(), ofAnn, ofBob, noteOf(1).ID))
	h, err := s.History(t.Context(), ofBob)
	require.NoError(t, err)
	assert.Nil(t, h)

	require.NoError(t, s.AppendHistory(t.Context(), ofAnn, noteOf(1)))
	h, err = s.History(t.Context(), ofAnn)
	require.NoError(t, err)
	assert.Equal(t, []Record{noteOf(1)}, h.Records)

	damage(t, s, ofBob)
	require.NoError(t, s.TakeHistory(t.Context(), ofAnn, ofBob, noteOf(1).ID))
	h, err = s.History(t.Context(), ofBob)
	require.NoError(t, err)
	assert.Equal(t, []Record{noteOf(1)}, h.Records)
}

// What a move was cut off in taking along, it takes when it goes on; what is there is not taken twice.
func TestTakeHistoryAgain(t *testing.T) {
	s := New(&testenv.Storage{})
	for n := range uint64(3) {
		require.NoError(t, s.AppendHistory(t.Context(), ofAnn, noteOf(n)))
	}
	require.NoError(t, s.AppendHistory(t.Context(), ofBob, noteOf(2)))
	for range 2 {
		require.NoError(t, s.TakeHistory(t.Context(), ofAnn, ofBob, noteOf(1).ID))
		h, err := s.History(t.Context(), ofBob)
		require.NoError(t, err)
		assert.Equal(t, []Record{noteOf(2), noteOf(0), noteOf(1)}, h.Records)
	}
}
