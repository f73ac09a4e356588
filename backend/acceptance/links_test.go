package acceptance

import (
	"encoding/json"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

// visits opens an address as a person without any token does, or posts a form to it, and gives the page.
func visits(t *testing.T, address string, form url.Values) *stack.Page {
	t.Helper()
	method, body := http.MethodGet, ""
	if form != nil {
		method, body = http.MethodPost, form.Encode()
	}
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	require.NoError(t, err)
	if form != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return &stack.Page{URL: request.URL, Status: response.StatusCode, Header: response.Header, Body: string(text)}
}

// presses fills in the form of a link's page and sends it where the page says.
func presses(t *testing.T, link string, fields map[string]string) *stack.Page {
	t.Helper()
	shown := visits(t, link, nil)
	require.Equal(t, http.StatusOK, shown.Status, shown.Body)
	action := regexp.MustCompile(`<form method="post" action="([^"]+)"`).FindStringSubmatch(shown.Body)
	value := regexp.MustCompile(`<input type="hidden" name="link" value="([^"]+)">`).FindStringSubmatch(shown.Body)
	require.True(t, action != nil && value != nil, shown.Body)
	form := url.Values{"link": {html.UnescapeString(value[1])}}
	for name, v := range fields {
		require.Contains(t, shown.Body, `name="`+name+`"`)
		form.Set(name, v)
	}
	return visits(t, html.UnescapeString(action[1]), form)
}

// A person without a Vault token consents on their own page, and only who made the link connects what comes of it.
func TestConnectLinkByConsent(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	e.newOIDC(t, "idp", "basic", stack.OIDCOptions{})
	policy := `path "connectors/connect-link/user/+/+" { capabilities = ["update", "read", "delete"] }
path "connectors/exchange" { capabilities = ["update"] }`
	desk, eve := e.logIn(t, "desk", policy), e.logIn(t, "eve", policy)
	made := desk.write(t, "connect-link/user/u-17/idp", map[string]any{
		"provider": "idp", "purpose": "the calendar of the team",
	})
	link := made["url"].(string)

	for range 2 { // a mail scanner, then the person
		assert.Contains(t, visits(t, link, nil).Body, "the calendar of the team")
	}
	led := ledOn.FindStringSubmatch(presses(t, link, nil).Body)
	require.NotNil(t, led)
	page, err := stack.NewRobot(person).Visit(t.Context(), html.UnescapeString(led[1]), e.callback("idp"))
	require.NoError(t, err)
	code := shownCode.FindStringSubmatch(page.Body)
	require.NotNil(t, code, page.Body)
	assert.Equal(t, visits(t, e.url()+"/connect?link=none", nil).Body, visits(t, link, nil).Body, "it is used up")

	finish := map[string]any{"flow_id": made["flow_id"], "confirmation_code": code[1]}
	eve.refusesWrite(t, http.StatusForbidden, "started by somebody else", "exchange", finish)
	e.absent(t, "connections/user/u-18/idp")
	connected := desk.write(t, "exchange", finish)
	assert.Equal(t, []any{"active", "user/u-17"}, []any{connected["status"], connected["owner"]})

	// Whoever finds the link in a log has it by then for nothing.
	log, err := os.ReadFile(e.vault.AuditFile)
	require.NoError(t, err)
	value := link[strings.LastIndex(link, "=")+1:]
	require.Contains(t, string(log), value, "a GET stands there whole")
	assert.NotContains(t, string(log), code[1])
	gone := visits(t, e.url()+"/connect", url.Values{"link": {value}})
	assert.Equal(t, visits(t, link, nil).Body, gone.Body)
}

const pemYAML = `
name: Signer
kinds: [api_key]
api_base: SERVICE/api
endpoints: {identity: SERVICE/api/me}
key:
  fields: [{name: pem, required: true, secret: true, multiline: true, handed_out: true}, {name: word, secret: true}]
  send: {headers: {X-Word: '{word}'}}
identity: {}
account: {id: [id]}
`

// A key is typed into the page: refused ones are asked for again, a text of several lines survives the form, and no
// log and no page has any of it. The page cannot be framed where the mount lets its headers through.
func TestConnectLinkByKey(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	const word, wrong = "w-0123456789-of-the-signer", "w-9876543210-that-nobody-made"
	pem := "-----BEGIN PRIVATE KEY-----\r\nTUlJRW93SUJBQUtDQVFFQQ==\r\n-----END PRIVATE KEY-----\r\n"
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Word") != word {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"id": "account-1"})
	}))
	t.Cleanup(service.Close)
	file := filepath.Join(t.TempDir(), "signer.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(pemYAML, "SERVICE", service.URL)), 0o600))
	written := e.cli(t, "write", "{mount}/providers/signer", "definition_yaml=@"+file)
	require.Zero(t, written.exit, written.complaint)
	made := e.write(t, "connect-link/org/acme/signer", map[string]any{"provider": "signer"})
	link := made["url"].(string)

	framed := visits(t, link, nil)
	assert.Empty(t, framed.Header.Get("X-Frame-Options"), "Vault drops what a plugin says")
	_, err := e.vault.Client.Logical().WriteWithContext(t.Context(), "sys/mounts/"+e.path+"/tune", map[string]any{
		"allowed_response_headers": []string{"Content-Security-Policy", "X-Frame-Options", "Referrer-Policy"},
	})
	require.NoError(t, err)
	framed = visits(t, link, nil)
	assert.Equal(t, "DENY", framed.Header.Get("X-Frame-Options"))
	assert.Equal(t, "frame-ancestors 'none'", framed.Header.Get("Content-Security-Policy"))

	refused := presses(t, link, map[string]string{"key.pem": pem, "key.word": wrong})
	assert.Contains(t, refused.Body, "does not take this key")
	shown := presses(t, link, map[string]string{"key.pem": pem, "key.word": word})
	code := shownCode.FindStringSubmatch(shown.Body)
	require.NotNil(t, code, shown.Body)
	e.refusesRead(t, http.StatusConflict, "is pending", "creds/org/acme/signer")
	finish := map[string]any{"flow_id": made["flow_id"], "confirmation_code": code[1]}
	assert.Equal(t, "active", e.write(t, "exchange", finish)["status"])
	creds := e.read(t, "creds/org/acme/signer")
	assert.Equal(t, []any{strings.ReplaceAll(pem, "\r\n", "\n"), word}, []any{creds["pem"], creds["word"]})

	for _, log := range []string{e.vault.AuditFile, e.vault.LogFile} {
		text, err := os.ReadFile(log)
		require.NoError(t, err)
		for _, secret := range []string{word, wrong, "TUlJRW93SUJBQUtDQVFFQQ", code[1]} {
			assert.NotContains(t, string(text), secret, log)
			assert.NotContains(t, refused.Body, secret)
		}
	}
	assert.NotContains(t, shown.Body, word)
}
