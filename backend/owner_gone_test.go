package backend

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

// Whoever finds a private connection whose entity is gone is told so. The status says what the daily look at owners
// found, whatever Vault knows at the moment.
func TestPrivateConnectionOfAnEntityThatIsGone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.connect(t, "self/slack", alice)
		f.connect(t, "user/u1/slack")
		f.connect(t, "slack")
		const path = "connections/user/e-alice/slack"
		warned := func(r testenv.Result) bool {
			t.Helper()
			r.OK(t)
			if len(r.Warnings) == 0 {
				return false
			}
			require.Len(t, r.Warnings, 1)
			assert.Contains(t, r.Warnings[0], "Vault knows no entity e-alice")
			assert.Contains(t, r.Warnings[0], "delete the connection")
			return true
		}
		assert.False(t, warned(f.Read(path, nil)), "the entity is there")
		f.System.RemoveEntity("e-alice")
		gone := f.Read(path, nil)
		assert.True(t, warned(gone))
		assert.Equal(t, []any{"active", ""}, []any{gone.Data["status"], gone.Data["status_reason"]})
		assert.True(t, warned(f.Read(path, nil, bob)))
		switchedOff := f.Write(path, map[string]any{"disabled": true}, bob)
		assert.True(t, warned(switchedOff))
		assert.Equal(t, "disabled_by_person", switchedOff.Data["status_reason"])
		f.Write("connections/self/slack", map[string]any{"disabled": false}, alice).OK(t)
		f.System.FailEntities(errors.New("the system view of this test is down"))
		assert.False(t, warned(f.Read(path, nil)), "nobody knows")
		f.System.FailEntities(nil)

		asked := f.System.EntityLookups()
		assert.False(t, warned(f.Read("connections/self/slack", nil, alice)), "whoever reads their own is there")
		assert.False(t, warned(f.Read(path, nil, alice)))
		assert.False(t, warned(f.Read("connections/user/u1/slack", nil)), "it is not private")
		assert.False(t, warned(f.Read("connections/slack", nil)))
		assert.Equal(t, asked, f.System.EntityLookups(), "nobody was asked")

		f.Write("connections/self/slack", map[string]any{"private": false}, alice).OK(t)
		assert.False(t, warned(f.Read(path, nil)), "others can read it")
		f.Write("connections/self/slack", map[string]any{"private": true}, alice).OK(t)
		assert.True(t, warned(f.Read(path, nil)))
		f.Delete(path, nil, bob).OK(t)

		f.Write("connections/user/u1/slack", map[string]any{"private": true}).OK(t)
		never := f.Read("connections/user/u1/slack", nil)
		never.OK(t)
		require.Len(t, never.Warnings, 1)
		assert.Contains(t, never.Warnings[0], "or never was one")
		assert.Equal(t, "active", never.Data["status"])
	})
}
