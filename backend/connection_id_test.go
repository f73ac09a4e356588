package backend

import (
	"bytes"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A connection is known by its id as long as it lives, and what has its name later has another.
func TestConnectionID(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		id := func() string { return f.Read("connections/slack", nil).OK(t)["connection_id"].(string) }
		f.connect(t, "slack")
		first := id()
		assert.Regexp(t, "^[A-Z2-7]{26}$", first)
		f.Write("connections/slack", map[string]any{"label": "Sales"}).OK(t)
		assert.Equal(t, first, id(), "after a write")
		f.Advance(time.Hour)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, first, id(), "after a refresh")
		f.connect(t, "slack")
		assert.Equal(t, first, id(), "after a reconnect")
		f.connect(t, "other")
		assert.NotEqual(t, first, f.Read("connections/other", nil).OK(t)["connection_id"])
		f.Delete("connections/slack", nil).OK(t)
		f.connect(t, "slack")
		assert.NotEqual(t, first, id(), "another connection of that name")
	})
}

// A former release named none: the connection gets its id with the next write, and keeps it.
func TestConnectionIDOfAFormerRelease(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "slack")
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/slack")
		require.NoError(t, err)
		former := regexp.MustCompile(`"id":"[A-Z2-7]{26}",`).ReplaceAll(entry.Value, nil)
		require.False(t, bytes.Equal(former, entry.Value))
		entry.Value = former
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		f.System.SetReplication(0)
		assert.Empty(t, f.Read("connections/slack", nil).OK(t)["connection_id"])
		named := f.Write("connections/slack", map[string]any{"label": "x"}).OK(t)["connection_id"]
		assert.NotEmpty(t, named)
		f.Write("refresh/slack", nil).OK(t)
		assert.Equal(t, named, f.Read("connections/slack", nil).OK(t)["connection_id"])
	})
}

// Who made a connection and who changed it last are told by entity, since display names may be had again. A renewal is
// nobody's change, and what changes nothing is none.
func TestWhoChangedAConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		told := func() [5]any {
			view := f.Read("connections/slack", nil).OK(t)
			return [5]any{
				view["created_by"], view["created_by_id"], view["updated_by"], view["updated_by_id"], view["updated_time"],
			}
		}
		f.connect(t, "slack")
		at := told()[4]
		assert.Equal(t, [5]any{"root", "", "root", "", at}, told(), "root has no entity")
		f.Advance(time.Hour)
		f.Write("refresh/slack", nil, bob).OK(t)
		f.Write("check/slack", nil, bob).OK(t)
		assert.Equal(t, at, told()[4])
		f.Write("connections/slack", map[string]any{"label": "x"}, bob).OK(t)
		later := told()
		assert.Equal(t, [5]any{"root", "", "userpass-e-bob", "e-bob", later[4]}, later)
		assert.NotEqual(t, at, later[4])
		f.Advance(time.Hour)
		f.Write("connections/slack", map[string]any{"label": "x"}, alice).OK(t)
		assert.Equal(t, later, told(), "nothing was changed")
	})
}
