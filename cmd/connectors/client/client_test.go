package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mount stands in for Vault where a test needs what a real one does not show on demand. What the real one answers is
// the acceptance tests' business.
type mount struct {
	*Client
	mu      sync.Mutex
	answers map[string]any // by method and path; a func(url.Values) any makes one for a query
	status  map[string]int
	asked   []string
	brought []string // what came with each: the query, or the body
}

func newMount(t *testing.T) *mount {
	t.Helper()
	m := &mount{answers: map[string]any{}, status: map[string]int{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		defer m.mu.Unlock()
		key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
		m.asked = append(m.asked, key)
		body, _ := io.ReadAll(r.Body)
		m.brought = append(m.brought, r.URL.RawQuery+strings.TrimSpace(string(body)))
		if status := m.status[key]; status != 0 {
			w.WriteHeader(status)
		}
		if answer, ok := m.answers[key]; ok {
			if by, is := answer.(func(url.Values) any); is {
				answer = by(r.URL.Query())
			}
			_ = json.NewEncoder(w).Encode(answer)
		} else if m.status[key] == 0 {
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(server.Close)
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = server.URL, 0
	vault, err := api.NewClient(config)
	require.NoError(t, err)
	vault.SetToken("a token")
	m.Client = New(vault, "/connectors/")
	return m
}

func (m *mount) says(key string, data any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers[key] = map[string]any{"data": data}
}

func (m *mount) refuses(key string, status int, errors ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status[key], m.answers[key] = status, map[string]any{"errors": errors}
}

func (m *mount) count(key string) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, asked := range m.asked {
		if asked == key {
			n++
		}
	}
	return n
}

func TestPathsThatNameNoConnection(t *testing.T) {
	m := newMount(t)
	for _, path := range []string{
		"", "a//b", "../sys/mounts", "self/../../x", "self/.", "self/a\nb", `self\x`, "/self/x", "self/x/",
	} {
		_, err := m.Connection(t.Context(), path)
		assert.ErrorContains(t, err, "does not name a connection", path)
		_, err = m.Credential(t.Context(), path, CredentialOptions{})
		assert.Error(t, err, path)
		_, err = m.Disconnect(t.Context(), path)
		assert.Error(t, err, path)
	}
	assert.Empty(t, m.asked, "nothing was asked")
}

// What is not named is not sent, and what is named empty is.
func TestUpdates(t *testing.T) {
	m := newMount(t)
	_, err := m.Update(t.Context(), "self/x", ConnectionUpdate{})
	assert.Equal(t, 404, StatusOf(err))
	assert.Equal(t, []string{"GET connectors/connections/self/x"}, m.asked, "nothing is made by an update")
	m.says("GET connectors/connections/self/x", map[string]any{"name": "x", "status": "pending"})
	_, err = m.Update(t.Context(), "self/x", ConnectionUpdate{})
	assert.Equal(t, 404, StatusOf(err))
	assert.ErrorContains(t, err, "an open flow")
	m.says("GET connectors/connections/self/x", map[string]any{"name": "x", "kind": "api_key"})
	m.says("PUT connectors/connections/self/x", map[string]any{"name": "x", "label": "L"})
	label, no := "", false
	for want, update := range map[string]ConnectionUpdate{
		`{"label":""}`:                  {Label: &label},
		`{"disabled":false,"tags":{}}`:  {Tags: map[string]string{}, Disabled: &no},
		`{"required_scopes":["a","b"]}`: {RequiredScopes: []string{"a", "b"}},
		`{"inputs":{"site":"s-1"}}`:     {Inputs: map[string]string{"site": "s-1"}},
	} {
		connection, err := m.Update(t.Context(), "self/x", update)
		require.NoError(t, err)
		assert.Equal(t, "L", connection.Label)
		assert.Equal(t, want, m.brought[len(m.brought)-1])
	}
}

func TestUnshareNamesWhom(t *testing.T) {
	m := newMount(t)
	m.says("DELETE connectors/shares/self/x", nil)
	for want, request := range map[string]UnshareRequest{
		"":                        {},
		"entities=a&entities=b":   {Entities: []string{"a", "b"}},
		"everyone=true&groups=on": {Groups: []string{"on"}, Everyone: true},
	} {
		require.NoError(t, m.Unshare(t.Context(), "self/x", request))
		assert.Equal(t, want, m.brought[len(m.brought)-1])
	}
	for _, err := range []error{
		m.Unshare(t.Context(), "self/../x", UnshareRequest{}), m.Withdraw(t.Context(), "x/"), m.EndLink(t.Context(), "", ""),
	} {
		assert.ErrorContains(t, err, "does not name a connection")
	}
	_, err := m.Accept(t.Context(), "self/x", AcceptRequest{From: "user/../x"})
	assert.ErrorContains(t, err, "does not name a connection")
	_, err = m.Offer(t.Context(), "self/x", "")
	assert.ErrorContains(t, err, "does not name a connection")
}

func TestErrors(t *testing.T) {
	m := newMount(t)
	m.refuses("GET connectors/creds/self/x", 400, "1 error occurred:\n\t* no connection user/e/x\n\n")
	_, err := m.Credential(t.Context(), "self/x", CredentialOptions{})
	assert.EqualError(t, err, "connectors/creds/self/x: no connection user/e/x")
	assert.Equal(t, 400, StatusOf(err))
	assert.True(t, m.Missing(t.Context(), "self/x", err), "connections/self/x is a 404")
	m.says("GET connectors/connections/self/x", map[string]any{"name": "x"})
	assert.False(t, m.Missing(t.Context(), "self/x", err), "it is there: the 400 meant something else")

	_, err = m.Connection(t.Context(), "self/absent")
	assert.Equal(t, 404, StatusOf(err))
	assert.EqualError(t, err, "connectors/connections/self/absent: nothing is there")
	list, err := m.Connections(t.Context(), "self")
	require.NoError(t, err, "an empty list is no error")
	assert.Empty(t, list.Keys)
	assert.Equal(t, map[string]any{"keys": []any{}, "key_info": map[string]any{}}, list.Data)

	m.says("GET connectors/creds/self/odd", map[string]any{"access_token": "a-secret", "ttl": "a-secret"})
	_, err = m.Credential(t.Context(), "self/odd", CredentialOptions{})
	assert.ErrorContains(t, err, "cannot read")
	assert.NotContains(t, err.Error(), "a-secret")
}

// The mount describes up to a thousand names at once, and each is to be told how it stands.
func TestConnectionsPageByPage(t *testing.T) {
	for _, all := range []int{0, 1, listPage - 1, listPage, listPage + 1, 2*listPage + 300} {
		m := newMount(t)
		m.answers["GET connectors/connections/org/acme"] = func(query url.Values) any {
			limit, _ := strconv.Atoi(query.Get("limit"))
			keys, info := []string{}, map[string]any{}
			for i := range all {
				name := fmt.Sprintf("c-%05d", i)
				if name > query.Get("after") && len(keys) < limit {
					keys, info[name] = append(keys, name), map[string]any{"status": "active"}
				}
			}
			return map[string]any{"data": map[string]any{"keys": keys, "key_info": info}, "warnings": []string{"w"}}
		}
		list, err := m.Connections(t.Context(), "org/acme")
		require.NoError(t, err)
		assert.Len(t, list.Keys, all)
		assert.Len(t, list.Data["keys"], all)
		assert.Len(t, list.Data["key_info"], all)
		for _, key := range list.Keys {
			require.Equal(t, "active", list.KeyInfo[key].Status)
		}
		assert.Equal(t, all/listPage+1, len(m.asked))
		assert.Len(t, list.Warnings, len(m.asked))
	}
}

func TestFindMount(t *testing.T) {
	m := newMount(t)
	mounts := map[string]any{"kv/": map[string]any{"type": "kv"}}
	m.says("GET sys/internal/ui/mounts", map[string]any{"secret": mounts})
	_, err := FindMount(t.Context(), m.vault)
	assert.ErrorContains(t, err, "sees no mount")
	mounts["team/connectors/"] = map[string]any{"type": PluginName}
	found, err := FindMount(t.Context(), m.vault)
	require.NoError(t, err)
	assert.Equal(t, "team/connectors", found)
	mounts["other/"] = map[string]any{"type": PluginName}
	_, err = FindMount(t.Context(), m.vault)
	assert.ErrorContains(t, err, "several mounts")
	assert.ErrorContains(t, err, "other, team/connectors")
}

func TestCredentialDoesNotPrintItself(t *testing.T) {
	m := newMount(t)
	m.says("GET connectors/creds/self/x", map[string]any{
		"access_token": "a-secret", "provider": "slack", "ttl": 300,
		"send": map[string]any{"headers": map[string]any{"A": "a-secret"}},
	})
	credential, err := m.Credential(t.Context(), "self/x", CredentialOptions{})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%q"} {
		assert.NotContains(t, fmt.Sprintf(verb, credential), "a-secret", verb)
		assert.NotContains(t, fmt.Sprintf(verb, *credential), "a-secret", verb)
	}
	assert.Equal(t, []string{"access_token"}, credential.Fields())
}

// A token ends when the engine hands out a newer one, and is read once until then.
func TestTokenSource(t *testing.T) {
	m := newMount(t)
	const creds = "GET connectors/creds/org/acme/slack"
	token := func(value string, ttl int) {
		m.says(creds, map[string]any{"access_token": value, "token_type": "Bearer", "ttl": ttl})
	}
	token("first", 300)
	source := m.TokenSource(t.Context(), "org/acme/slack")
	before := time.Now()
	got, err := source.Token()
	require.NoError(t, err)
	assert.Equal(t, "first", got.AccessToken)
	assert.WithinRange(t, got.Expiry, before.Add(300*time.Second), time.Now().Add(300*time.Second))
	token("second", 0)
	got, err = source.Token()
	require.NoError(t, err)
	assert.Equal(t, "first", got.AccessToken)
	assert.Equal(t, 1, m.count(creds))

	source = m.TokenSource(t.Context(), "org/acme/slack")
	_, err = source.Token()
	require.NoError(t, err)
	token("third", 300)
	got, err = source.Token()
	require.NoError(t, err)
	assert.Equal(t, "third", got.AccessToken, "its ttl had passed")

	m.says(creds, map[string]any{"api_key": "k", "ttl": 300})
	_, err = m.TokenSource(t.Context(), "org/acme/slack").Token()
	assert.ErrorContains(t, err, "is a key")
	m.refuses(creds, 409, "needs to be connected again")
	_, err = m.TokenSource(t.Context(), "org/acme/slack").Token()
	assert.Equal(t, 409, StatusOf(err))
}

// served is a service that tells what it was asked.
func served(t *testing.T, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

func body(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return string(text)
}

func get(ctx context.Context, transport http.RoundTripper, address string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return (&http.Client{Transport: transport}).Do(request)
}

func TestTransportPlacesTheCredential(t *testing.T) {
	m := newMount(t)
	service := served(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s", r.Header.Get("Authorization"), r.URL.EscapedPath(), r.URL.RawQuery)
	})
	const creds = "GET connectors/creds/self/x"
	for name, c := range map[string]struct {
		send map[string]any
		path string
		want string
	}{
		"header": {
			map[string]any{"headers": map[string]any{"Authorization": "Bearer t"}}, "/api/me?a=1", "Bearer t /api/me a=1",
		},
		"query":         {map[string]any{"query": map[string]any{"key": "k&"}}, "/api/me?a=1", " /api/me a=1&key=k%26"},
		"path":          {map[string]any{"path": "/bot12:ab"}, "/api/getMe", " /api/bot12:ab/getMe "},
		"path, escaped": {map[string]any{"path": "a%2Fb"}, "/api/x%2Fy", " /api/a%2Fb/x%2Fy "},
	} {
		m.says(creds, map[string]any{"api_key": "k", "api_base": service.URL + "/api", "ttl": 300, "send": c.send})
		transport := m.Transport("self/x")
		base, err := transport.BaseURL(t.Context())
		require.NoError(t, err)
		assert.Equal(t, service.URL+"/api", base.String())
		response, err := get(t.Context(), transport, service.URL+c.path)
		require.NoError(t, err, name)
		assert.Equal(t, c.want, body(t, response), name)
		assert.Empty(t, response.Request.Header.Get("Authorization"), "%s: the caller's request stays as it was", name)
		assert.NotContains(t, response.Request.URL.String(), "k%26", name)
	}
	assert.Equal(t, 4, m.count(creds), "one read for each transport")
}

// The credential goes to the service's own hosts alone, whoever leads elsewhere.
func TestTransportSendsNowhereElse(t *testing.T) {
	m := newMount(t)
	var reached bool
	elsewhere := served(t, func(http.ResponseWriter, *http.Request) { reached = true })
	service := served(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/away" {
			http.Redirect(w, r, elsewhere.URL+"/", http.StatusFound)
			return
		}
		if r.URL.Path == "/on" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		fmt.Fprint(w, r.URL.Path)
	})
	answer := map[string]any{
		"access_token": "t", "api_base": service.URL, "instance_url": "https://one.example.com", "ttl": 300,
		"send": map[string]any{"headers": map[string]any{"Authorization": "Bearer t"}},
	}
	m.says("GET connectors/creds/self/x", answer)
	transport := m.Transport("self/x")
	for _, address := range []string{
		elsewhere.URL + "/", service.URL + "/away", "http://one.example.com/", "http://one.example.com:443/",
		"https://one.example.com.evil.example/", "https://one.example.com@evil.example/", "https://two.example.com/",
		"https://one.example.com:444/",
	} {
		_, err := get(t.Context(), transport, address)
		assert.ErrorIs(t, err, ErrNotSent, address)
	}
	assert.False(t, reached)
	response, err := get(t.Context(), transport, service.URL+"/on")
	require.NoError(t, err)
	assert.Equal(t, "/there", body(t, response), "a redirect to the service itself is followed")

	delete(answer, "api_base")
	delete(answer, "instance_url")
	m.says("GET connectors/creds/self/x", answer)
	_, err = get(t.Context(), m.Transport("self/x"), service.URL)
	assert.ErrorIs(t, err, ErrNotSent, "nobody says where it may go")
}

// After a 401 the service is asked once, and nothing is sent again by itself.
func TestTransportChecksAfterA401(t *testing.T) {
	m := newMount(t)
	const creds, check = "GET connectors/creds/self/x", "PUT connectors/check/self/x"
	sent := 0
	service := served(t, func(w http.ResponseWriter, r *http.Request) {
		sent++
		if r.Header.Get("Authorization") != "Bearer new" {
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	token := func(value, rotated string) {
		m.says(creds, map[string]any{
			"access_token": value, "api_base": service.URL, "ttl": 300, "last_vault_rotation": rotated,
			"send": map[string]any{"headers": map[string]any{"Authorization": "Bearer " + value}},
		})
	}
	token("old", "2026-01-01T00:00:00Z")
	m.says(check, map[string]any{"token_valid": "true"})
	transport := m.Transport("self/x")
	for range 3 {
		response, err := get(t.Context(), transport, service.URL)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, response.StatusCode)
		body(t, response)
	}
	assert.Equal(t, []int{3, 1, 3}, []int{sent, m.count(check), m.count(creds)},
		"one check of one credential, and fresh reads")
	token("new", "2026-01-01T01:00:00Z")
	for range 2 {
		response, err := get(t.Context(), transport, service.URL)
		require.NoError(t, err)
		assert.Equal(t, http.StatusOK, response.StatusCode)
		body(t, response)
	}
	assert.Equal(t, []int{5, 1, 4}, []int{sent, m.count(check), m.count(creds)})
}

// sends is a transport that answers by itself.
type sends func(*http.Request) (*http.Response, error)

func (s sends) RoundTrip(r *http.Request) (*http.Response, error) { return s(r) }

// Two spellings of a host are one, an address with a name and password in it is none of a service, and what goes wrong
// on the way is told without the address.
func TestTransportJudgesAddresses(t *testing.T) {
	m := newMount(t)
	answer := map[string]any{
		"api_key": "planted", "api_base": "https://One.example.com./v1", "instance_url": "https://me:x@two.example.com/",
		"send": map[string]any{"query": map[string]any{"key": "planted"}}, "ttl": 0,
	}
	const creds = "GET connectors/creds/self/x"
	m.says(creds, answer)
	transport := m.Transport("self/x")
	transport.Base = sends(func(r *http.Request) (*http.Response, error) {
		return nil, &url.Error{Op: "Get", URL: r.URL.String(), Err: io.ErrUnexpectedEOF}
	})
	for _, address := range []string{"https://one.example.com/", "https://ONE.example.com.:443/x"} {
		_, err := get(t.Context(), transport, address)
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF, address)
		assert.NotContains(t, err.Error(), "planted")
	}
	assert.Equal(t, 2, m.count(creds), "its ttl had passed")

	body := &closed{Reader: strings.NewReader("x")}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://two.example.com/", body)
	require.NoError(t, err)
	_, err = transport.RoundTrip(request)
	assert.ErrorIs(t, err, ErrNotSent)
	assert.True(t, body.is, "as a transport has to")
}

type closed struct {
	io.Reader
	is bool
}

func (c *closed) Close() error {
	c.is = true
	return nil
}

func TestMinTTLIsRoundedUp(t *testing.T) {
	m := newMount(t)
	m.says("GET connectors/creds/self/x", map[string]any{"access_token": "t", "ttl": 300})
	for span, want := range map[time.Duration]string{
		0: "", time.Nanosecond: "min_ttl=1", time.Second: "min_ttl=1", 1500 * time.Millisecond: "min_ttl=2",
	} {
		_, err := m.Credential(t.Context(), "self/x", CredentialOptions{MinTTL: span})
		require.NoError(t, err)
		assert.Equal(t, want, m.brought[len(m.brought)-1])
	}
}

// A page is what an address answers itself, to somebody without a token.
func TestPage(t *testing.T) {
	var token []string
	site := served(t, func(w http.ResponseWriter, r *http.Request) {
		token = append(token, r.Header.Get("X-Vault-Token"))
		if r.URL.Path != "/elsewhere" {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}
	})
	server := &Server{vault: newMount(t).vault}
	page, err := server.Page(t.Context(), site.URL+"/v1/x")
	require.NoError(t, err)
	assert.Equal(t, http.StatusFound, page.Status)
	assert.Equal(t, "/elsewhere", page.Header.Get("Location"))
	assert.Equal(t, []string{""}, token)
}
