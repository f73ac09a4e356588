package backend

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestConnectAndRead(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		alice := testenv.Entity("e-alice")
		made := f.connect(t, "slack", alice)
		require.Equal(t, "active", made["status"])
		t.Log(made)
		creds := f.Read("creds/slack", nil).OK(t)
		t.Log(creds)
		require.True(t, f.provider.Alive(creds["access_token"].(string)))
		f.Advance(59 * time.Minute)
		_ = f.Read("creds/slack", nil).OK(t)
		f.Advance(2 * time.Minute)
		creds = f.Read("creds/slack", nil).OK(t)
		require.True(t, f.provider.Alive(creds["access_token"].(string)))
		t.Log(f.Read("status", nil).OK(t))
		t.Log(f.List("connections/").OK(t))
		t.Log(f.Read("connections/slack", nil).OK(t))
		t.Log(f.Delete("connections/slack", nil).OK(t))
		require.False(t, f.provider.Alive(creds["access_token"].(string)))
	})
}
