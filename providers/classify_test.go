package providers

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestClassify(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	def := &Definition{Failures: []FailureRule{
		{
			Step: []string{"refresh"}, Status: []int{403}, Path: "error", Is: []string{"unauthorized_client"},
			Class: "rejected",
		},
		{
			Step: []string{"token", "refresh"}, Path: "error", Is: []string{"bad_client_secret"}, Class: "misconfigured",
			Reason: "invalid_client",
		},
		{Step: []string{"refresh"}, Path: "message", Match: "Invalid refresh token.*", Class: "rejected"},
		{Step: []string{"api"}, Path: "error.code", Not: []string{"ok"}, Class: "expired"},
		{Step: []string{"api"}, Status: []int{423}, Class: "forbidden", Reason: "account_locked"},
		{Step: []string{"health"}, Status: []int{403}, Class: "fine"},
		{Step: []string{"token"}, Path: "error", Is: []string{"ratelimited"}, Class: "rate_limited"},
	}}
	okPath := &OK{Path: "ok"}
	type want struct {
		class  Class
		code   string
		reason string
		retry  time.Duration
	}
	for _, test := range []struct {
		name   string
		step   Step
		key    bool
		status int
		body   string
		retry  string
		ok     *OK
		want   want
	}{
		{
			name: "invalid_grant", step: StepRefresh, status: 400, body: `{"error":"invalid_grant"}`,
			want: want{Rejected, "invalid_grant", ReasonRefused, 0},
		},
		{
			name: "invalid_grant with a Retry-After", step: StepRefresh, status: 400, body: `{"error":"invalid_grant"}`,
			retry: "5", want: want{Rejected, "invalid_grant", ReasonRefused, 0},
		},
		{
			name: "invalid_grant under 200", step: StepRefresh, status: 200, body: `{"error":"invalid_grant"}`,
			want: want{Rejected, "invalid_grant", ReasonRefused, 0},
		},
		{
			name: "invalid_grant under 500", step: StepRefresh, status: 500, body: `{"error":"invalid_grant"}`,
			want: want{Transient, "", ReasonServerError, 0},
		},
		{
			name: "invalid_client", step: StepRefresh, status: 401, body: `{"error":"invalid_client"}`,
			want: want{Misconfigured, "invalid_client", ReasonRefused, 0},
		},
		{name: "401 without a body", step: StepToken, status: 401, want: want{Transient, "", ReasonBareUnauthorized, 0}},
		{
			name: "401 with a page of a gateway", step: StepRefresh, status: 401, body: `<html>sign in</html>`,
			want: want{Transient, "", ReasonBareUnauthorized, 0},
		},
		{
			name: "401 with a code where none belongs", step: StepRefresh, status: 401,
			body: `{"error":{"code":"invalid_client"}}`, want: want{Transient, "", ReasonUnexplained, 0},
		},
		{
			name: "401 with an unknown code", step: StepRefresh, status: 401, body: `{"error":"s3cr3t words"}`,
			want: want{Transient, "", ReasonUnexplained, 0},
		},
		{
			name: "unauthorized_client", step: StepRefresh, status: 400, body: `{"error":"unauthorized_client"}`,
			want: want{Misconfigured, "unauthorized_client", ReasonRefused, 0},
		},
		{
			name: "unauthorized_client, but a rule knows better", step: StepRefresh, status: 403,
			body: `{"error":"unauthorized_client"}`, want: want{Rejected, "unauthorized_client", ReasonRefused, 0},
		},
		{
			name: "the same rule is for refreshing only", step: StepToken, status: 403, body: `{"error":"unauthorized_client"}`,
			want: want{Misconfigured, "unauthorized_client", ReasonRefused, 0},
		},
		{
			name: "unsupported_grant_type", step: StepToken, status: 400, body: `{"error":"unsupported_grant_type"}`,
			want: want{Misconfigured, "unsupported_grant_type", ReasonRefused, 0},
		},
		{
			name: "invalid_scope", step: StepToken, status: 400, body: `{"error":"invalid_scope"}`,
			want: want{Misconfigured, "invalid_scope", ReasonRefused, 0},
		},
		{
			name: "invalid_request", step: StepRefresh, status: 400, body: `{"error":"invalid_request"}`,
			want: want{Misconfigured, "invalid_request", ReasonRefused, 0},
		},
		{
			name: "interaction_required", step: StepRefresh, status: 400, body: `{"error":"interaction_required"}`,
			want: want{Rejected, "interaction_required", ReasonRefused, 0},
		},
		{
			name: "temporarily_unavailable under 400", step: StepRefresh, status: 400,
			body: `{"error":"temporarily_unavailable"}`, want: want{Transient, "temporarily_unavailable", ReasonRefused, 0},
		},
		{
			name: "rule by text", step: StepRefresh, status: 400, body: `{"message":"Invalid refresh token: abc"}`,
			want: want{Rejected, "", ReasonRefused, 0},
		},
		{
			name: "rule by text matches the whole", step: StepRefresh, status: 400,
			body: `{"message":"No Invalid refresh token"}`, want: want{Transient, "", ReasonUnexplained, 0},
		},
		{
			name: "rule with a reason", step: StepToken, status: 200, body: `{"ok":false,"error":"bad_client_secret"}`,
			ok: okPath, want: want{Misconfigured, "bad_client_secret", "invalid_client", 0},
		},
		{
			name: "rule for a rate limit", step: StepToken, status: 200, body: `{"error":"ratelimited"}`, retry: "30",
			want: want{RateLimited, "ratelimited", ReasonRefused, 30 * time.Second},
		},
		{
			name: "refused under 200 without a code we know", step: StepToken, status: 200, body: `{"ok":false,"error":"odd"}`,
			ok: okPath, want: want{Transient, "", ReasonUnexplained, 0},
		},
		{
			name: "refused under 200 by predicate alone", step: StepToken, status: 200, body: `{"ok":false}`, ok: okPath,
			want: want{Transient, "", ReasonUnexplained, 0},
		},
		{
			name: "error object under 200", step: StepToken, status: 200, body: `{"error":{"code":9}}`,
			want: want{Transient, "", ReasonUnexplained, 0},
		},
		{name: "429", step: StepRefresh, status: 429, want: want{RateLimited, "", ReasonRateLimited, 0}},
		{
			name: "429 with a date", step: StepRefresh, status: 429, retry: "Sun, 01 Mar 2026 12:02:00 GMT",
			want: want{RateLimited, "", ReasonRateLimited, 2 * time.Minute},
		},
		{
			name: "503 with Retry-After", step: StepRefresh, status: 503, retry: "60",
			want: want{RateLimited, "", ReasonRateLimited, time.Minute},
		},
		{
			name: "500 with a page", step: StepRefresh, status: 500, body: `<html>`,
			want: want{Transient, "", ReasonServerError, 0},
		},
		{
			name: "500 with a code", step: StepToken, status: 500, body: `{"error":"server_error"}`,
			want: want{Transient, "", ReasonServerError, 0},
		},
		{name: "502", step: StepToken, status: 502, want: want{Unknown, "", ReasonServerError, 0}},
		{
			name: "502 with a page", step: StepRefresh, status: 502, body: `<html>Bad Gateway</html>`,
			want: want{Unknown, "", ReasonServerError, 0},
		},
		{
			name: "502 with a code nobody knows", step: StepRefresh, status: 502, body: `{"error":"bad_gateway"}`,
			want: want{Unknown, "", ReasonServerError, 0},
		},
		{
			name: "502 with Retry-After", step: StepRefresh, status: 502, retry: "60",
			want: want{Unknown, "", ReasonServerError, time.Minute},
		},
		{
			name: "502 with a code of the origin", step: StepRefresh, status: 502, body: `{"error":"temporarily_unavailable"}`,
			want: want{Transient, "", ReasonServerError, 0},
		},
		{
			name: "502, but a rule knows better", step: StepRefresh, status: 502, body: `{"message":"Invalid refresh token"}`,
			want: want{Rejected, "", ReasonRefused, 0},
		},
		{name: "502 of an upgrade", step: StepUpgrade, status: 502, want: want{Unknown, "", ReasonServerError, 0}},
		{name: "504", step: StepRefresh, status: 504, want: want{Unknown, "", ReasonServerError, 0}},
		{name: "520", step: StepRefresh, status: 520, want: want{Unknown, "", ReasonServerError, 0}},
		{name: "524", step: StepRefresh, status: 524, want: want{Unknown, "", ReasonServerError, 0}},
		{name: "503", step: StepRefresh, status: 503, want: want{Transient, "", ReasonServerError, 0}},
		{name: "521", step: StepRefresh, status: 521, want: want{Transient, "", ReasonServerError, 0}},
		{name: "522", step: StepRefresh, status: 522, want: want{Transient, "", ReasonServerError, 0}},
		{name: "523", step: StepRefresh, status: 523, want: want{Transient, "", ReasonServerError, 0}},
		{name: "525", step: StepRefresh, status: 525, want: want{Transient, "", ReasonServerError, 0}},
		{name: "526", step: StepRefresh, status: 526, want: want{Transient, "", ReasonServerError, 0}},
		{name: "408", step: StepRefresh, status: 408, want: want{Transient, "", ReasonUnexplained, 0}},
		{name: "400 empty", step: StepRefresh, status: 400, want: want{Transient, "", ReasonUnexplained, 0}},
		{
			name: "403 with a page of a firewall", step: StepRefresh, status: 403, body: `<html>blocked</html>`,
			want: want{Transient, "", ReasonUnexplained, 0},
		},
		{name: "404", step: StepToken, status: 404, want: want{Transient, "", ReasonUnexplained, 0}},
		{name: "redirect", step: StepRefresh, status: 307, want: want{Transient, "", ReasonRedirected, 0}},
		{name: "200 empty", step: StepRefresh, status: 200, want: want{Unknown, "", ReasonEmptyAnswer, 0}},
		{
			name: "200 with a page", step: StepRefresh, status: 200, body: " <html>",
			want: want{Unknown, "", ReasonHTMLAnswer, 0},
		},
		{
			name: "200 cut off", step: StepRefresh, status: 200, body: `{"access_tok`,
			want: want{Unknown, "", ReasonUnreadable, 0},
		},
		{
			name: "200 without a token", step: StepRefresh, status: 200, body: `{}`,
			want: want{Unknown, "", ReasonNoAccessToken, 0},
		},
		{name: "204", step: StepRefresh, status: 204, want: want{Unknown, "", ReasonEmptyAnswer, 0}},

		{name: "api 401", step: StepIdentity, status: 401, want: want{Expired, "", ReasonRefused, 0}},
		{name: "api 403", step: StepIdentity, status: 403, want: want{Forbidden, "", ReasonRefused, 0}},
		{name: "api 404", step: StepIdentity, status: 404, want: want{Transient, "", ReasonUnexplained, 0}},
		{name: "api 503", step: StepIdentity, status: 503, want: want{Transient, "", ReasonServerError, 0}},
		{name: "api 502", step: StepIdentity, status: 502, want: want{Transient, "", ReasonServerError, 0}},
		{
			name: "api refuses under 200", step: StepIdentity, status: 200, body: `{"error":{"code":"access_token_invalid"}}`,
			want: want{Expired, "", ReasonRefused, 0},
		},
		{name: "api rule by status", step: StepIdentity, status: 423, want: want{Forbidden, "", "account_locked", 0}},
		{name: "key 401", step: StepHealth, key: true, status: 401, want: want{Rejected, "", ReasonRefused, 0}},
		{
			name: "key rule of the api", step: StepHealth, key: true, status: 423,
			want: want{Forbidden, "", "account_locked", 0},
		},
		{
			name: "a rule for one step is for no other", step: StepIdentity, key: true, status: 403,
			want: want{Forbidden, "", ReasonRefused, 0},
		},
		{name: "revoke 401", step: StepRevoke, status: 401, want: want{Transient, "", ReasonUnexplained, 0}},
		{name: "revoke 504", step: StepRevoke, status: 504, want: want{Transient, "", ReasonServerError, 0}},
		{name: "discovery 502", step: StepDiscovery, status: 502, want: want{Transient, "", ReasonServerError, 0}},
		{
			name: "revoke unsupported", step: StepRevoke, status: 400, body: `{"error":"unsupported_token_type"}`,
			want: want{Misconfigured, "unsupported_token_type", ReasonRefused, 0},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := call{step: test.step, group: groupOf(test.step)}
			if test.key {
				k.group = groupKey
			}
			r := &reply{
				status: test.status, header: http.Header{}, body: []byte(test.body), doc: decodeBody("", []byte(test.body)),
			}
			r.header.Set("Retry-After", test.retry)
			e := classify(def, k, r, test.ok, now)
			require.NotNil(t, e)
			assert.Equal(t, test.want, want{e.Class, e.Code, e.Reason, e.RetryAfter})
			assert.Equal(t, test.status, e.Status)
			assert.NotContains(t, e.Error(), "s3cr3t")
		})
	}
	fine := classify(def, call{step: StepHealth, group: groupKey}, &reply{status: 403, header: http.Header{}}, nil, now)
	assert.Nil(t, fine, "a rule may call a refusal fine")
}

// TestServiceSaysNo holds what counts as the service's own refusal, as opposed to a gateway's or to an answer lost.
func TestServiceSaysNo(t *testing.T) {
	for body, want := range map[string]struct {
		status int
		class  Class
		no     bool
	}{
		`{"error":"invalid_request","error_description":"The refresh_token is invalid."}`: {400, Misconfigured, true},
		`{"error":"unauthorized_client"}`:                                                 {403, Misconfigured, true},
		`{"error":"invalid_client"}`:                                                      {401, Misconfigured, true},
		`{"error":"invalid_token"}`:                                                       {401, Transient, true},
		`{"status":"BAD_REFRESH_TOKEN"}`:                                                  {400, Transient, true},
		`{"errors":[{"errorType":"invalid_grant"}]}`:                                      {401, Transient, true},
		`{"errcode":40030,"errmsg":"invalid token"}`:                                      {200, Transient, true},
		`{"error":"bad_refresh_token"}`:                                                   {200, Transient, true},
		`{"error":"INVALID_GRANT"}`:                                                       {400, Transient, true},
		`{"errorCode":"token_gone"}`:                                                      {200, Transient, true},
		`{"error":{"code":190}}`:                                                          {400, Transient, true},
		`{"code":"bad_token"}`:                                                            {403, Transient, true},
		`error=bad_verification_code`:                                                     {200, Transient, true},
		// nothing to be found out
		`{"error":"invalid_grant"}`:           {400, Rejected, false},
		`{"error":"temporarily_unavailable"}`: {400, Transient, false},
		`{"error":"invalid_request"} `:        {503, Transient, false},
		`{"error":"slow_down"}`:               {400, RateLimited, false},
		// as gateways say
		`{"message":"Unauthorized"}`:       {401, Transient, false},
		`{"status":401,"path":"/token"}`:   {401, Transient, false},
		`<html>{"error":"blocked"}</html>`: {403, Transient, false},
		`{"error":"request timed out"}`:    {408, Transient, false},
		`{"error":"lost"}`:                 {502, Unknown, false},
		// it may have been spent
		`{"errcode":0,"data":{"access_token":"t"}}`:    {200, Unknown, false},
		`{"code":"ok","data":{"access_token":"t"}}`:    {200, Unknown, false},
		`{"errors":[],"data":{"access_token":"t"}}`:    {200, Unknown, false},
		`{"error":null,"result":{"access_token":"t"}}`: {200, Unknown, false},
	} {
		r := &reply{status: want.status, header: http.Header{}, body: []byte(body), doc: decodeBody("", []byte(body))}
		e := classify(&Definition{}, call{step: StepRefresh, group: groupRefresh}, r, nil, time.Now())
		assert.Equal(t, want.class, e.Class, body)
		assert.Equal(t, want.no, e.SaysNo, body)

		e = classify(&Definition{}, call{step: StepIdentity, group: groupAPI}, r, nil, time.Now())
		assert.False(t, e.SaysNo, body)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                              0,
		"0":                             0,
		"90":                            90 * time.Second,
		"-5":                            0,
		"1.5":                           0,
		"86400":                         24 * time.Hour,
		"86401":                         24 * time.Hour,
		"18446744073709551615":          24 * time.Hour,
		"184467440737095516150":         0,
		"soon":                          0,
		"Sun, 01 Mar 2026 13:00:00 GMT": time.Hour,
		"Sun, 01 Mar 2026 11:00:00 GMT": 0,
		"Mon, 01 Mar 2027 12:00:00 GMT": 24 * time.Hour,
	} {
		assert.Equal(t, want, RetryAfter(header, now), header)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "120", "-1", "99999999999999999999", "Sun, 01 Mar 2026 13:00:00 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, header string) {
		if wait := RetryAfter(header, now); wait < 0 || wait > maxRetryAfter {
			t.Fatalf("%q gives %v", header, wait)
		}
	})
}
