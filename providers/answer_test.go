package providers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// canned answers every request alike.
type canned struct {
	status int
	header http.Header
	body   string
}

func (a canned) Do(*http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	for name, values := range a.header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.status)
	_, _ = w.WriteString(a.body)
	return w.Result(), nil
}

func TestTokenAnswer(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	hour := now.Add(time.Hour)
	never := time.Time{}
	slack := TokenCall{OK: &OK{Path: "ok"}, Answer: Answer{
		AccessToken: []string{"authed_user.access_token", "access_token"}, Scope: []string{"authed_user.scope"},
		ExpiresIn: []string{"authed_user.expires_in"}, RefreshToken: []string{"authed_user.refresh_token"},
	}}
	for _, test := range []struct {
		name     string
		body     string
		status   int // 200 when 0
		ctype    string
		token    TokenCall
		lifetime Lifetime
		scopes   Scopes
		assumed  time.Duration

		access  string // "tok" when neither this nor class is given
		refresh string
		kind    string
		expires time.Time
		granted []string
		class   Class
		reason  string
	}{
		{
			name:    "plain",
			body:    `{"access_token":"tok","token_type":"Bearer","expires_in":3600,"refresh_token":"ref","scope":"a b"}`,
			refresh: "ref", kind: "Bearer", expires: hour, granted: []string{"a", "b"},
		},
		{name: "201", status: 201, body: `{"access_token":"tok","expires_in":3600}`, expires: hour},
		{name: "JSON under text/html", ctype: "text/html", body: `{"access_token":"tok","expires_in":3600}`, expires: hour},
		{name: "byte order mark", body: "\ufeff" + `{"access_token":"tok"}`, expires: never},
		{
			name: "form", ctype: "application/x-www-form-urlencoded",
			body: `access_token=tok&expires_in=3600&scope=a%2Cb&token_type=bearer`, scopes: Scopes{Join: ","}, expires: hour,
			kind: "bearer", granted: []string{"a", "b"},
		},
		{name: "form under text/plain", ctype: "text/plain", body: `access_token=tok`},
		{
			name: "form error under 200", ctype: "application/x-www-form-urlencoded",
			body: `error=invalid_grant&error_description=x`, class: Rejected, reason: ReasonRefused,
		},
		{name: "form under JSON", body: `access_token=tok`, class: Unknown, reason: ReasonUnreadable},

		{name: "expires_in as a string", body: `{"access_token":"tok","expires_in":"3600"}`, expires: hour},
		{name: "expires_in as a float", body: `{"access_token":"tok","expires_in":3600.0}`, expires: hour},
		{
			name: "expires_in with a fraction", body: `{"access_token":"tok","expires_in":3599.5}`,
			expires: hour.Add(-500 * time.Millisecond),
		},
		{name: "expires_in with an exponent", body: `{"access_token":"tok","expires_in":3.6e3}`, expires: hour},
		{
			name: "expires_in huge", body: `{"access_token":"tok","expires_in":99999999999999999999}`,
			expires: now.Add(maxLifetime),
		},
		{
			name: "expires_in beyond a float", body: `{"access_token":"tok","expires_in":1e999}`,
			expires: now.Add(maxLifetime),
		},
		{name: "expires_in null", body: `{"access_token":"tok","expires_in":null}`, expires: never},
		{name: "expires_in empty", body: `{"access_token":"tok","expires_in":""}`, expires: never},
		{name: "expires_in missing", body: `{"access_token":"tok"}`, expires: never},
		{name: "expires_in missing, operator assumes", body: `{"access_token":"tok"}`, assumed: time.Hour, expires: hour},
		{
			name: "expires_in told, operator assumes", body: `{"access_token":"tok","expires_in":3600}`, assumed: 2 * time.Hour,
			expires: hour,
		},
		{
			name: "expires_in missing, definition knows", body: `{"access_token":"tok"}`,
			lifetime: Lifetime{Absent: Duration{Set: true, D: time.Hour}}, expires: hour,
		},
		{
			name: "expires_in missing, operator over definition", body: `{"access_token":"tok"}`, assumed: time.Hour,
			lifetime: Lifetime{Absent: Duration{Set: true, Never: true}}, expires: hour,
		},
		{
			name: "expires_in missing, never", body: `{"access_token":"tok","refresh_token":"ref"}`,
			lifetime: Lifetime{Absent: Duration{Set: true, Never: true}}, refresh: "ref", expires: never,
		},
		{
			name: "expires_in missing, token call over definition", body: `{"access_token":"tok"}`,
			token:    TokenCall{Lifetime: Lifetime{Absent: Duration{Set: true, D: time.Hour}}},
			lifetime: Lifetime{Absent: Duration{Set: true, Never: true}}, expires: hour,
		},
		{
			name: "expires_in negative, refreshable", body: `{"access_token":"tok","expires_in":-1,"refresh_token":"ref"}`,
			refresh: "ref", expires: now.Add(fallbackLifetime),
		},
		{name: "expires_in negative, not refreshable", body: `{"access_token":"tok","expires_in":-1}`, expires: never},
		{
			name: "expires_in negative, operator assumes", body: `{"access_token":"tok","expires_in":-1}`, assumed: time.Hour,
			expires: hour,
		},
		{
			name: "expires_in is a word", body: `{"access_token":"tok","expires_in":"soon","refresh_token":"ref"}`,
			refresh: "ref", expires: now.Add(fallbackLifetime),
		},
		{
			name: "expires_in is nan", body: `{"access_token":"tok","expires_in":"NaN","refresh_token":"ref"}`, refresh: "ref",
			expires: now.Add(fallbackLifetime),
		},
		{
			name: "expires_in is an object", body: `{"access_token":"tok","expires_in":{"s":1},"refresh_token":"ref"}`,
			refresh: "ref", expires: now.Add(fallbackLifetime),
		},
		{
			name: "expires_in 0 never", body: `{"access_token":"tok","expires_in":0,"refresh_token":"ref"}`, refresh: "ref",
			lifetime: Lifetime{Zero: Duration{Set: true, Never: true}}, expires: never,
		},
		{
			name: "expires_in 0 known", body: `{"access_token":"tok","expires_in":0}`,
			lifetime: Lifetime{Zero: Duration{Set: true, D: time.Hour}}, expires: hour,
		},
		{
			name: "expires_in 0 unexplained", body: `{"access_token":"tok","expires_in":0,"refresh_token":"ref"}`,
			refresh: "ref", expires: now.Add(fallbackLifetime),
		},

		{
			name: "expires_at", body: `{"token":"tok","expires_at":"2026-03-01T13:00:00Z"}`,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at with an offset", body: `{"token":"tok","expires_at":"2026-03-01T14:00:00+01:00"}`,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at in Unix seconds", body: `{"token":"tok","expires_at":1772370000}`,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at in Unix seconds, as text with a fraction", body: `{"token":"tok","expires_at":"1772370000.0"}`,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at in Unix milliseconds", body: `{"token":"tok","expires_at":1772370000000}`,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at 0, assumed", body: `{"token":"tok","expires_at":0}`, assumed: time.Hour,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name: "expires_at far away", body: `{"token":"tok","expires_at":"9999-12-31T23:59:59Z"}`,
			token:   TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}},
			expires: now.Add(maxLifetime),
		},
		{
			name: "expires_at past, assumed", body: `{"token":"tok","expires_at":"2020-01-01T00:00:00Z"}`, assumed: time.Hour,
			token: TokenCall{Answer: Answer{AccessToken: []string{"token"}, ExpiresAt: []string{"expires_at"}}}, expires: hour,
		},
		{
			name:  "issued earlier",
			body:  fmt.Sprintf(`{"access_token":"tok","expires_in":7200,"issued_at":%d}`, now.Add(-time.Hour).Unix()),
			token: TokenCall{Answer: Answer{IssuedAt: []string{"issued_at"}}}, expires: hour,
		},
		{
			name:  "issued in the future is not believed",
			body:  fmt.Sprintf(`{"access_token":"tok","expires_in":3600,"issued_at":%d}`, now.Add(time.Hour).Unix()),
			token: TokenCall{Answer: Answer{IssuedAt: []string{"issued_at"}}}, expires: hour,
		},

		{
			name:  "nested",
			body:  `{"ok":true,"access_token":"bot","token_type":"bot","authed_user":{"access_token":"tok","token_type":"user","scope":"a,b","expires_in":3600,"refresh_token":"ref"}}`,
			token: slack, scopes: Scopes{Join: ","}, refresh: "ref", kind: "user", expires: hour, granted: []string{"a", "b"},
		},
		{
			name: "nested, the second path", body: `{"ok":true,"access_token":"tok","token_type":"bot"}`, token: slack,
			kind: "bot",
		},
		{
			name: "predicate over a token", body: `{"ok":false,"access_token":"tok"}`, token: slack, class: Transient,
			reason: ReasonUnexplained,
		},
		{
			name: "first element", body: `{"data":[{"access_token":"tok","permissions":["a","b"]}]}`,
			token: TokenCall{
				Answer: Answer{AccessToken: []string{"data[0].access_token"}, Scope: []string{"data[0].permissions"}},
			},
			granted: []string{"a", "b"},
		},
		{name: "scopes as a list", body: `{"access_token":"tok","scope":["a","b","a",7,""]}`, granted: []string{"a", "b"}},
		{
			name: "scopes with another separator", body: `{"access_token":"tok","scope":"a,b, c"}`,
			scopes: Scopes{Returned: ","}, granted: []string{"a", "b", "c"},
		},
		{name: "scope empty", body: `{"access_token":"tok","scope":""}`},
		{name: "token with an error member", body: `{"access_token":"tok","error":null,"error_description":""}`},
		{name: "unknown token type", body: `{"access_token":"tok","token_type":"DPoP-ish"}`, kind: "DPoP-ish"},
		{name: "token type with a line break", body: `{"access_token":"tok","token_type":"a\nb"}`},

		{
			name: "token with a line break", body: `{"access_token":"a\r\nX-Evil: 1"}`, class: Unknown,
			reason: ReasonUnusableToken,
		},
		{
			name: "refresh token with a control character", body: `{"access_token":"tok","refresh_token":"a\u0000"}`,
			class: Unknown, reason: ReasonUnusableToken,
		},
		{
			name: "token over the limit", body: `{"access_token":"` + strings.Repeat("a", maxToken+1) + `"}`, class: Unknown,
			reason: ReasonUnusableToken,
		},
		{
			name: "token at the limit", body: `{"access_token":"` + strings.Repeat("a", maxToken) + `"}`,
			access: strings.Repeat("a", maxToken),
		},
		{name: "token is a number", body: `{"access_token":12345}`, class: Unknown, reason: ReasonNoAccessToken},
		{name: "token is empty", body: `{"access_token":""}`, class: Unknown, reason: ReasonNoAccessToken},
		{
			name: "answer over the limit", body: `{"access_token":"tok","pad":"` + strings.Repeat("x", maxAnswer) + `"}`,
			class: Unknown, reason: ReasonAnswerTooLarge,
		},
		{name: "two values", body: `{"access_token":"tok"}{}`, class: Unknown, reason: ReasonUnreadable},
		{name: "empty", body: ``, class: Unknown, reason: ReasonEmptyAnswer},
		{name: "list", body: `[]`, class: Unknown, reason: ReasonNoAccessToken},
		{
			name: "page under 500", status: 500, ctype: "text/html", body: `<html>`, class: Transient,
			reason: ReasonServerError,
		},
		{name: "redirect", status: 302, class: Transient, reason: ReasonRedirected},
	} {
		t.Run(test.name, func(t *testing.T) {
			app := &App{
				Definition: &Definition{
					Endpoints: map[Step]Template{StepToken: "https://provider.test/token"},
					Client:    ClientSpec{Auth: []string{"post"}},
					Token:     test.token, Lifetime: test.lifetime, Scopes: test.scopes,
				},
				ClientID: "id", ClientSecret: NewSecret("secret"), AssumedTTL: test.assumed,
			}
			answer := canned{status: 200, header: http.Header{"Content-Type": {"application/json"}}, body: test.body}
			if test.status != 0 {
				answer.status = test.status
			}
			if test.ctype != "" {
				answer.header.Set("Content-Type", test.ctype)
			}
			client := NewClient(answer, func() time.Time { return now }, "")
			res, err := client.Resolve(t.Context(), app, KindAuthorizationCode, nil)
			require.NoError(t, err)
			g, err := client.Exchange(t.Context(), app, ExchangeRequest{
				Resolved: res, Code: NewSecret("code"), Scopes: []string{"asked"},
			})
			if test.class != "" {
				var failure *Error
				require.ErrorAs(t, err, &failure)
				assert.Equal(t, test.class, failure.Class)
				assert.Equal(t, test.reason, failure.Reason)
				return
			}
			require.NoError(t, err)
			access, granted := test.access, test.granted
			if access == "" {
				access = "tok"
			}
			if granted == nil {
				granted = []string{"asked"}
			}
			assert.Equal(t, access, g.AccessToken.Reveal())
			assert.Equal(t, test.refresh, g.RefreshToken.Reveal())
			assert.Equal(t, test.kind, g.TokenType)
			assert.Equal(t, test.expires, g.Expires)
			assert.Equal(t, now, g.Issued)
			assert.Equal(t, granted, g.Scopes)
		})
	}
}

func FuzzTokenAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"access_token":"tok","expires_in":3600,"scope":"a b"}`, `access_token=tok&expires_in=1`,
		`{"access_token":"tok","expires_in":-1e400}`,
		`{"error":"invalid_grant"}`, ``, `<html>`, `{"access_token":"a\n"}`, `[1]`,
	} {
		f.Add(200, seed)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	app := &App{ClientID: "id", Definition: &Definition{
		Endpoints: map[Step]Template{StepToken: "https://provider.test/token"},
		Token: TokenCall{
			Answer: Answer{ExpiresAt: []string{"expires_at"}, IssuedAt: []string{"issued_at"}, RefreshTTL: []string{"r"}},
		},
	}}
	res := Resolved{Endpoints: map[Step]string{StepToken: "https://provider.test/token"}, ClientAuth: "none"}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		client := NewClient(canned{status: status, body: body}, func() time.Time { return now }, "")
		g, err := client.Exchange(t.Context(), app, ExchangeRequest{Resolved: res, Code: NewSecret("code")})
		switch {
		case err != nil && g != nil, err == nil && g == nil:
			t.Fatal("either a grant or an error")
		case err != nil:
			return
		case g.AccessToken.IsZero(), hasControl(g.AccessToken.Reveal()), len(g.AccessToken.Reveal()) > maxToken:
			t.Fatal("a token that cannot be used")
		case !g.Expires.IsZero() && (!g.Expires.After(now) || g.Expires.After(now.Add(maxLifetime))):
			t.Fatalf("expiry %v", g.Expires)
		}
	})
}

// The same reading, from a definition as people write it.
func TestDecodedDefinition(t *testing.T) {
	def, err := Decode("chat.yaml", []byte(`
id: chat
name: Chat
summary: Messages and channels.
category: communication
kinds: [authorization_code]
sources: [https://chat.example.com/docs]
endpoints:
  authorize: https://chat.example.com/authorize
  token: https://chat.example.com/token
client: {auth: [post]}
scopes: {param: user_scope, join: ','}
token:
  ok: {path: ok}
  answer:
    access_token: [user.access_token, access_token]
    expires_in: [user.expires_in]
    scope: [user.scope]
refresh: {token: may_rotate}
lifetime: {when_absent: never}
account: {id: ['token:user.id']}
connection_config:
  - {name: team_id, from: token, path: [team.id]}
failures:
  - {step: [token, refresh], path: error, is: [bad_secret], class: misconfigured, reason: invalid_client}
`))
	require.NoError(t, err)
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	app := &App{Definition: def, ClientID: "id", ClientSecret: NewSecret("secret")}
	exchange := func(body string) (*Grant, error) {
		client := NewClient(canned{status: 200, body: body}, func() time.Time { return now }, "")
		res, err := client.Resolve(t.Context(), app, KindAuthorizationCode, nil)
		require.NoError(t, err)
		return client.Exchange(t.Context(), app, ExchangeRequest{Resolved: res, Code: NewSecret("code")})
	}
	g,
		err := exchange(`{"ok":true,"user":{"id":18446744073709551616,"access_token":"tok","scope":"a,b"},"team":{"id":"T1"}}`)
	require.NoError(t, err)
	assert.Equal(t, "tok", g.AccessToken.Reveal())
	assert.Equal(t, []string{"a", "b"}, g.Scopes)
	assert.True(t, g.Expires.IsZero())
	assert.Equal(t, "18446744073709551616", g.Account.ID)
	assert.Equal(t, map[string]string{"team_id": "T1"}, g.Config)

	_, err = exchange(`{"ok":false,"error":"bad_secret"}`)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, Misconfigured, failure.Class)
	assert.Equal(t, "bad_secret", failure.Code)
	assert.True(t, app.MayRotate(KindAuthorizationCode))
}
