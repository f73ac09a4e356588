package page

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

// mount stands in for Vault: what the real one answers is the acceptance tests' business.
type mount struct {
	mu      sync.Mutex
	answers map[string]any // data, by method and path
	status  map[string]int
	warns   map[string][]string
	changes []string // what was asked that changes something, with what was brought

	leadsNowhere bool // no browser is led back to loopback
}

// RoundTrip answers without a network, so that a test's clock may be held meanwhile.
func (m *mount) RoundTrip(r *http.Request) (*http.Response, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	key := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1/")
	var body []byte
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	if r.Method != http.MethodGet && r.Method != "LIST" {
		m.changes = append(m.changes, key+" "+strings.TrimSpace(string(body)))
	}
	recorded := httptest.NewRecorder()
	answer, known := m.answers[key]
	switch {
	case m.leadsNowhere && strings.Contains(string(body), "return_url"):
		recorded.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(recorded).Encode(map[string]any{"errors": []any{"return_url is not on the list"}})
	case m.status[key] != 0:
		recorded.WriteHeader(m.status[key])
		_ = json.NewEncoder(recorded).Encode(map[string]any{"errors": []any{answer}})
	case known:
		_ = json.NewEncoder(recorded).Encode(map[string]any{"data": answer, "warnings": m.warns[key]})
	default:
		recorded.WriteHeader(http.StatusNotFound)
		_ = json.NewEncoder(recorded).Encode(map[string]any{"errors": []any{}})
	}
	response := recorded.Result()
	response.Request = r
	return response, nil
}

func (m *mount) refuses(key string, status int, why string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.status[key], m.answers[key] = status, why
}

func (m *mount) says(key string, data any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.status, key)
	m.answers[key] = data
}

func (m *mount) changed() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.changes...)
}

const host = "127.0.0.1:8080"

var work = map[string]any{
	"owner": "user/u1", "name": "code", "provider": "github", "kind": "authorization_code",
	"label":  "My <b>work</b>\u202e",
	"status": "active", "private": true, "shared_with": "one entity", "created_time": "2026-01-02T03:04:05Z",
	"account": map[string]any{"label": "Alice"}, "scopes": []string{"repo"}, "missing_scopes": []string{"gist"},
	"last_used": "2026-02-03", "readers": []any{map[string]any{"display_name": "ci", "last_used": "2026-02-03"}},
}

func newMount() *mount {
	return &mount{status: map[string]int{}, answers: map[string]any{
		"GET connectors/connections/self": map[string]any{
			"keys": []string{"code"}, "key_info": map[string]any{"code": map[string]any{"provider": "github"}},
		},
		"GET connectors/connections/self/code": work,
		"GET connectors/shares/self/code": map[string]any{"private": true, "shares": []any{
			map[string]any{"entity": "e-2", "name": "bob"},
		}, "groups": []any{map[string]any{"id": "g-1", "name": "support"}}},
		"GET connectors/history/self/code": map[string]any{"records": []any{
			map[string]any{"time": "2026-01-02T03:04:05Z", "verb": "connect", "by": "alice"},
		}},
		"GET connectors/catalog": map[string]any{
			"keys": []string{"desk", "github", "provider:own"}, "key_info": map[string]any{
				"provider:own": map[string]any{"name": "Own", "kinds": []string{"api_key"}, "providers": []string{"own"}},
				"desk":         map[string]any{"name": "Desk", "kinds": []string{"api_key"}},
				"github":       map[string]any{"name": "GitHub", "kinds": []string{"authorization_code"}},
			},
		},
		"GET connectors/catalog/github": map[string]any{
			"name": "GitHub", "kinds": []string{"authorization_code"},
			"scopes": map[string]any{"about": map[string]any{"repo": "Read and write repositories."}},
		},
		"GET connectors/catalog/desk": map[string]any{
			"name": "Desk", "kinds": []string{"api_key"}, "key_fields": map[string]any{
				"api_key": map[string]any{"required": true, "secret": true, "set_by": "connection", "help": "made under Settings"},
				"app_key": map[string]any{"required": true, "secret": true, "set_by": "provider"},
			},
		},
		"PUT connectors/check/self/code":     map[string]any{"status": "active", "token_valid": "true", "service": "well"},
		"PUT connectors/shares/self/code":    map[string]any{},
		"PUT connectors/transfer/self/code":  map[string]any{"moved": true},
		"PUT connectors/connections/self/d1": map[string]any{},
		"GET connectors/connections/self/d1": nil,
		"PUT connectors/auth-code-url/self/new": map[string]any{
			"url": "https://github.example.com/authorize?state=s", "flow_id": "flow-1", "expire_time": "2999-01-01T00:00:00Z",
		},
		"PUT connectors/exchange":        map[string]any{"owner": "user/u1", "name": "new", "status": "active"},
		"GET auth/token/lookup-self":     map[string]any{"id": "t"},
		"DELETE connectors/x":            nil,
		"PUT connectors/connections/x":   nil,
		"PUT connectors/connections/y/z": nil,
	}}
}

func newServer(t *testing.T, m *mount) *Server {
	t.Helper()
	config := api.DefaultConfig()
	config.Address, config.MaxRetries = "http://vault.test", 0
	config.HttpClient = &http.Client{Transport: m}
	vault, err := api.NewClient(config)
	require.NoError(t, err)
	vault.SetToken("a token")
	c := client.New(vault, "connectors")
	s := New(host, Options{Client: c, Command: "connectors"})
	t.Cleanup(func() { s.stop(nil) })
	return s
}

// asked is a request that a browser sends.
type asked struct {
	method, path string
	host, origin string
	site, dest   string // Sec-Fetch-Site and -Dest
	purpose      string // Sec-Purpose
	cookies      []*http.Cookie
	form         url.Values
}

func (s *Server) answers(a asked) *httptest.ResponseRecorder {
	if a.method == "" {
		a.method = http.MethodGet
	}
	r := httptest.NewRequest(a.method, a.path, strings.NewReader(a.form.Encode()))
	r.Host = host
	if a.host != "" {
		r.Host = a.host
	}
	if a.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for name, value := range map[string]string{
		"Origin": a.origin, "Sec-Fetch-Site": a.site, "Sec-Fetch-Dest": a.dest, "Sec-Purpose": a.purpose,
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	for _, cookie := range a.cookies {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

var (
	leadsTo = regexp.MustCompile(`<meta http-equiv="refresh" content="0; url=([^"]+)">`)
	toType  = regexp.MustCompile(`<p class="code"><code>(\w{4})</code>`)
)

// visitor is a browser that opened the address.
type visitor struct {
	path       string
	cookie     *http.Cookie
	characters string
}

func (s *Server) opens(t *testing.T) visitor {
	t.Helper()
	first := s.answers(asked{path: "/", site: "none"})
	require.Equal(t, http.StatusOK, first.Code)
	require.Len(t, first.Result().Cookies(), 1)
	v := visitor{cookie: first.Result().Cookies()[0]}
	to := leadsTo.FindStringSubmatch(first.Body.String())
	require.NotNil(t, to, first.Body)
	v.path = to[1]
	page := s.answers(asked{path: v.path, cookies: []*http.Cookie{v.cookie}, site: "same-origin"})
	require.Equal(t, http.StatusOK, page.Code)
	shown := toType.FindStringSubmatch(page.Body.String())
	require.NotNil(t, shown, page.Body)
	v.characters = shown[1]
	return v
}

func (s *Server) hasEnded(t *testing.T, why error) {
	t.Helper()
	select {
	case <-s.Ended():
		assert.ErrorIs(t, s.reason, why)
	default:
		t.Fatal("it goes on")
	}
}

// lets is a browser that was let in.
func (s *Server) lets(t *testing.T) visitor {
	t.Helper()
	v := s.opens(t)
	require.True(t, s.Pair(v.characters))
	return v
}

func (v visitor) asks(method, path string, form url.Values) asked {
	return asked{method: method, path: v.path + path, cookies: []*http.Cookie{v.cookie}, site: "same-origin", form: form}
}

// One browser is let in: the one whose characters are typed.
func TestPairing(t *testing.T) {
	s := newServer(t, newMount())
	stranger, mine := s.opens(t), s.opens(t)
	assert.NotEqual(t, stranger.characters, mine.characters)
	assert.NotEqual(t, stranger.path, mine.path)
	for _, v := range []visitor{stranger, mine} {
		assert.Equal(t, v.path, v.cookie.Path, "no other path gets it, on whatever port")
		assert.True(t, v.cookie.HttpOnly)
		assert.Equal(t, http.SameSiteStrictMode, v.cookie.SameSite)
		assert.Empty(t, v.cookie.Domain)
		assert.Regexp(t, `^/[\w-]{22}/$`, v.path)
		assert.Regexp(t, `^[\w-]{43}$`, v.cookie.Value)
	}
	assert.Equal(t, 2, s.Waiting())
	for _, path := range []string{"account/code/check", "in", ""} {
		assert.Equal(t, http.StatusForbidden, s.answers(mine.asks(http.MethodPost, path, nil)).Code, path)
	}
	assert.NotContains(t, s.answers(mine.asks("", "account/code", nil)).Body.String(), "Alice", "not before")

	require.True(t, s.Pair(strings.ToLower(mine.characters[:2]+"-"+mine.characters[2:])))
	assert.Equal(t, mine.path, s.answers(mine.asks("", "in", nil)).Header().Get("Location"), "who came a moment later")
	assert.Contains(t, s.answers(mine.asks("", "", nil)).Body.String(), "Alice")
	assert.Equal(t, http.StatusNotFound, s.answers(stranger.asks("", "", nil)).Code, "the other is out")
	stolen := mine.asks("", "", nil)
	for name, cookies := range map[string][]*http.Cookie{
		"none": nil, "the other's": {stranger.cookie}, "another's value": {{Name: cookieName, Value: "x"}},
		"empty": {{Name: cookieName}},
	} {
		stolen.cookies = cookies
		assert.Equal(t, http.StatusNotFound, s.answers(stolen).Code, name)
	}
	stolen.cookies = []*http.Cookie{{Name: cookieName, Value: "of another port"}, mine.cookie}
	assert.Equal(t, http.StatusOK, s.answers(stolen).Code, "a cookie that another port set beside it does not lock out")
	elsewhere := stranger
	elsewhere.cookie = mine.cookie
	assert.Equal(t, http.StatusNotFound, s.answers(elsewhere.asks("", "", nil)).Code, "the right cookie at another path")

	assert.False(t, s.Pair(mine.characters), "typed again")
	assert.False(t, s.Pair(stranger.characters))
	late := s.answers(asked{path: "/"})
	assert.Equal(t, http.StatusForbidden, late.Code, "and nobody else comes in")
	assert.Empty(t, late.Result().Cookies())
	assert.NotContains(t, late.Body.String(), mine.path)
}

// A page elsewhere that leads a browser to somebody else's characters shows none.
func TestLedToForeignCharacters(t *testing.T) {
	s := newServer(t, newMount())
	v := s.opens(t)
	for site, status := range map[string]int{
		"same-site": http.StatusNotFound, "cross-site": http.StatusNotFound, "none": http.StatusOK,
		"same-origin": http.StatusOK,
	} {
		led := v.asks("", "", nil)
		led.site = site
		assert.Equal(t, status, s.answers(led).Code, site)
	}
}

// A waiting browser is answered when its characters were typed, and not before.
func TestWaitingBrowserIsLetIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newMount())
		v := s.opens(t)
		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() { answered <- s.answers(v.asks("", "in", nil)) }()
		synctest.Wait()
		assert.Empty(t, answered)
		require.True(t, s.Pair(v.characters))
		got := <-answered
		assert.Equal(t, http.StatusSeeOther, got.Code)
		assert.Equal(t, v.path, got.Header().Get("Location"))
	})
}

// A browser that waits is led on to wait again before it gives up, and so long it is not forgotten; one that is gone
// is. When the pages end, who waits hears of it.
func TestWaitingBrowserIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newMount())
		gone, v := s.opens(t), s.opens(t)
		assert.Equal(t, 2, s.Waiting())
		begun := time.Now()
		for time.Since(begun) < 2*guestTime {
			got := s.answers(v.asks("", "in", nil))
			assert.Equal(t, http.StatusSeeOther, got.Code)
			assert.Equal(t, v.path, got.Header().Get("Location"))
			require.Less(t, time.Since(begun), 2*guestTime+time.Minute, "browsers do not wait for ever")
			assert.Contains(t, s.answers(v.asks("", "", nil)).Body.String(), v.characters)
		}
		assert.Equal(t, 1, s.Waiting())
		s.opens(t)
		assert.Equal(t, http.StatusNotFound, s.answers(gone.asks("", "", nil)).Code)
		assert.Equal(t, http.StatusOK, s.answers(v.asks("", "", nil)).Code)

		answered := make(chan *httptest.ResponseRecorder, 1)
		go func() { answered <- s.answers(v.asks("", "in", nil)) }()
		synctest.Wait()
		before := time.Now()
		s.stop(ErrMisses)
		assert.Equal(t, http.StatusSeeOther, (<-answered).Code)
		assert.Zero(t, time.Since(before), "at once")
	})
}

// Guessing ends the pages, and who opens them without end takes no place for ever.
func TestMisses(t *testing.T) {
	s := newServer(t, newMount())
	v := s.opens(t)
	for range maxMisses {
		assert.False(t, s.Pair("0000"))
	}
	s.hasEnded(t, ErrMisses)
	assert.Equal(t, http.StatusGone, s.answers(v.asks("", "", nil)).Code)

	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newMount())
		for range maxGuests {
			s.opens(t)
		}
		assert.Equal(t, http.StatusTooManyRequests, s.answers(asked{path: "/"}).Code)
		time.Sleep(guestTime + time.Second)
		s.opens(t)
	})
}

// A name that was made to mean this machine is not its address.
func TestForgedHost(t *testing.T) {
	s := newServer(t, newMount())
	v := s.lets(t)
	for _, forged := range []string{
		"evil.example.com", "evil.example.com:8080", "localhost:8080", "127.0.0.1", "127.0.0.1:8081", "[::1]:8080",
	} {
		for _, path := range []string{"/", "/connected", v.path} {
			got := s.answers(asked{path: path, host: forged, cookies: []*http.Cookie{v.cookie}})
			assert.Equal(t, http.StatusMisdirectedRequest, got.Code, "%s%s", forged, path)
			assert.NotContains(t, got.Body.String(), "Alice")
			assert.Empty(t, got.Result().Cookies())
		}
	}
}

// forms are all that change something.
var forms = map[string]url.Values{
	"account/code/check":      {},
	"account/code/label":      {"label": {"x"}},
	"account/code/rename":     {"to": {"y"}},
	"account/code/share":      {"with": {"everyone"}},
	"account/code/unshare":    {"with": {"everyone"}},
	"account/code/disconnect": {},
	"account/code/reconnect":  {},
	"connect/github":          {"name": {"new"}},
	"connect/desk":            {"name": {"d1"}, "by": {"key"}, "key-api_key": {"secret-key-of-desk"}},
	"code/flow-1":             {"code": {"ABCD2345"}},
}

// What a page of another origin posts does nothing, though the browser sends the cookie along to any port.
func TestForeignPosts(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	for path, form := range forms {
		for name, foreign := range map[string]asked{
			"another port":            {site: "same-site", origin: "http://127.0.0.1:9090"},
			"another port, old":       {origin: "http://127.0.0.1:9090"},
			"another site":            {site: "cross-site", origin: "https://evil.example.com"},
			"null":                    {origin: "null"},
			"null of a sandbox":       {site: "cross-site", origin: "null"},
			"its name, another place": {origin: "https://127.0.0.1:8080.evil.example.com"},
		} {
			foreign.method, foreign.path, foreign.form, foreign.cookies = http.MethodPost, v.path+path, form,
				[]*http.Cookie{v.cookie}
			assert.Equal(t, http.StatusForbidden, s.answers(foreign).Code, "%s: %s", name, path)
		}
	}
	assert.Empty(t, m.changed())
	assert.Equal(t, http.StatusSeeOther, s.answers(v.asks(http.MethodPost, "account/code/check", url.Values{})).Code)
	assert.Len(t, m.changed(), 1, "as its own page does")
}

// No GET changes anything, wherever it leads.
func TestGETChangesNothing(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	for path, form := range forms {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE"} {
			got := s.answers(v.asks(method, path+"?"+form.Encode(), nil))
			assert.True(t, got.Code < 500, "%s %s: %d", method, path, got.Code)
			refused := got.Code == http.StatusMethodNotAllowed
			assert.Equal(t, method != http.MethodGet, refused, "%s %s: %d", method, path, got.Code)
		}
	}
	for _, path := range []string{
		"", "connect", "connect?search=x", "account/code", "account/code/disconnect", "account/code/reconnect",
		"connect/desk",
	} {
		assert.Equal(t, http.StatusOK, s.answers(v.asks("", path, nil)).Code, path)
	}
	assert.Empty(t, m.changed())
}

// Nobody frames, keeps or embeds a page, and nothing runs in it.
func TestHeaders(t *testing.T) {
	s := newServer(t, newMount())
	v := s.lets(t)
	for _, a := range []asked{
		{path: "/"},
		{path: "/connected"},
		{path: "/absent"},
		{path: "/", host: "evil.example.com"},
		v.asks("", "", nil),
		v.asks("", "absent", nil), v.asks("", "account/absent", nil), v.asks("", "account/code", nil),
	} {
		h := s.answers(a).Header()
		assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-")
		assert.NotContains(t, h.Get("Content-Security-Policy"), "script")
		assert.Contains(t, h.Get("Content-Security-Policy"), "frame-ancestors 'none'")
		assert.Contains(t, h.Get("Content-Security-Policy"), "base-uri 'none'")
		assert.Contains(t, h.Get("Content-Security-Policy"), "form-action 'self'")
		assert.Equal(t, "DENY", h.Get("X-Frame-Options"))
		assert.Equal(t, "no-store", h.Get("Cache-Control"))
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"))
		assert.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"))
		assert.Equal(t, "same-origin", h.Get("Cross-Origin-Opener-Policy"))
		assert.NotContains(t, s.answers(a).Body.String(), "<script")
	}
}

// Fifteen minutes without the paired browser end it; others do not keep it alive.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newMount())
		v := s.lets(t)
		for range 3 {
			time.Sleep(14 * time.Minute)
			assert.Equal(t, http.StatusOK, s.answers(v.asks("", "", nil)).Code)
		}
		time.Sleep(14 * time.Minute)
		s.answers(asked{path: "/"})
		s.answers(asked{path: "/connected"})
		s.answers(asked{path: v.path})
		time.Sleep(61 * time.Second)
		synctest.Wait()
		s.hasEnded(t, ErrIdle)
		assert.Equal(t, http.StatusGone, s.answers(v.asks("", "", nil)).Code)
	})
}

// The time counts anew from when the browser is paired.
func TestIdleCountsFromPairing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newMount())
		time.Sleep(14 * time.Minute)
		v := s.opens(t)
		require.True(t, s.Pair(v.characters))
		time.Sleep(14 * time.Minute)
		assert.Equal(t, http.StatusOK, s.answers(v.asks("", "", nil)).Code)
	})
}

// The pages are on this machine alone, until they end, and whoever serves them learns why.
func TestServe(t *testing.T) {
	for want, ends := range map[error]func(*Server, context.CancelFunc){
		ErrMisses: func(s *Server, _ context.CancelFunc) {
			for range maxMisses {
				s.Pair("0000")
			}
		},
		context.Canceled: func(_ *Server, stop context.CancelFunc) { stop() },
	} {
		socket, err := Listen(0)
		require.NoError(t, err)
		address := socket.Addr().String()
		assert.Regexp(t, `^127\.0\.0\.1:\d+$`, address)
		s := newServer(t, newMount())
		s.host = address
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, socket) }()
		got, err := http.Get("http://" + address + "/")
		require.NoError(t, err)
		got.Body.Close()
		assert.Equal(t, http.StatusOK, got.StatusCode)
		ends(s, stop)
		assert.ErrorIs(t, <-ended, want)
		_, err = http.Get("http://" + address + "/")
		assert.Error(t, err)
	}
}

// A token that Vault does not know any more ends it; one that lacks a policy does not.
func TestDeadToken(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	m.refuses("GET connectors/connections/self/code", http.StatusForbidden, "permission denied")
	got := s.answers(v.asks("", "account/code", nil))
	assert.Equal(t, http.StatusForbidden, got.Code)
	assert.Contains(t, got.Body.String(), "permission denied")
	select {
	case <-s.Ended():
		t.Fatal("ended")
	default:
	}
	m.refuses("GET auth/token/lookup-self", http.StatusForbidden, "permission denied")
	got = s.answers(v.asks("", "account/code", nil))
	assert.Equal(t, http.StatusGone, got.Code)
	assert.Contains(t, got.Body.String(), "vault login")
	s.hasEnded(t, ErrToken)
}

// A consent comes back without the cookie. It is known by its flow and code, finished once, and led inside; nobody else
// learns where that is.
func TestConsentComesBack(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	leave := s.answers(v.asks(http.MethodPost, "connect/github", url.Values{"name": {"new"}, "by": {"consent"}}))
	require.Equal(t, http.StatusOK, leave.Code, leave.Body)
	assert.Equal(t, "https://github.example.com/authorize?state=s", leadsTo.FindStringSubmatch(leave.Body.String())[1])
	assert.Empty(t, leave.Header().Get("Location"), "a page, since browsers hold a policy on forms against redirects")
	sent := m.changed()
	require.Len(t, sent, 1)
	assert.Contains(t, sent[0], `"return_url":"http://127.0.0.1:8080/connected"`)
	bound := regexp.MustCompile(`"session_binding":"([\w-]{43})"`).FindStringSubmatch(sent[0])
	require.NotNil(t, bound, sent[0])

	back := func(query string) *httptest.ResponseRecorder {
		return s.answers(asked{path: "/connected?" + query, site: "cross-site"})
	}
	nobody := back("")
	for _, foreign := range []string{
		"flow_id=another&confirmation_code=ABCD2345", "confirmation_code=ABCD2345", "flow_id=flow-1&confirmation_code=x",
		"flow_id=flow-1&confirmation_code=ABCD23456",
	} {
		assert.Equal(t, nobody.Body.String(), back(foreign).Body.String(), foreign)
	}
	require.Len(t, m.changed(), 1, "nothing was asked for them")
	m.refuses("PUT connectors/exchange", http.StatusBadRequest, "the confirmation code does not match (1 of 5)")
	wrong := back("flow_id=flow-1&confirmation_code=AAAA2345")
	assert.Equal(t, http.StatusConflict, wrong.Code)
	assert.NotContains(t, wrong.Body.String(), v.path)
	m.says("PUT connectors/exchange", map[string]any{"owner": "user/u1", "name": "new", "status": "active"})
	done := back("flow_id=flow-1&confirmation_code=ABCD2345")
	require.Equal(t, http.StatusOK, done.Code)
	to := leadsTo.FindStringSubmatch(done.Body.String())
	require.NotNil(t, to, done.Body)
	assert.True(t, strings.HasPrefix(to[1], v.path+"account/new?note="), to[1])
	last := m.changed()[2]
	assert.Contains(t, last, `"confirmation_code":"ABCD2345","flow_id":"flow-1","session_binding_value":"`)

	again := back("flow_id=flow-1&confirmation_code=ABCD2345")
	assert.Equal(t, nobody.Body.String(), again.Body.String(), "finished once")
	assert.Len(t, m.changed(), 3)
	assert.NotContains(t, again.Body.String(), v.path)
}

// A flow that is over is asked for no more; one whose code was wrong, or came too early, is.
func TestWhichFlowsAreKept(t *testing.T) {
	for said, c := range map[string]struct {
		status int
		kept   bool
	}{
		"the confirmation code does not match": {http.StatusBadRequest, true},
		"authorization_pending":                {http.StatusConflict, true},
		"the flow is over":                     {http.StatusBadRequest, false},
		"another account":                      {http.StatusConflict, false},
		"turned \u202e round":                  {http.StatusForbidden, false},
	} {
		m := newMount()
		s := newServer(t, m)
		s.lets(t)
		require.True(t, s.keep("flow-1", &flow{name: "new", until: time.Now().Add(time.Hour)}))
		m.refuses("PUT connectors/exchange", c.status, said)
		for range 2 {
			got := s.answers(asked{path: "/connected?flow_id=flow-1&confirmation_code=ABCD2345"})
			assert.NotContains(t, got.Body.String(), "\u202e")
		}
		assert.Equal(t, c.kept, len(m.changed()) == 2, said)
	}
}

// Few consents are open at a time, and those that are too old make room.
func TestOpenFlows(t *testing.T) {
	s := newServer(t, newMount())
	v := s.lets(t)
	for n := range maxFlows {
		require.True(t, s.keep(string(rune('a'+n)), &flow{until: time.Now().Add(time.Hour)}))
	}
	consent := v.asks(http.MethodPost, "connect/github", url.Values{"name": {"new"}, "by": {"consent"}})
	assert.Equal(t, http.StatusTooManyRequests, s.answers(consent).Code)
	s.flows["a"].until = time.Now().Add(-time.Second)
	assert.Equal(t, http.StatusOK, s.answers(consent).Code)
}

// Nobody is led to an address that is none of the web.
func TestConsentAtNoAddress(t *testing.T) {
	for _, address := range []string{
		"", "javascript:alert(1)", "javascript://x/%0aalert(1)", "data://x/y", "/authorize", "://",
	} {
		m := newMount()
		s := newServer(t, m)
		v := s.lets(t)
		m.says("PUT connectors/auth-code-url/self/new", map[string]any{"url": address, "flow_id": "flow-1"})
		got := s.answers(v.asks(http.MethodPost, "connect/github", url.Values{"name": {"new"}, "by": {"consent"}}))
		assert.Equal(t, http.StatusBadGateway, got.Code, address)
		assert.Nil(t, leadsTo.FindStringSubmatch(got.Body.String()), address)
		assert.Empty(t, s.flows)
	}
}

// Where the operator leads no browser back, the code is typed on a page inside.
func TestCodeIsTyped(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	m.leadsNowhere = true
	asks := s.answers(v.asks(http.MethodPost, "connect/github", url.Values{"name": {"new"}}))
	require.Equal(t, http.StatusOK, asks.Code, asks.Body)
	assert.Contains(t, asks.Body.String(), `action="`+v.path+`code/flow-1"`)
	assert.NotContains(t, asks.Body.String(), "http-equiv=\"refresh")
	typed := v.asks(http.MethodPost, "code/flow-1", url.Values{"code": {"abcd-2345"}})
	got := s.answers(typed)
	assert.Equal(t, http.StatusSeeOther, got.Code, got.Body)
	assert.True(t, strings.HasPrefix(got.Header().Get("Location"), v.path+"account/new?note="))
	sent := m.changed()
	assert.Contains(t, sent[len(sent)-1], `"confirmation_code":"ABCD2345"`)
	assert.Equal(t, http.StatusConflict, s.answers(typed).Code, "finished once")
}

// A key goes to the mount, once, and stands on no page.
func TestKeyIsShownNowhere(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	m.refuses("GET connectors/connections/self/d1", http.StatusNotFound, "")
	asks := s.answers(v.asks("", "connect/desk", nil)).Body.String()
	assert.Contains(t, asks, `name="key-api_key" type="password"`)
	assert.NotContains(t, asks, "app_key", "which the operator has")
	form := forms["connect/desk"]
	got := s.answers(v.asks(http.MethodPost, "connect/desk", form))
	require.Equal(t, http.StatusSeeOther, got.Code, got.Body)
	require.Len(t, m.changed(), 1)
	assert.Contains(t, m.changed()[0], "secret-key-of-desk")
	assert.NotContains(t, got.Body.String()+got.Header().Get("Location"), "secret-key-of-desk")
	m.refuses("PUT connectors/connections/self/d1", http.StatusBadRequest, "the key is not taken")
	got = s.answers(v.asks(http.MethodPost, "connect/desk", form))
	assert.Equal(t, http.StatusBadRequest, got.Code)
	assert.NotContains(t, got.Body.String(), "secret-key-of-desk")
}

// A key that nothing is known to have tried is not said to work, what Vault warns of is shown, and to disconnect it is
// no revocation.
func TestKeyThatNobodyTried(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	m.refuses("GET connectors/connections/self/d1", http.StatusNotFound, "")
	m.warns = map[string][]string{"PUT connectors/connections/self/d1": {"field \"api_key\" does not look like a key"}}
	got := s.answers(v.asks(http.MethodPost, "connect/desk", forms["connect/desk"]))
	require.Equal(t, http.StatusSeeOther, got.Code, got.Body)
	key := map[string]any{"name": "d1", "provider": "desk", "kind": "api_key", "status": "active", "connection_id": "c1"}
	m.says("GET connectors/connections/self/d1", key)
	at := func(path string) string { return s.answers(v.asks("", path, nil)).Body.String() }
	body := at(strings.TrimPrefix(got.Header().Get("Location"), v.path))
	for _, expected := range []string{
		"The key is stored. Field &#34;api_key&#34; does not look like a key.", `class="warning" role="alert"`,
		"Stored, and not known to have been tried", "Press Test",
	} {
		assert.Contains(t, body, expected)
	}
	assert.NotContains(t, body, ">Works<")
	body = at("account/d1/disconnect")
	assert.Contains(t, body, "The key itself is not withdrawn")
	assert.NotContains(t, body, "revoke")
	assert.Contains(t, at("account/code/disconnect"), "revoke its grant")

	m.says("PUT connectors/check/self/d1", map[string]any{"status": "active", "token_valid": "unknown"})
	s.answers(v.asks(http.MethodPost, "account/d1/check", nil))
	assert.NotContains(t, at("account/d1"), ">Works<")
	m.says("PUT connectors/check/self/d1", map[string]any{"status": "active", "token_valid": "true"})
	s.answers(v.asks(http.MethodPost, "account/d1/check", nil))
	assert.Contains(t, at("account/d1"), ">Works<")
	key["last_rotation"] = "2026-03-04T05:06:07Z"
	assert.NotContains(t, at("account/d1"), ">Works<", "another key")
	key["account"] = map[string]any{"id": "a-1"}
	assert.Contains(t, at("account/d1"), ">Works<", "the service told whose it is")
}

// What the mount refuses is said in words of the pages first.
func TestRefusalsInWords(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	v := s.lets(t)
	for status, words := range map[int]string{
		http.StatusBadRequest: "did not take this", http.StatusForbidden: "does not allow you this",
		http.StatusNotFound: "is not there", http.StatusConflict: "as things stand", http.StatusTooManyRequests: "too often",
		http.StatusBadGateway: "cannot do this now",
	} {
		m.refuses("GET connectors/connections/self/code", status, "user/u1: raw")
		got := s.answers(v.asks("", "account/code", nil))
		assert.Equal(t, status, got.Code)
		assert.Regexp(t, `(?s)`+words+`.*What was answered: .*self/code: `, got.Body)
	}
	m.refuses("PUT connectors/auth-code-url/self/new", http.StatusBadRequest, `no provider "github" is configured`)
	unknown := s.answers(v.asks(http.MethodPost, "connect/github", forms["connect/github"]))
	assert.Contains(t, unknown.Body.String(), "An operator of Vault has to set it up")
	m.refuses("PUT connectors/exchange", http.StatusConflict, "start again with auth-code-url/user/u1/new")
	require.True(t, s.keep("flow-1", &flow{name: "new", until: time.Now().Add(time.Hour)}))
	got := s.answers(v.asks(http.MethodPost, "code/flow-1", url.Values{"code": {"ABCD2345"}}))
	assert.Regexp(t, `(?s)Start again with Connect an account.*What was answered:.*auth-code-url`, got.Body)
}

func TestCapital(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "the key": "The key", "user/u1 is gone": "user/u1 is gone", "a": "A", "client_id is": "client_id is",
		"the": "The", "\u00e9": "\u00e9", "The": "The",
	} {
		assert.Equal(t, want, capital(text))
	}
}

// Each action does what its command does, says the command, and keeps text of others text.
func TestActions(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	m.says("GET connectors/inventory/self", map[string]any{"connections": []any{map[string]any{"definition": "github"}}})
	v := s.lets(t)
	body := s.answers(v.asks("", "account/code", nil)).Body.String()
	for _, expected := range []string{
		"My &lt;b&gt;work&lt;/b&gt;\\u202e", "Read and write repositories. <code>repo</code>",
		"<code>gist</code> <strong>not granted", "connectors check code", "connectors disconnect code", "3 February 2026",
		"bob", "the group support", "connect</strong> by",
		"Works, but may do less",
	} {
		assert.Contains(t, body, expected)
	}
	body = s.answers(v.asks("", "connect", nil)).Body.String()
	assert.Contains(t, body, "Already there")
	assert.Less(t, strings.Index(body, ">GitHub<"), strings.Index(body, ">Own<"), "what is connected goes first")
	assert.Less(t, strings.Index(body, ">Own<"), strings.Index(body, ">Desk<"), "then what is configured for certain")
	assert.Contains(t, body, "set up here")
	assert.Contains(t, body, "an operator of Vault adds first")
	for _, c := range []struct {
		path    string
		form    url.Values
		sent    string
		command string
	}{
		{"account/code/check", nil, "PUT connectors/check/self/code", "connectors check code"},
		{
			"account/code/label",
			url.Values{"label": {"it's mine"}},
			`PUT connectors/connections/self/code {"label":"it's mine"}`,
			`connectors edit code --label 'it'\''s mine'`,
		},
		{
			"account/code/rename",
			url.Values{"to": {"job"}},
			`PUT connectors/transfer/self/code {"to":"self/job"}`,
			"connectors transfer code job",
		},
		{
			"account/code/share",
			url.Values{"with": {"group:g-1"}, "expires": {"7d"}},
			`PUT connectors/shares/self/code {"expires":"7d","groups":["g-1"]}`,
			"connectors share code --group g-1 --expires 7d",
		},
		{
			"account/code/share",
			url.Values{"with": {"entity"}, "id": {"e-3"}},
			`PUT connectors/shares/self/code {"entities":["e-3"]}`, "connectors share code --entity e-3",
		},
		{
			"account/code/unshare",
			url.Values{"with": {"entity:e-2"}},
			"DELETE connectors/shares/self/code",
			"connectors unshare code --entity e-2",
		},
		{"account/code/disconnect", nil, "DELETE connectors/connections/self/code", "connectors disconnect code --yes"},
	} {
		m.says("DELETE connectors/shares/self/code", nil)
		m.says("DELETE connectors/connections/self/code", nil)
		m.says("PUT connectors/connections/self/code", work)
		got := s.answers(v.asks(http.MethodPost, c.path, c.form))
		require.Equal(t, http.StatusSeeOther, got.Code, "%s: %s", c.path, got.Body)
		sent := m.changed()
		assert.Contains(t, sent[len(sent)-1], c.sent, c.path)
		said := s.noteOf(strings.Split(got.Header().Get("Location"), "note=")[1])
		require.NotNil(t, said)
		assert.Equal(t, c.command, said.Command)
	}
	before := len(m.changed())
	for path, form := range map[string]url.Values{
		"account/code/share": {"with": {"group"}}, "account/code/unshare": {"with": {"group:"}},
		"account/code/unshare?": {"with": {"entity:"}}, "account/code/unshare?x": {},
		"account/code/rename": {"to": {"org/acme/x"}},
		"connect/github":      {"name": {"org/acme/x"}}, "account/code/label": {"label": {strings.Repeat("x", maxForm)}},
	} {
		assert.Equal(t, http.StatusBadRequest, s.answers(v.asks(http.MethodPost, path, form)).Code, path)
	}
	again := s.answers(v.asks(http.MethodPost, "connect/github", url.Values{"name": {"code"}}))
	assert.Equal(t, http.StatusConflict, again.Code,
		"one that is there is connected again by its own page")
	assert.Len(t, m.changed(), before)
}

// What a check finds is told as it is, and never as good where nobody knows.
func TestWhatAChecksFindingSays(t *testing.T) {
	for _, c := range []struct {
		status, valid, service string
		bad                    bool
		words                  string
	}{
		{"active", "true", "well", false, "The service was asked, and it works."},
		{"active", "false", "well", true, "It does not work."},
		{"needs_reconnect", "unknown", "", true, "It does not work."},
		{"active", "unknown", "down", true, "nobody knows."},
		{"active", "unknown", "limited", true, "nobody knows."},
		{"active", "unknown", "", false, "nobody knows whether it works."},
	} {
		m := newMount()
		s := newServer(t, m)
		v := s.lets(t)
		m.says("PUT connectors/check/self/code", map[string]any{
			"status": c.status, "token_valid": c.valid, "service": c.service,
		})
		got := s.answers(v.asks(http.MethodPost, "account/code/check", nil))
		require.Equal(t, http.StatusSeeOther, got.Code)
		said := s.noteOf(strings.Split(got.Header().Get("Location"), "note=")[1])
		require.NotNil(t, said)
		assert.Equal(t, c.bad, said.Bad, "%+v", c)
		assert.True(t, strings.HasSuffix(said.Text, c.words), "%+v: %s", c, said.Text)
	}
}

// A consent that brought less than was asked for is told as that.
func TestConnectedWithLess(t *testing.T) {
	for want, brought := range map[string]map[string]any{
		"Connected.":                       {"status": "active"},
		"Connected, and not all is well.":  {"status": "active", "missing_scopes": []string{"repo"}},
		"Connected, and not all is well. ": {"status": "pending"},
	} {
		m := newMount()
		s := newServer(t, m)
		s.lets(t)
		require.True(t, s.keep("flow-1", &flow{name: "new", until: time.Now().Add(time.Hour)}))
		m.says("PUT connectors/exchange", brought)
		require.Equal(t, http.StatusOK, s.answers(asked{path: "/connected?flow_id=flow-1"}).Code)
		assert.Equal(t, strings.TrimSpace(want), s.notes[0].Text)
		assert.Equal(t, want != "Connected.", s.notes[0].Bad)
	}
}

// Old notes make room, and texts of others are cut.
func TestBounds(t *testing.T) {
	s := newServer(t, newMount())
	s.lets(t)
	first := strings.Split(s.noted("", note{Text: "first"}), "note=")[1]
	for range maxNotes {
		s.noted("", note{})
	}
	assert.Nil(t, s.noteOf(first))
	assert.Len(t, s.notes, maxNotes)
	assert.Equal(t, strings.Repeat("é", maxShown)+"…", shown(strings.Repeat("é", maxShown+1)))
	assert.Equal(t, strings.Repeat("é", maxShown), shown(strings.Repeat("é", maxShown)))
}

// Of fields that stand for one another those of the chosen sort are sent, a PEM with the line ends of a file, and a key
// that is brought again stays of its kind.
func TestKeyOfOneSort(t *testing.T) {
	m := newMount()
	s := newServer(t, m)
	s.Definition = func(ctx context.Context, provider string) (*client.Definition, error) {
		return s.Client.Definition(ctx, provider)
	}
	v := s.lets(t)
	m.says("GET connectors/connections/self/d1", map[string]any{
		"owner": "user/u1", "name": "d1", "provider": "desk", "kind": "jwt",
	})
	m.says("GET connectors/catalog/desk", map[string]any{
		"name": "Desk", "kinds": []string{"jwt"}, "key_one_of": []string{"private_key", "user,password"},
		"key_fields": map[string]any{
			"private_key": map[string]any{"secret": true, "set_by": "connection"},
			"note":        map[string]any{"set_by": "connection"},
			"user":        map[string]any{"secret": true, "set_by": "connection"},
			"password":    map[string]any{"secret": true, "set_by": "connection"},
		},
	})
	form := url.Values{
		"by": {"key"}, "key-private_key": {"BEGIN\r\nx\r\nEND\r\n"}, "key-user": {"u"}, "key-password": {"p"},
		"key-note": {"n"},
	}
	for group, want := range map[string]string{
		"private_key":   `{"kind":"jwt","note":"n","private_key":"BEGIN\nx\nEND","provider":"desk"}`,
		"user,password": `{"kind":"jwt","note":"n","password":"p","provider":"desk","user":"u"}`,
	} {
		form.Set("group", group)
		got := s.answers(v.asks(http.MethodPost, "account/d1/reconnect", form))
		require.Equal(t, http.StatusSeeOther, got.Code, got.Body)
		sent := m.changed()
		assert.Equal(t, "PUT connectors/connections/self/d1 "+want, sent[len(sent)-1])
	}
}

func TestHealth(t *testing.T) {
	for _, c := range []struct {
		is    client.Connection
		tone  string
		words string
	}{
		{client.Connection{Status: "active"}, "good", "Works"},
		{
			client.Connection{Status: "active", MissingScopes: []string{"x"}},
			"bad",
			"Works, but may do less than was asked for",
		},
		{
			client.Connection{Status: "active", LastError: map[string]any{"attempts": 2.0}},
			"idle",
			"Works; the last renewal failed and is tried again",
		},
		{
			client.Connection{Status: "needs_reconnect", StatusReason: "hard_limit"},
			"bad",
			"Does not work: the consent has run out",
		},
		{
			client.Connection{Status: "pending", StatusReason: "choice"},
			"idle",
			"Not connected yet: one of several sites is to be chosen",
		},
		{client.Connection{Status: "of a newer engine", StatusReason: "too"}, "idle", "of a newer engine"},
	} {
		got := healthOf(&c.is)
		assert.Equal(t, c.tone, got.Tone)
		assert.Equal(t, c.words, got.Words)
	}
}
