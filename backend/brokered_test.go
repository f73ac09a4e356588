package backend

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// broker holds accounts for others, as Pipedream does.
type broker struct {
	*httptest.Server
	now func() time.Time

	mu     sync.Mutex
	asked  []string
	tokens int
	holds  bool // something that it gives out
}

func newBroker(t *testing.T, now func() time.Time) *broker {
	t.Helper()
	b := &broker{now: now, holds: true}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		b.asked = append(b.asked, r.Method+" "+r.URL.Path)
		w.Header().Set("Content-Type", "application/json")
		b.tokens++
		switch {
		case r.URL.Path == "/token" && strings.Contains(string(body), `"client_secret":"broker-secret"`):
			_, _ = fmt.Fprintf(w, `{"access_token":"project-%d","token_type":"Bearer","expires_in":3600}`, b.tokens)
		case r.URL.Path == "/accounts/apn_one" && strings.HasPrefix(r.Header.Get("Authorization"), "Bearer project-"):
			credentials := ""
			if b.holds {
				credentials = fmt.Sprintf(`"oauth_access_token":"account-%d"`, b.tokens)
			}
			_, _ = fmt.Fprintf(w, `{"id":"apn_one","name":"ada","app":{"name_slug":"slack"},"expires_at":%q,"credentials":{%s}}`,
				b.now().Add(30*time.Minute).UTC().Format(time.RFC3339), credentials)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"error":"record not found"}`))
		}
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *broker) requests() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.asked...)
}

// hold says whether the broker gives anything out.
func (b *broker) hold(yes bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holds = yes
}

func withPipedream(t *testing.T) Options {
	t.Helper()
	catalog, err := providers.NewRegistry(os.DirFS("../providers/catalog"))
	require.NoError(t, err)
	return Options{Catalog: catalog}
}

// An account that another service holds is the operator's to give: its token is fetched, kept while it lives, and
// fetched anew; the app's own goes to nobody.
func TestBrokeredAccount(t *testing.T) {
	eachWith(t, withPipedream(t), func(t *testing.T, f *fixture) {
		b := newBroker(t, f.Now)
		f.Write("providers/pipedream_account", map[string]any{
			"client_id": "broker", "client_secret": "broker-secret", "kinds": "brokered",
			"inputs":       map[string]any{"project_id": "proj_one"},
			"endpoints":    map[string]any{"token": b.URL + "/token", "upgrade": b.URL + "/accounts/apn_one"},
			"bound_inputs": map[string]any{"org/acme": map[string]any{"account_id": "apn_one"}},
		}).OK(t)
		of := func(account string) map[string]any {
			return map[string]any{
				"provider": "pipedream_account", "kind": "brokered", "inputs": map[string]any{"account_id": account},
			}
		}
		f.Write("connections/org/acme/slack", of("apn_two")).Refused(t, http.StatusForbidden, "bound_inputs")
		f.Write("connections/self/slack", of("apn_one"), alice).Refused(t, http.StatusForbidden, "organization")
		assert.Empty(t, b.requests())

		b.hold(false)
		r := f.Write("connections/org/acme/slack", of("apn_one"))
		r.Refused(t, http.StatusBadRequest, "OAuth client of your own there", "nothing was stored")
		assert.Equal(t, http.StatusNotFound, f.Read("connections/org/acme/slack", nil).Status)

		b.hold(true)
		made := f.Write("connections/org/acme/slack", of("apn_one")).OK(t)
		assert.Equal(t, "apn_one", members(t, made["account"])["id"])
		assert.Equal(t, "slack", members(t, made["connection_config"])["app"])
		asked := len(b.requests())
		first := f.token(t, "org/acme/slack").(string)
		assert.Regexp(t, `^account-`, first)
		assert.Equal(t, first, f.token(t, "org/acme/slack"))
		assert.Len(t, b.requests(), asked, "it is kept while it lives")
		f.Advance(40 * time.Minute)
		second := f.token(t, "org/acme/slack").(string)
		assert.Regexp(t, `^account-`, second)
		assert.NotEqual(t, first, second)

		// the account is gone there
		b.hold(false)
		f.Advance(40 * time.Minute)
		r = f.Read("creds/org/acme/slack", nil)
		assert.GreaterOrEqual(t, r.Status, 400)
		for _, text := range []string{r.Text, f.Logs.String()} {
			assert.NotContains(t, text, "project-")
			assert.NotContains(t, text, "account-")
		}
	})
}

// Two hundred who read a dead token of such an account have it fetched once.
func TestReadersOfABrokeredAccount(t *testing.T) {
	f := newFixture(t, withPipedream(t), testenv.InProcess)
	b := newBroker(t, f.Now)
	f.Write("providers/pipedream_account", map[string]any{
		"client_id": "broker", "client_secret": "broker-secret", "kinds": "brokered",
		"inputs":    map[string]any{"project_id": "proj_one", "account_id": "apn_one"},
		"endpoints": map[string]any{"token": b.URL + "/token", "upgrade": b.URL + "/accounts/apn_one"},
	}).OK(t)
	f.Write("connections/org/acme/slack", map[string]any{"provider": "pipedream_account", "kind": "brokered"}).OK(t)
	before := len(b.requests())
	f.Advance(time.Hour)
	var readers sync.WaitGroup
	for range 200 {
		readers.Go(func() { f.Read("creds/org/acme/slack", nil).OK(t) })
	}
	readers.Wait()
	assert.Len(t, b.requests(), before+2, "one call for the app's token, and one for the account's")
}
