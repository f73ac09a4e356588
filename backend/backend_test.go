package backend

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// The callers of these tests. Requests without one come from root.
var (
	alice = testenv.Entity("e-alice")
	bob   = testenv.Entity("e-bob")
)

// appRedirect is the redirect URI of an application, on acme's list.
const appRedirect = "https://app.example.com/oauth/callback"

// openaiKey has the shape of a key of that service.
const openaiKey = "sk-proj-abcdefghijklmnopqrstuvwx-WXYZ"

// fixture is a mount beside a provider, on one clock.
type fixture struct {
	*testenv.Env
	*clock
	provider *providertest.Server
	mount    func(testing.TB, *testenv.Storage) *testenv.Env
}

// mounter is a way to run the engine: in process, or over gRPC.
type mounter func(testing.TB, logical.Factory, *testenv.Storage) *testenv.Env

// each runs a test in process and over gRPC, with the provider "acme" configured.
func each(t *testing.T, test func(*testing.T, *fixture), options ...providertest.Option) {
	t.Helper()
	eachWith(t, Options{}, test, options...)
}

// eachWith is each for mounts with other options; their clock is the fixture's.
func eachWith(t *testing.T, o Options, test func(*testing.T, *fixture), options ...providertest.Option) {
	t.Helper()
	for name, mount := range map[string]mounter{
		"in process": testenv.InProcess, "over gRPC": testenv.OverGRPC,
	} {
		t.Run(name, func(t *testing.T) { test(t, newFixture(t, o, mount, options...)) })
	}
}

func newFixture(t testing.TB, o Options, mount mounter, options ...providertest.Option) *fixture {
	t.Helper()
	c := newClock()
	o.Now, o.Resolver = c.Now, noNames
	f := &fixture{clock: c, mount: func(tb testing.TB, s *testenv.Storage) *testenv.Env {
		e := mount(tb, New(o), s)
		tb.Cleanup(func() {
			assert.NotContains(tb, e.Logs.String(), "error=<nil>", "a line of the log tells of no error")
		})
		return e
	}}
	f.Env = f.mount(t, &testenv.Storage{})
	if b, ok := f.Backend.(*backend); ok { // what a start looks for is not to be found among what the test leaves
		require.Eventually(t, func() bool {
			return b.recovered.Load() && (b.trials.Load() == 0 || b.standsStill()) && b.uses.isKept()
		},
			time.Minute, time.Millisecond)
	}
	require.Eventually(t, func() bool {
		beat, err := store.New(f.Storage).Heartbeat(t.Context())
		return err == nil && beat != nil
	}, time.Minute, time.Millisecond)
	f.provider = providertest.New(t, append([]providertest.Option{providertest.WithClock(c.Now)}, options...)...)
	f.Write("config", map[string]any{"public_url": "https://vault.example.com", "egress_allow": "127.0.0.1"}).OK(t)
	f.Write("providers/acme", f.acme()).OK(t)
	return f
}

// noNames finds no host: what a test does not serve itself is not there.
var noNames = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
	return nil, errors.New("there are no names in tests")
}}

// restart mounts the engine anew on what storage holds, as after a crash: the former process is told nothing, and
// spends no grant from now on.
func (f *fixture) restart(t *testing.T) {
	t.Helper()
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	f.Env = f.mount(t, f.Storage)
}

// endsItsWork lets this process spend nothing more, and waits until what it began has ended: a test that restarts then sees
// what its request did, and not what the background was about.
func (f *fixture) endsItsWork(t *testing.T) {
	t.Helper()
	f.System.SetReplication(consts.ReplicationPerformanceStandby)
	require.Eventually(t, func() bool { return number(f.Read("status", nil).OK(t)["in_flight"]) == 0 }, time.Minute,
		time.Millisecond)
}

// acme is the generic definition, pointed at the provider of this test.
func (f *fixture) acme() map[string]any {
	u := f.provider.URL
	return map[string]any{
		"definition": "oauth2", "client_id": providertest.ClientID, "client_secret": providertest.ClientSecret,
		"endpoints": map[string]any{
			"authorize": u + "/authorize", "token": u + "/token", "revoke": u + "/revoke", "identity": u + "/userinfo",
		},
		"scopes":        "read,write",
		"redirect_uris": appRedirect + ",http://127.0.0.1:8080/cb",
		"return_urls":   "https://app.example.com/connected",
	}
}

// issuer configures the provider "idp" as an OpenID Connect issuer that sends iss in every answer (RFC 9207).
func (f *fixture) issuer(t *testing.T) {
	t.Helper()
	f.Write("providers/idp", map[string]any{
		"definition": "oidc", "issuer": f.provider.URL, "client_id": providertest.ClientID,
		"client_secret": providertest.ClientSecret,
		"redirect_uris": appRedirect,
	}).OK(t)
}

// allowApp lets organizations have a credential of the app's own.
func (f *fixture) allowApp(t *testing.T) {
	t.Helper()
	f.Write("providers/acme", map[string]any{"kinds": "authorization_code,client_credentials"}).OK(t)
}

// start starts a flow and gives its answer.
func (f *fixture) start(t *testing.T, path string, data map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	return f.Write("auth-code-url/"+path, with(map[string]any{"provider": "acme"}, data), as...).OK(t)
}

// own starts a flow that ends at the application's redirect URI, lets the person consent,
// and gives what arrived there.
func (f *fixture) own(t *testing.T, path string, data map[string]any, as ...testenv.Caller) map[string]any {
	t.Helper()
	flow := f.start(t, path, with(map[string]any{"redirect_uri": appRedirect}, data), as...)
	back := f.provider.Consent(t, flow["url"].(string))
	return map[string]any{"state": back["state"], "code": back["code"]}
}

// connect connects an account through the application's own redirect URI.
func (f *fixture) connect(t *testing.T, path string, as ...testenv.Caller) map[string]any {
	t.Helper()
	return f.Write("exchange", f.own(t, path, nil, as...), as...).OK(t)
}

// key stores a key of OpenAI's, under a provider of that name.
func (f *fixture) key(t *testing.T, path string, as ...testenv.Caller) map[string]any {
	t.Helper()
	f.Write("providers/openai", nil).OK(t)
	return f.Write("connections/"+path, map[string]any{"provider": "openai", "api_key": openaiKey}, as...).OK(t)
}

// callback sends a browser to Vault's callback and gives the page.
func (f *fixture) callback(t *testing.T, provider string, query map[string]string) string {
	t.Helper()
	data := map[string]any{}
	for name, v := range query {
		data[name] = v
	}
	return page(t, f.Read("callback/"+provider, data, testenv.Nobody))
}

// page is the HTML of a callback's answer.
func page(t *testing.T, r testenv.Result) string {
	t.Helper()
	data := r.OK(t)
	require.EqualValues(t, http.StatusOK, number(data[logical.HTTPStatusCode]))
	require.Equal(t, "text/html; charset=utf-8", data[logical.HTTPContentType])
	return rawBody(t, data)
}

// periodic is Vault's heartbeat.
func (f *fixture) periodic(t *testing.T) {
	t.Helper()
	_, err := f.Backend.HandleRequest(context.Background(), &logical.Request{
		Operation: logical.RollbackOperation, Storage: f.Storage,
	})
	require.NoError(t, err)
}

// saved lets time pass until nothing is held in memory only.
func (f *fixture) saved(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		f.Advance(time.Second)
		f.periodic(t)
		return number(f.Read("status", nil).OK(t)["unsaved"]) == 0
	}, time.Minute, 5*time.Millisecond, "what storage refused is saved later")
}

func query(t *testing.T, raw, name string) string {
	t.Helper()
	u, err := url.Parse(raw)
	require.NoError(t, err)
	return u.Query().Get(name)
}

// with lays more over base, in a new map. A nil value takes a field away.
func with(base, more map[string]any) map[string]any {
	out := map[string]any{}
	for _, m := range []map[string]any{base, more} {
		for name, v := range m {
			if out[name] = v; v == nil {
				delete(out, name)
			}
		}
	}
	return out
}

// number reads a number that may have become JSON on its way.
func number(v any) float64 {
	switch n := v.(type) {
	case int:
		return float64(n)
	case float64:
		return n
	case json.Number:
		f, _ := n.Float64()
		return f
	}
	return math.NaN()
}

// texts reads a list of texts that may have become JSON on its way.
func texts(t *testing.T, v any) []string {
	t.Helper()
	switch list := v.(type) {
	case []string:
		return list
	case []any:
		out := make([]string, len(list))
		for i := range list {
			out[i] = list[i].(string)
		}
		return out
	}
	require.Failf(t, "no list of texts", "%T", v)
	return nil
}

// members reads a map that may have become JSON on its way.
func members(t *testing.T, v any) map[string]any {
	t.Helper()
	encoded, err := json.Marshal(v)
	require.NoError(t, err)
	var out map[string]any
	require.NoError(t, json.Unmarshal(encoded, &out))
	return out
}

// rawBody is the body of an answer that is no data: bytes, which gRPC turns into base64 as Vault's core expects them.
func rawBody(t *testing.T, data map[string]any) string {
	t.Helper()
	switch body := data[logical.HTTPRawBody].(type) {
	case []byte:
		return string(body)
	case string:
		decoded, err := base64.StdEncoding.DecodeString(body)
		require.NoError(t, err)
		return string(decoded)
	}
	require.Fail(t, "no body")
	return ""
}

// refuseConnections makes storage refuse every write of a connection, and no other.
func refuseConnections(s *testenv.Storage) {
	s.Judge(func(a testenv.Access) error {
		if a.Write() && strings.HasPrefix(a.Key, "connection/") {
			return testenv.ErrStorage
		}
		return nil
	})
}

// sha256Of is the base64url of a SHA-256, as session_binding wants it.
func sha256Of(value string) string {
	sum := sha256.Sum256([]byte(value))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// flowOfState is the public name of the flow with this state.
func flowOfState(state string) string { return store.FlowID(state) }

// undecodable is an entry of storage that nobody can read.
func (f *fixture) undecodable(t *testing.T, key string) {
	t.Helper()
	entry := &logical.StorageEntry{Key: key, Value: []byte(`{"version":1,"key":`)}
	require.NoError(t, f.Storage.Put(t.Context(), entry))
}

// stored lists what storage has below a prefix.
func (f *fixture) stored(t *testing.T, prefix string) []string {
	t.Helper()
	names, err := f.Storage.List(t.Context(), prefix)
	require.NoError(t, err)
	return names
}

// bubbled runs a test in process on a clock of its own, with the provider "openai" configured. Nothing in it may go
// over a network: that clock stands still meanwhile.
func bubbled(t *testing.T, name string, test func(*testing.T, *testenv.Env)) {
	t.Helper()
	_, _ = net.DefaultResolver.LookupHost(t.Context(), "localhost") // what the resolver keeps is of no bubble then
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			t.Cleanup(func() { time.Sleep(2 * time.Hour) }) // whatever hangs ends some time
			e := testenv.InProcess(t, New(Options{}), &testenv.Storage{})
			synctest.Wait() // what a start does is done
			e.Write("providers/openai", nil).OK(t)
			test(t, e)
		})
	})
}

// aKey is the key of a connection of the default organization.
func aKey(name string) store.Key {
	return store.Key{Owner: store.Owner{Org: "default"}, Name: name}
}
