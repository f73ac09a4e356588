package commands

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// says asserts what a check comes to, and that what is not well has a next step.
func says(t *testing.T, f finding, result, words string) {
	t.Helper()
	assert.Equal(t, result, f.Result, "%+v", f)
	assert.Contains(t, f.Found+" "+f.NextStep, words)
	assert.Equal(t, result == well, f.NextStep == "", "%+v", f)
}

var (
	denied   = &client.Error{Status: http.StatusForbidden, Path: "connectors/x"}
	answered = &client.Health{Version: "1.21.0", Initialized: true}
)

func TestJudgeAddress(t *testing.T) {
	const address = "https://vault.example.com"
	says(t, judgeAddress(address, answered, nil), well, "Vault 1.21.0")
	says(t, judgeAddress(address, &client.Health{Version: "1", Initialized: true, Sealed: true}, nil), failure, "unseal")
	says(t, judgeAddress(address, &client.Health{Version: "1"}, nil), failure, "operator init")
	for words, err := range map[string]error{
		"VAULT_CACERT":          x509.UnknownAuthorityError{},
		"VAULT_TLS_SERVER_NAME": x509.HostnameError{Certificate: &x509.Certificate{}, Host: "x"},
		"renewed":               x509.CertificateInvalidError{Reason: x509.Expired},
		"name that":             &net.DNSError{},
		"start Vault":           errors.New("connection refused"),
	} {
		f := judgeAddress(address, nil, &url.Error{Op: "Get", URL: "https://planted", Err: err})
		says(t, f, failure, words)
		assert.NotContains(t, f.Found, "planted", "what was asked is in the first words")
	}
}

func TestJudgeTLS(t *testing.T) {
	for _, c := range []struct {
		address       string
		health        client.Health
		skip          string
		result, words string
	}{
		{"http://127.0.0.1:8200", client.Health{}, "", well, "does not leave"},
		{"http://[::1]:8200", client.Health{}, "", well, "does not leave"},
		{"http://localhost:8200", client.Health{}, "true", well, "does not leave"},
		{"unix:///run/vault.sock", client.Health{}, "", well, "socket"},
		{"http://vault.example.com", client.Health{}, "", warning, "https://"},
		{"https://v", client.Health{TLSVersion: 0x0304, CertExpiry: noon.Add(soon * 2)}, "", well, "TLS 1.3"},
		{"https://v", client.Health{TLSVersion: 0x0304, CertExpiry: noon.Add(soon - 1)}, "", warning, "2026-03-15"},
		{"https://v", client.Health{TLSVersion: 0x0304, CertExpiry: noon.Add(soon * 2)}, "1", warning, "SKIP_VERIFY"},
	} {
		t.Setenv("VAULT_SKIP_VERIFY", c.skip)
		says(t, judgeTLS(c.address, &c.health, noon), c.result, c.words)
	}
}

func TestJudgeClock(t *testing.T) {
	for off, c := range map[time.Duration][2]string{
		0: {well, "agree"}, 4 * time.Second: {well, "agree"}, -4 * time.Second: {well, "agree"},
		30 * time.Second: {warning, "ahead of"}, -30 * time.Second: {warning, "behind"},
		time.Hour: {failure, "1h0m"}, -2 * time.Minute: {failure, "sign-ins fail"},
	} {
		says(t, judgeClock(&client.Health{Date: noon.Add(off), Asked: noon}), c[0], c[1])
	}
	slow := &client.Health{Date: noon.Add(6 * time.Second), Asked: noon, RoundTrip: 10 * time.Second}
	says(t, judgeClock(slow), well, "agree")
	says(t, judgeClock(&client.Health{Asked: noon}), warning, "header Date")
}

func TestJudgeToken(t *testing.T) {
	says(t, judgeToken(&client.Token{DisplayName: "alice", EntityID: "e"}, nil), well, "alice")
	says(t, judgeToken(&client.Token{DisplayName: "root"}, nil), warning, "without an entity")
	says(t, judgeToken(&client.Token{EntityID: "e", TTL: 60, Renewable: true}, nil), warning, "vault token renew")
	says(t, judgeToken(&client.Token{EntityID: "e", TTL: 60}, nil), warning, "vault login")
	says(t, judgeToken(&client.Token{EntityID: "e", TTL: 3600}, nil), well, "entity e")
	says(t, judgeToken(nil, denied), failure, "vault login")
	says(t, judgeToken(nil, errors.New("any")), warning, "lookup-self")
}

func TestJudgeMountAndVersions(t *testing.T) {
	says(t, judgeMount("c", &client.MountInfo{Type: client.PluginName}, nil), well, "c/ is")
	says(t, judgeMount("c", &client.MountInfo{Type: "kv"}, nil), failure, "is kv")
	says(t, judgeMount("c", nil, denied), failure, "--mount")
	for _, c := range [][4]string{
		{"v1.2.3", "v1.2.3", well, "v1.2.3"},
		{"v1.3.0", "v1.2.3", well, ""},
		{"v1.2.3", "v1.2.3-5-gabcdef", well, ""},
		{"v1.2.3-5-gabcdef", "v1.2.3", well, ""},
		{"v0.0.0-dev", "v0.0.0-dev", well, ""},
		{"v1.2.3", "v1.3.0", warning, "upgrade the engine"},
		{"", "v1.3.0", warning, "unknown"},
		{"v1.3.0", "dev", warning, "cannot be compared"},
	} {
		says(t, judgeVersions(c[0], c[1]), c[2], c[3])
	}
}

func loadedPage(title string, headers ...string) loaded {
	p := loaded{
		Page: &client.Page{Status: 200, Header: http.Header{}, Body: "<title>" + title + "</title>"}, path: "/connect",
	}
	for i := 0; i < len(headers); i += 2 {
		p.Header.Set(headers[i], headers[i+1])
	}
	return p
}

func TestJudgePages(t *testing.T) {
	own, away := loadedPage("Nothing here"), loaded{Page: &client.Page{}, err: errors.New("refused")}
	moved := loaded{Page: &client.Page{Status: 302, Header: http.Header{"Location": {"https://login.example.com"}}}}
	absent := loaded{Page: &client.Page{Status: 404, Body: own.Body}} // whatever it shows
	const here = "https://vault.example.com/v1/c"
	says(t, judgePublicURL("c", here, own, own), well, here)
	says(t, judgePublicURL("c", "http://127.0.0.1/v1/c", own, own), well, "")
	says(t, judgePublicURL("c", "http://vault.example.com/v1/c", own, own), warning, "plain http")
	for words, other := range map[string]loaded{
		"another page, Welcome": loadedPage("Welcome"), "refused": away, "login.example.com": moved, "404": absent,
	} {
		f := judgePublicURL("c", here, other, own)
		says(t, f, failure, words)
		assert.Contains(t, f.NextStep, "vault write c/config public_url")
	}
	says(t, judgePublicURL("c", here, own, away), warning, "refused")

	csp := loadedPage("x", "Content-Security-Policy", "frame-ancestors 'none'")
	says(t, judgeFraming("c", csp, loadedPage("x", "X-Frame-Options", "DENY")), well, "")
	says(t, judgeFraming("c", csp, loadedPage("x", "Content-Security-Policy", "default-src 'none'")), warning,
		"-allowed-response-headers=X-Frame-Options -allowed-response-headers=Referrer-Policy c/")
	says(t, judgeFraming("c", away), warning, "refused")
}

func TestJudgeProvider(t *testing.T) {
	d := definition(t, `{"key_fields": {"developer_token": {"required": true, "secret": true, "set_by": "provider"},
		"manager": {"set_by": "provider"}, "api_key": {"required": true, "set_by": "connection"}}}`)
	consent := []string{kindConsent}
	for _, c := range []struct {
		p    client.Provider
		says []string
	}{
		{client.Provider{Kinds: []string{"api_key"}, KeyFieldsSet: []string{"developer_token"}}, nil},
		{client.Provider{Kinds: consent, KeyFieldsSet: []string{"developer_token"}}, nil}, // for keys alone
		{client.Provider{Kinds: consent, ClientID: "i", ClientAuth: "none", KeyFieldsSet: []string{"developer_token"}}, nil},
		{client.Provider{Kinds: consent, ClientID: "i", ClientSecretSet: true}, []string{"no developer_token"}},
		{client.Provider{Kinds: consent, ClientID: "i"}, []string{"no client secret", "no developer_token"}},
	} {
		found := judgeProvider("p", &c.p, d)
		require.Len(t, found, len(c.says), "%+v", c.p)
		for i, words := range c.says {
			says(t, found[i], warning, words)
			assert.Equal(t, "provider p", found[i].Check)
		}
	}
}

// Each thing that somebody should act on is told, by itself.
func TestJudgeStatus(t *testing.T) {
	one := func(change string) []finding {
		s := &client.Status{Writable: true}
		require.NoError(t, json.Unmarshal([]byte(change), s), change)
		return judgeStatus("c", s, nil)
	}
	sound := one(`{"connections": 3, "by_status": {"active": 3}, "webhooks": {"w": {"failures": 0}}}`)
	require.Len(t, sound, 1)
	says(t, sound[0], well, "3 connections")
	for change, c := range map[string][2]string{
		`{"refresh_paused": true, "refresh_paused_reason": "fence"}`: {warning, "paused: fence"},
		`{"writable": false}`:    {warning, "active node"},
		`{"unreadable": 2}`:      {failure, "2 entries"},
		`{"unsaved": 1}`:         {failure, "refuses"},
		`{"doubtful_writes": 1}`: {warning, "may still land"},
		`{"overdue": 1}`:         {warning, "overdue"},
		`{"retrying": 1}`:        {warning, "could not be refreshed"},
		`{"circuits": {"slack": {"state": "open", "until": "t1"}}}`:       {warning, "until t1"},
		`{"circuits": {"slack": {"state": "refused"}}}`:                   {warning, "provider rotate slack"},
		`{"frozen": {"mount": true, "reason": "leak"}}`:                   {warning, "frozen: leak"},
		`{"frozen": {"owners": ["org/a"]}}`:                               {warning, "org/a"},
		`{"frozen": {"providers": {"slack": "breach"}}}`:                  {warning, "c/providers/slack frozen=false"},
		`{"moved_callbacks": ["slack"]}`:                                  {failure, "provider show slack"},
		`{"rotation_due_providers": ["slack"]}`:                           {warning, "provider rotate slack"},
		`{"rotation_due": 1}`:                                             {warning, "--rotation-due"},
		`{"by_status": {"needs_reconnect": 2}}`:                           {warning, "--status needs_reconnect"},
		`{"by_status": {"failed_validation": 2}}`:                         {warning, "--status failed_validation"},
		`{"by_status": {"expired": 2}}`:                                   {warning, "--status expired"},
		`{"reconnect_soon": 1}`:                                           {warning, "--reconnect-within"},
		`{"scope_drift": 1}`:                                              {warning, "--scope-drift"},
		`{"owners_missing_held": 1}`:                                      {warning, "--owner-missing"},
		`{"webhooks": {"w": {"disabled": true, "failures": 3}}}`:          {warning, "w is disabled"},
		`{"webhooks": {"w": {"failures": 3}}}`:                            {warning, "failed 3 times"},
		`{"restored_gap": -7, "restored_gap_since": "2026-01-01T00:00Z"}`: {warning, "since 2026-01-01"},
		`{"restored_gap": 7, "restored_gap_since": "2026-01-01T00:00Z"}`:  {warning, "for 7 seconds"},
	} {
		found := one(change)
		if assert.Len(t, found, 1, change) {
			says(t, found[0], c[0], c[1])
		}
	}
	says(t, judgeStatus("c", nil, denied)[0], warning, "may not read status")
	says(t, judgeStatus("c", nil, &client.Error{Status: 500, Messages: []string{"damaged"}})[0], failure, "damaged")
}

func TestJudgeAbility(t *testing.T) {
	connect := abilities[0]
	all, root, part := map[string][]string{}, map[string][]string{}, map[string][]string{}
	for path, wanted := range connect.wants {
		all[path], root[path], part[path] = wanted, []string{"root"}, []string{"deny"}
	}
	part["exchange"] = []string{"update"}
	for _, may := range []map[string][]string{all, root} {
		f, some := connect.judge(may)
		says(t, f, well, "yes")
		assert.True(t, some)
	}
	f, some := connect.judge(part)
	says(t, f, warning, "read catalog")
	assert.True(t, some)
	f, some = connect.judge(nil)
	says(t, f, well, "own.hcl")
	assert.False(t, some, "what is not for everybody is no fault")
	part = map[string][]string{"status": {"read"}}
	f, _ = abilities[1].judge(part)
	says(t, f, well, "update config")
}

// A finding shows its result, and its next step on a line of its own.
func TestShowFindings(t *testing.T) {
	a := newApp(t)
	require.NoError(t, a.showFindings([]finding{
		{"clock", well, "they agree", ""}, {"token", failure, "none\x1b[2J", "log in"},
	}))
	text, err := readAll(a)
	require.NoError(t, err)
	assert.Equal(t, "RESULT   CHECK  FOUND\nok       clock  they agree\nfailure  token  none\\x1b[2J\n"+
		"                next: log in\n", text)
	names := slices.Sorted(func(yield func(string) bool) {
		for _, f := range reflect.VisibleFields(reflect.TypeFor[finding]()) {
			if !yield(f.Tag.Get("json")) {
				return
			}
		}
	})
	assert.Equal(t, "check found next_step result", strings.Join(names, " "), "as the page says")
}

// Who reads the result by its exit code hears of one failure, too; what is no fault is none.
func TestDoctor(t *testing.T) {
	all := map[string]any{}
	for _, one := range abilities {
		for path, wanted := range one.wants {
			all["connectors/"+path] = wanted
		}
	}
	consent := map[string]any{
		"definition": "oauth2", "client_id": "i", "client_secret_set": true, "kinds": []any{kindConsent},
	}
	for name, c := range map[string]struct {
		change func(docs map[string]map[string]any)
		code   int
		says   string
	}{
		"nobody connects by a consent": {func(map[string]map[string]any) {}, 0, "warning  public_url"},
		"somebody would": {
			func(docs map[string]map[string]any) { docs["providers/oauth2"] = consent },
			codeFailed, "failure  public_url",
		},
		"a token for nothing": {
			func(docs map[string]map[string]any) { docs["sys/capabilities-self"] = map[string]any{} },
			codeFailed, "failure  policies",
		},
		"two failures": {func(docs map[string]map[string]any) {
			docs["providers/oauth2"], docs["status"]["unreadable"] = consent, 1
		}, codeFailed, "2 of "},
	} {
		docs := desk()
		docs["auth/token/lookup-self"] = map[string]any{"display_name": "op", "entity_id": "e-1"}
		docs["sys/internal/ui/mounts/connectors"] = map[string]any{"type": client.PluginName}
		docs["status"] = map[string]any{"version": Version, "writable": true}
		docs["sys/capabilities-self"] = all
		c.change(docs)
		v := newVault(t, docs)
		v.before = func(w http.ResponseWriter, r *http.Request) bool {
			switch {
			case r.URL.Path == "/v1/sys/health":
				_ = json.NewEncoder(w).Encode(answered)
			case strings.Contains(r.URL.Path, "/callback/"):
				_, _ = w.Write([]byte("<title>Vault connectors</title>"))
			default:
				return false
			}
			return true
		}
		got := v.runs(t, "", "doctor")
		assert.Equal(t, c.code, got.code, "%s: %s%s", name, got.out, got.err)
		assert.Contains(t, got.out+got.err, c.says, name)
	}
}
