package acceptance

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// receiver takes notices, once it is up.
type receiver struct {
	*httptest.Server
	mu    sync.Mutex
	up    bool
	taken []taken
}

type taken struct {
	header http.Header
	body   []byte
	notice map[string]any
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{up: true}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var told struct{ Data map[string]any }
		r.mu.Lock()
		defer r.mu.Unlock()
		if err != nil || !r.up || json.Unmarshal(body, &told) != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		r.taken = append(r.taken, taken{header: req.Header, body: body, notice: told.Data})
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) goes(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = up
}

// told gives the notices of a connection that arrived, by their kinds and in their order.
func (r *receiver) told(connection string) (kinds []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range r.taken {
		if n.notice["connection"] == connection {
			kinds = append(kinds, n.notice["kind"].(string))
		}
	}
	return kinds
}

// What happened is told, signed, to who receives it, and who uses a connection is known, also after Vault was sealed or
// killed in between.
func TestNoticesAndUse(t *testing.T) {
	t.Parallel()
	v, err := stack.StartVaultRaft(t.Context(), suite.tools, stack.VaultOptions{})
	require.NoError(t, err)
	t.Cleanup(v.Stop)
	e := mountOn(t, v.Vault)
	r := newReceiver(t)
	secret, _ := e.write(t, "webhooks/siem", map[string]any{"url": r.URL + "/hook"})["secret"].(string)
	s := e.newService(t, "service")
	first := s.adopt(t, "account")
	arrives := func(connection string, kinds ...string) {
		t.Helper()
		require.Eventually(t, func() bool { return assert.ObjectsAreEqual(kinds, r.told(connection)) }, patience,
			50*time.Millisecond, "%v arrive in this order", kinds)
	}
	arrives("org/default/account", "connect")

	library, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r.mu.Lock()
	for _, one := range r.taken {
		assert.NoError(t, library.Verify(one.body, one.header))
		assert.NotContains(t, string(one.body), first)
	}
	r.mu.Unlock()

	alice := e.logIn(t, "alice", `path "connectors/creds/account" { capabilities = ["read"] }`)
	require.Equal(t, first, alice.token(t, "account"))
	used := func() {
		t.Helper()
		is := e.read(t, "connections/account")
		assert.Equal(t, time.Now().UTC().Format(time.DateOnly), is["last_used"])
		readers, _ := is["readers"].([]any)
		var ids []string
		for _, one := range readers {
			ids = append(ids, one.(map[string]any)["entity_id"].(string))
		}
		assert.Contains(t, ids, alice.entity)
	}
	used()

	// While the receiver is down Vault is sealed, and then killed: nothing is lost, and nothing comes out of order.
	r.goes(false)
	e.write(t, "connections/account", map[string]any{"disabled": true})
	require.NoError(t, v.Client.Sys().SealWithContext(t.Context()))
	require.NoError(t, v.Unseal(t.Context()))
	used() // a clean stop writes it down
	e.write(t, "connections/account", map[string]any{"disabled": false})
	noted := func() (kinds []string) {
		all, _ := e.read(t, "notices")["notices"].([]any)
		for _, one := range all {
			if n := one.(map[string]any); n["connection"] == "org/default/account" {
				kinds = append(kinds, n["kind"].(string))
			}
		}
		return kinds
	}
	require.Eventually(t, func() bool { return len(noted()) == 3 }, patience, 50*time.Millisecond, "the log has it")
	v.Kill()
	require.NoError(t, v.Restart(t.Context()))
	used()
	kinds := noted()
	assert.Equal(t, "connect", kinds[0])
	r.goes(true)
	e.write(t, "webhooks/siem", map[string]any{"disabled": false}) // lifts the wait after failures
	arrives("org/default/account", kinds...)

	e.remove(t, "connections/account")
	arrives("org/default/account", append(kinds, "deleted")...)
	r.mu.Lock()
	defer r.mu.Unlock()
	ids := map[any]bool{}
	for _, one := range r.taken {
		assert.False(t, ids[one.notice["id"]], "%v came once", one.notice)
		ids[one.notice["id"]] = true
	}
}
