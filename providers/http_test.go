package providers

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOK(t *testing.T) {
	fine, no := "fine", "no"
	body := `{"ok":true,"state":"fine","off":false,"empty":"","null":null,"list":[]}`
	for _, test := range []struct {
		name   string
		ok     *OK
		status int
		want   bool
	}{
		{"no predicate", nil, 201, true},
		{"no predicate, refused", nil, 400, false},
		{"path under a refusal", &OK{Path: "ok"}, 400, false},
		{"listed status", &OK{Status: []int{404}}, 404, true},
		{"status not listed", &OK{Status: []int{201}}, 200, false},
		{"true", &OK{Path: "ok"}, 200, true},
		{"false", &OK{Path: "off"}, 200, false},
		{"empty", &OK{Path: "empty"}, 200, false},
		{"null", &OK{Path: "null"}, 200, false},
		{"missing", &OK{Path: "missing"}, 200, false},
		{"a list is something", &OK{Path: "list"}, 200, true},
		{"equal", &OK{Path: "state", Equals: &fine}, 200, true},
		{"not equal", &OK{Path: "state", Equals: &no}, 200, false},
		{"a list equals no text", &OK{Path: "list", Equals: &fine}, 200, false},
		{"absent", &OK{Absent: "missing"}, 200, true},
		{"null is absent", &OK{Absent: "null"}, 200, true},
		{"not absent", &OK{Absent: "off"}, 200, false},
		{"present", &OK{Present: "off"}, 200, true},
		{"not present", &OK{Present: "null"}, 200, false},
		{"all must hold", &OK{Path: "ok", Present: "missing"}, 200, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			doc, err := decodeJSON([]byte(body))
			require.NoError(t, err)
			assert.Equal(t, test.want, test.ok.holds(&reply{status: test.status, doc: doc}))
		})
	}
	assert.False(t, (*OK)(nil).holds(&reply{status: 200, broken: ReasonTimeout}), "half an answer is none")
}

func TestSecureURL(t *testing.T) {
	for address, want := range map[string]bool{
		"https://provider.test/token":     true,
		"http://127.0.0.1:8080/token":     true,
		"http://localhost/token":          true,
		"http://[::1]:1/token":            true,
		"http://provider.test/token":      false,
		"http://127.0.0.1.evil.test/":     false,
		"http://localhost.evil.test/":     false,
		"https://user:pw@provider.test/t": false,
		"ftp://provider.test/":            false,
		"https:///token":                  false,
		"/token":                          false,
	} {
		u, err := url.Parse(address)
		require.NoError(t, err)
		assert.Equal(t, want, secureURL(u), address)
	}
}

func TestCallAuthentication(t *testing.T) {
	values := map[string]string{"access_token": "acc"}
	for word, want := range map[string]string{
		"client":               "",
		"client_basic":         "Basic aWQ6c2VjcmV0",
		"bearer":               "Bearer acc",
		"bearer_client_secret": "Bearer secret",
		"send":                 "Bearer acc",
		"none":                 "",
	} {
		t.Run(word, func(t *testing.T) {
			app := &App{Definition: &Definition{}, ClientID: "id"}
			header, params := http.Header{}, map[string]string{}
			k := call{spec: Call{Auth: word}, style: "post", secret: NewSecret("secret"), target: &url.URL{}}
			failure := app.authenticate(k, time.Now(), values, params, header)
			require.Nil(t, failure)
			assert.Equal(t, want, header.Get("Authorization"))
			assert.Equal(t, word == "client", params["client_secret"] == "secret")
		})
	}
	for _, style := range []string{"", "tls_client_auth", "from_discovery"} {
		app := &App{Definition: &Definition{}}
		failure := app.authenticate(call{style: style, target: &url.URL{}}, time.Now(), values, map[string]string{}, http.Header{})
		require.NotNil(t, failure, style)
		assert.Equal(t, ReasonClientAuth, failure.Reason)
	}
}

func TestCaptureLimits(t *testing.T) {
	doc := map[string]any{"long": string(make([]byte, maxConfigValue+1)), "v": "value"}
	g := &Grant{Config: map[string]string{}}
	for i := range maxConfig {
		g.Config[string(rune('A'+i))] = "x"
	}
	assert.True(t, g.capture([]Capture{{Name: "new", From: "token", Path: []string{"v"}}}, "token", doc))
	assert.Len(t, g.Config, maxConfig, "the map is full")
	assert.True(t, g.capture([]Capture{{Name: "A", From: "token", Path: []string{"v"}}}, "token", doc))
	assert.Equal(t, "value", g.Config["A"], "what is there is still renewed")
	empty := &Grant{}
	assert.False(t, empty.capture([]Capture{{Name: "l", From: "token", Path: []string{"long"}, Required: true}},
		"token", doc))
	assert.Empty(t, empty.Config)
}
