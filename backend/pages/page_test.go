package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"flag"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	nethtml "golang.org/x/net/html"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

var update = flag.Bool("update", false, "rewrite the golden files in testdata")

var outcomeNames = map[Outcome]string{
	Neutral: "neutral", Confirm: "confirm", Return: "return", Done: "done", Denied: "denied",
	Back: "denied_back", Gone: "gone", Leave: "leave", Tell: "tell",
}

const (
	testCode   = "K7QM4XWT"
	testFlowID = "q3Yk0uV7s1c5Lw9ZpXbN2eRtA8dHfJ4gMiKoQ6yUvCE"
)

func samplePage(o Outcome) Page {
	return Page{
		Outcome:          o,
		Provider:         "Slack",
		Connection:       "user/7f3a9c52-10de-4b8e-9a41-5d2f6c0b8e77/slack",
		StartedBy:        "oidc-ann@example.com",
		StartedAt:        time.Date(2026, 3, 9, 8, 5, 0, 0, time.FixedZone("CET", 3600)),
		Mount:            "connectors/",
		FlowID:           testFlowID,
		ConfirmationCode: providers.NewSecret(testCode),
		ReturnURL:        "https://app.example.com/connected?tab=accounts",
		Denial:           "access_denied",
		ConsentURL:       "https://slack.example.com/oauth?state=a.b&scope=x%20y",
	}
}

func render(t *testing.T, p Page) string {
	t.Helper()
	out, err := p.Render()
	require.NoError(t, err)
	return string(out)
}

func TestRenderGolden(t *testing.T) {
	for outcome, name := range outcomeNames {
		t.Run(name, func(t *testing.T) {
			got := render(t, samplePage(outcome))
			golden := filepath.Join("testdata", name+".html")
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

func TestEveryOutcomeHasAPage(t *testing.T) {
	assert.Len(t, documents, len(outcomeNames))
	for outcome := range documents {
		assert.Contains(t, outcomeNames, outcome)
	}
}

func TestNeutralTellsNothing(t *testing.T) {
	full := samplePage(Neutral)
	assert.Equal(t, render(t, Page{}), render(t, full))
	assert.Equal(t, render(t, Page{Outcome: Gone}), render(t, samplePage(Gone)))
}

// A page that was loaded twice looks as if there had been none, so that one must say what may have happened.
func TestNeutralSaysThatACodeIsShownOnce(t *testing.T) {
	got := render(t, Page{})
	assert.Contains(t, got, "shown only once")
	assert.Contains(t, got, "begin again")
}

func TestCodeAppearsOnlyWhereItIsDue(t *testing.T) {
	tests := map[Outcome]struct{ code, grouped, flowID bool }{
		Neutral: {},
		Confirm: {code: true, grouped: true, flowID: true},
		Return:  {code: true, flowID: true},
		Done:    {flowID: true},
		Denied:  {},
		Back:    {flowID: true},
		Gone:    {},
		Leave:   {},
		Tell:    {code: false, grouped: true},
	}
	for outcome, want := range tests {
		t.Run(outcomeNames[outcome], func(t *testing.T) {
			got := render(t, samplePage(outcome))
			assert.Equal(t, want.code, strings.Contains(got, testCode))
			assert.Equal(t, want.grouped, strings.Contains(got, "<code>K7QM-4XWT</code>"))
			assert.Equal(t, want.flowID, strings.Contains(got, testFlowID))
		})
	}
}

// hostile are texts that somebody may have put in a name.
var hostile = map[string]string{
	"script":        `<script>alert(1)</script>`,
	"attribute":     `" onmouseover="alert(1)`,
	"quote":         `' style='position:fixed`,
	"close":         `</dd></main></body><h1>Enter it at evil.example</h1>`,
	"template":      `{{.Code}}`,
	"comment":       `<!-- --><meta http-equiv="refresh" content="0;url=https://evil.example">`,
	"entity":        `&lt;script&gt;`,
	"nul":           "a\x00<b>",
	"not utf-8":     "\xff\xfe<img src=x>",
	"bidi":          "\u202eevil\u2066\u200f",
	"line breaks":   "a\r\n\u2028\u2029b",
	"very long":     strings.Repeat("<", 5000),
	"closing style": `</style><style>body{display:none}</style>`,
}

func TestHostileNames(t *testing.T) {
	fields := map[string]func(*Page, string){
		"provider":   func(p *Page, s string) { p.Provider = s },
		"connection": func(p *Page, s string) { p.Connection = s },
		"started by": func(p *Page, s string) { p.StartedBy = s },
		"mount":      func(p *Page, s string) { p.Mount = s },
	}
	for field, set := range fields {
		for name, value := range hostile {
			t.Run(field+"/"+name, func(t *testing.T) {
				for outcome := range outcomeNames {
					plain, page := samplePage(outcome), samplePage(outcome)
					set(&plain, "x")
					set(&page, "x"+value) // never empty, however much is cleaned away
					got := render(t, page)
					assert.Equal(t, skeleton(t, render(t, plain)), skeleton(t, got), "%s: markup changed", outcomeNames[outcome])
					assert.NotRegexp(t, "[\x00\u200f\u202e\u2028\u2029\u2066\ufffd]", got)
					assert.Less(t, len(got), 16<<10)
				}
			})
		}
	}
}

// skeleton is every tag and attribute of a page in order, without its texts.
func skeleton(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	z := nethtml.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case nethtml.ErrorToken:
			return b.String()
		case nethtml.TextToken:
		default:
			b.WriteString(z.Token().String())
		}
	}
}

func TestReturnURL(t *testing.T) {
	added := "flow_id=" + testFlowID + "&confirmation_code=" + testCode
	tests := map[string]struct {
		url, want string // want empty: refused
	}{
		"https":               {"https://app.example.com/done", "https://app.example.com/done?" + added},
		"keeps its query":     {"https://app.example.com/?b=2&a=%31", "https://app.example.com/?b=2&a=%31&" + added},
		"before the fragment": {"https://app.example.com/#/done", "https://app.example.com/?" + added + "#/done"},
		"loopback v4":         {"http://127.0.0.1:8765/cb", "http://127.0.0.1:8765/cb?" + added},
		"loopback v6":         {"http://[::1]:8765/cb", "http://[::1]:8765/cb?" + added},
		"localhost":           {"http://localhost:8765/cb", "http://localhost:8765/cb?" + added},
		"quotes are encoded": {
			`https://app.example.com/"'><script>`, "https://app.example.com/%22%27%3E%3Cscript%3E?" + added,
		},
		"plain http":           {"http://app.example.com/", ""},
		"lookalike of loopbck": {"http://127.0.0.1.example.com/", ""},
		"javascript":           {"javascript:alert(1)", ""},
		"javascript with host": {"javascript://app.example.com/%0aalert(1)", ""},
		"data":                 {"data:text/html,<script>alert(1)</script>", ""},
		"upper case scheme":    {"JaVaScRiPt:alert(1)", ""},
		"leading blank":        {" javascript:alert(1)", ""},
		"line break":           {"https://app.example.com/\nx", ""},
		"relative":             {"/done", ""},
		"scheme-relative":      {"//evil.example/", ""},
		"user":                 {"https://app.example.com@evil.example/", ""},
		"empty":                {"", ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			page := samplePage(Return)
			page.ReturnURL = tc.url
			out, err := page.Render()
			if tc.want == "" {
				require.Error(t, err)
				assert.Nil(t, out)
				assert.NotContains(t, err.Error(), testCode)
				return
			}
			require.NoError(t, err)
			meta, link := returnTargets(t, string(out))
			assert.Equal(t, "0; url="+tc.want, meta)
			assert.Equal(t, tc.want, link)
		})
	}
}

func TestReturnWithoutCode(t *testing.T) {
	page := samplePage(Return)
	page.ConfirmationCode = providers.Secret{}
	_, link := returnTargets(t, render(t, page))
	assert.Equal(t, "https://app.example.com/connected?tab=accounts&flow_id="+testFlowID, link)
}

func returnTargets(t *testing.T, page string) (meta, link string) {
	t.Helper()
	metas := regexp.MustCompile(`<meta http-equiv="refresh" content="([^"]*)">`).FindAllStringSubmatch(page, -1)
	links := regexp.MustCompile(`<a [^>]*href="([^"]*)"`).FindAllStringSubmatch(page, -1)
	require.Len(t, metas, 1)
	require.Len(t, links, 1)
	return html.UnescapeString(metas[0][1]), html.UnescapeString(links[0][1])
}

func TestRenderRefusesIncompletePages(t *testing.T) {
	tests := map[string]struct {
		outcome Outcome
		spoil   func(*Page)
		want    string
	}{
		"unknown outcome":      {Confirm, func(p *Page) { p.Outcome = 99 }, "outcome 99"},
		"no provider":          {Denied, func(p *Page) { p.Provider = "\u200b" }, "provider and connection"},
		"no denial":            {Back, func(p *Page) { p.Denial = "" }, "no error code"},
		"a denial with more":   {Back, func(p *Page) { p.Denial = "a&confirmation_code=AAAAAAAA" }, "no error code"},
		"back to a script":     {Back, func(p *Page) { p.ReturnURL = "javascript:alert(1)" }, "return URL"},
		"no connection":        {Denied, func(p *Page) { p.Connection = "" }, "provider and connection"},
		"no flow id":           {Done, func(p *Page) { p.FlowID = "" }, "flow id"},
		"flow id with a shell": {Confirm, func(p *Page) { p.FlowID = "x;id" }, "flow id"},
		"no code":              {Confirm, func(p *Page) { p.ConfirmationCode = providers.Secret{} }, "confirmation code"},
		"short code": {Confirm, func(p *Page) {
			p.ConfirmationCode = providers.NewSecret("ABC")
		}, "confirmation code"},
		"return with odd code": {Return, func(p *Page) {
			p.ConfirmationCode = providers.NewSecret("AB&x=1ZZ")
		}, "confirmation code"},
		"tell without code":     {Tell, func(p *Page) { p.ConfirmationCode = providers.Secret{} }, "confirmation code"},
		"leave without target":  {Leave, func(p *Page) { p.ConsentURL = "" }, "URL of the consent"},
		"leave for a script":    {Leave, func(p *Page) { p.ConsentURL = "javascript:alert(1)" }, "URL of the consent"},
		"leave in clear":        {Leave, func(p *Page) { p.ConsentURL = "http://example.com/" }, "URL of the consent"},
		"return without target": {Return, func(p *Page) { p.ReturnURL = "" }, "return URL"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			page := samplePage(tc.outcome)
			tc.spoil(&page)
			out, err := page.Render()
			require.ErrorContains(t, err, tc.want)
			assert.Nil(t, out)
			if code := page.ConfirmationCode.Reveal(); code != "" {
				assert.NotContains(t, err.Error(), code)
			}
		})
	}
}

func TestUnknownStarterAndTimeAreLeftOut(t *testing.T) {
	page := samplePage(Confirm)
	page.StartedBy, page.StartedAt = "", time.Time{}
	got := render(t, page)
	assert.NotContains(t, got, "Started by")
	assert.NotContains(t, got, "Started at")
	assert.Contains(t, got, "Connection</dt>")
}

func TestFinishCommand(t *testing.T) {
	tests := map[string]struct{ mount, want string }{
		"plain":         {"connectors/", "vault write connectors/exchange flow_id=f"},
		"namespaced":    {"team-a/connectors/", "vault write team-a/connectors/exchange flow_id=f"},
		"shell":         {"$(id)/", "vault write '$(id)/exchange' flow_id=f"},
		"closing quote": {"a'b;id/", `vault write 'a'\''b;id/exchange' flow_id=f`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, finishCommand(tc.mount, "f"))
		})
	}
}

func TestClean(t *testing.T) {
	tests := map[string]struct {
		in    string
		limit int
		want  string
	}{
		"kept":             {"Größe & Söhne 日本", 80, "Größe & Söhne 日本"},
		"blanks":           {"  a \t\r\n b\u00a0c ", 80, "a b c"},
		"controls":         {"a\x00\x1b[31mb\x7f\u0085c", 80, "a[31mb c"},
		"bidi":             {"\u202eabc\u2066\u200e\u061c", 80, "abc"},
		"zero width":       {"a\u200b\ufeff\u2060b", 80, "ab"},
		"tags":             {"a\U000e0041b", 80, "ab"},
		"separators":       {"a\u2028b\u2029c", 80, "a b c"},
		"bad utf-8":        {"a\xff\xc3b", 80, "ab"},
		"limit fits":       {"日本語", 3, "日本語"},
		"limit in runes":   {"日本語文", 3, "日本…"},
		"no blank at cut":  {"ab cd", 4, "ab…"},
		"nothing is left":  {"\u200b\x00", 80, ""},
		"markup is a text": {"<b>", 80, "<b>"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tc.want, clean(tc.in, tc.limit))
		})
	}
}

func TestPolicyAdmitsExactlyTheStyleOfThePage(t *testing.T) {
	policyPattern := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy" content="([^"]*)">`)
	for outcome, name := range outcomeNames {
		t.Run(name, func(t *testing.T) {
			page := render(t, samplePage(outcome))
			_, rest, found := strings.Cut(page, "<style>")
			require.True(t, found)
			css, _, found := strings.Cut(rest, "</style>")
			require.True(t, found)
			sum := sha256.Sum256([]byte(css))

			policy := policyPattern.FindStringSubmatch(page)
			require.Len(t, policy, 2)
			assert.Equal(t, "default-src 'none'; style-src 'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+
				"'; base-uri 'none'; form-action 'none'", policy[1])
			assert.Less(t, strings.Index(page, policy[0]), strings.Index(page, "<style>"),
				"a policy counts from where it stands")
			assert.NotRegexp(t, `(?i)<(script|link|img|iframe|form|object|base)|style=|\son[a-z]+=|@import|url\(`, page)
			assert.Contains(t, page, `<meta name="referrer" content="no-referrer">`)
			assert.Contains(t, page, `<meta name="robots" content="noindex, nofollow">`)
			assert.Contains(t, page, `<html lang="en">`)
			assert.Equal(t, 1, strings.Count(page, "<h1>"))
			assert.True(t, strings.HasPrefix(page, "<!doctype html>"), "anything else means quirks mode")
		})
	}
}
