package pages

import (
	"crypto/sha256"
	"encoding/base64"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	nethtml "golang.org/x/net/html"
)

const linkValue = "Zb1o3cUqf7w1bq0o8m5w6J7C3m4qgYb1qFqz7l2hQxE"

// sampleLinks are a link that asks for a consent, and one that asks for a key, shown again.
func sampleLinks() map[string]Link {
	consent := Link{
		Site: "Acme's vault", Provider: "Slack", Until: time.Date(2026, 3, 9, 8, 5, 0, 0, time.FixedZone("CET", 3600)),
		Scopes:    []Scope{{"users:read", "See who is in the workspace."}, {"chat:write", ""}},
		ReturnURL: "https://app.example.com/done?x=1",
		StartedBy: "oidc-ann@example.com", Purpose: "The weekly report", Connection: "user/u-17/slack",
		Account: "bob@example.com",
		Fixed:   []Fixed{{"region", "eu"}},
		Action:  "https://vault.example.com/v1/connectors/connect", Value: linkValue,
		Fields: []Field{{
			Name: "input.shop", Label: "shop", Help: "The name before .example.com", Required: true, Value: "acme",
		}},
	}
	key := consent
	key.Site, key.ReturnURL, key.Purpose, key.Account, key.Scopes, key.Fixed = "", "", "", "", nil, nil
	key.Key, key.Notice, key.Left = true, Refused, 3
	key.Fields = []Field{
		{Name: "input.region", Label: "region", Required: true, Options: []string{"eu", "us"}, Value: "us"},
		{Name: "key.api_key", Label: "api_key", Secret: true, Required: true, Value: "never shown", Help: "From the console"},
		{Name: "key.private_key", Label: "private_key", Secret: true, Lines: true, Value: "never shown"},
	}
	return map[string]Link{"link_consent": consent, "link_key": key}
}

func renderLink(t *testing.T, l Link) string {
	t.Helper()
	out, err := l.Render()
	require.NoError(t, err)
	return string(out)
}

func TestLinkGolden(t *testing.T) {
	for name, l := range sampleLinks() {
		got := renderLink(t, l)
		golden := filepath.Join("testdata", name+".html")
		if *update {
			require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
		}
		want, err := os.ReadFile(golden)
		require.NoError(t, err)
		assert.Equal(t, string(want), got)
	}
}

// What a person typed of a key stands on no page again, and what stands for itself does.
func TestLinkShowsNoKeyAgain(t *testing.T) {
	for name, l := range sampleLinks() {
		assert.NotContains(t, renderLink(t, l), "never shown", name)
	}
	assert.Contains(t, renderLink(t, sampleLinks()["link_consent"]), `value="acme"`)
	assert.Contains(t, renderLink(t, sampleLinks()["link_key"]), `<option selected>us</option>`)
}

// The policy lets the form go to its own URL, and to nothing else; and nothing is loaded or run.
func TestLinkPolicy(t *testing.T) {
	for name, l := range sampleLinks() {
		page := renderLink(t, l)
		_, rest, _ := strings.Cut(page, "<style>")
		css, _, found := strings.Cut(rest, "</style>")
		require.True(t, found)
		sum := sha256.Sum256([]byte(css))
		assert.Contains(t, page, `content="default-src 'none'; style-src 'sha256-`+
			base64.StdEncoding.EncodeToString(sum[:])+`'; base-uri 'none'; form-action `+l.Action+`"`, name)
		assert.Contains(t, page, `<form method="post" action="`+l.Action+`"`)
		assert.NotRegexp(t, `(?i)<(script|link|img|iframe|object|base)|style=|\son[a-z]+=|@import|url\(`, page)
		assert.NotContains(t, page, `http-equiv="refresh"`)
		assert.Contains(t, page, `<meta name="referrer" content="no-referrer">`)
		assert.Equal(t, 1, strings.Count(page, "<h1>"))
		assert.Equal(t, 1, strings.Count(page, linkValue), "in the hidden field alone")
	}
	local := Link{Provider: "x", Connection: "x", Value: "x", Action: "http://127.0.0.1:8200/v1/a"}
	assert.Contains(t, renderLink(t, local),
		"form-action http://127.0.0.1:8200/v1/a\"")
}

// A target that would end the policy, or add to it, is refused or written so that it does not.
func TestLinkAction(t *testing.T) {
	for raw, want := range map[string]string{
		"https://vault.example.com/v1/connectors/connect": "https://vault.example.com/v1/connectors/connect",
		"https://[2001:db8::1]:8200/v1/x":                 "https://[2001:db8::1]:8200/v1/x",
		"https://v.example/v1/a;b,c'd":                    "https://v.example/v1/a%3Bb%2Cc%27d",
		"https://v.example/v1/a b":                        "https://v.example/v1/a%20b",
		`https://v.example/v1/"><script>`:                 "https://v.example/v1/%22%3E%3Cscript%3E",
		"http://v.example/":                               "",
		"https://v.example;script-src/":                   "",
		"https://v.example'/x":                            "",
		"https://*/":                                      "",
		"https://v.example,other/":                        "",
		"https://me@v.example/":                           "",
		"https://v.example/?x=1":                          "",
		"https://v.example/*":                             "",
		"javascript:alert(1)":                             "",
		"":                                                "",
	} {
		got, err := action(raw)
		if want == "" {
			require.Error(t, err, raw)
			require.Error(t, CheckAction(raw))
			_, err = Link{Provider: "x", Connection: "x", Value: "x", Action: raw}.Render()
			require.Error(t, err, raw)
			continue
		}
		require.NoError(t, err, raw)
		assert.Equal(t, want, got)
	}
}

// Every field has a label and, where there is help, that; what is secret is not shown while it is typed.
func TestLinkIsAccessible(t *testing.T) {
	for name, l := range sampleLinks() {
		page := renderLink(t, l)
		ids := map[string]bool{}
		for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(page, -1) {
			assert.False(t, ids[m[1]], "%s: %s stands twice", name, m[1])
			ids[m[1]] = true
		}
		named := regexp.MustCompile(` (?:for|aria-describedby|aria-labelledby)="([^"]+)"`)
		for _, m := range named.FindAllStringSubmatch(page, -1) {
			assert.True(t, ids[m[1]], "%s: %s is nowhere", name, m[1])
		}
		fields := regexp.MustCompile(`<(?:input id|select id|textarea id)="([^"]+)"`).FindAllStringSubmatch(page, -1)
		assert.Len(t, fields, len(l.Fields))
		for _, m := range fields {
			assert.Contains(t, page, `<label for="`+m[1]+`">`)
		}
	}
	assert.Contains(t, renderLink(t, sampleLinks()["link_key"]), `name="key.api_key" type="password"`)
	assert.Contains(t, renderLink(t, sampleLinks()["link_key"]), `role="alert"`)
	assert.NotContains(t, renderLink(t, sampleLinks()["link_consent"]), `role="alert"`)
}

// bones is every tag of a page with the names of its attributes, in order: what a text may not change.
func bones(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	z := nethtml.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case nethtml.ErrorToken:
			return b.String()
		case nethtml.TextToken:
		default:
			token := z.Token()
			b.WriteString(token.Type.String() + " " + token.Data)
			for _, a := range token.Attr {
				b.WriteString(" " + a.Key)
			}
			b.WriteString("\n")
		}
	}
}

// linkTexts are the texts of a link's page that somebody else wrote.
func linkTexts() map[string]func(*Link, string) {
	return map[string]func(*Link, string){
		"site": func(l *Link, s string) { l.Site = s }, "provider": func(l *Link, s string) { l.Provider = s },
		"starter": func(l *Link, s string) { l.StartedBy = s }, "purpose": func(l *Link, s string) { l.Purpose = s },
		"connection": func(l *Link, s string) { l.Connection = s }, "account": func(l *Link, s string) { l.Account = s },
		"scope":  func(l *Link, s string) { l.Scopes = []Scope{{s, s}} },
		"fixed":  func(l *Link, s string) { l.Fixed = []Fixed{{s, s}} },
		"value":  func(l *Link, s string) { l.Value = s },
		"typed":  func(l *Link, s string) { l.Fields = []Field{{Name: s, Label: s, Help: s, Value: s}} },
		"choice": func(l *Link, s string) { l.Fields = []Field{{Name: s, Label: s, Help: s, Options: []string{s, "y"}}} },
		"lines":  func(l *Link, s string) { l.Fields = []Field{{Name: s, Label: s, Help: s, Lines: true}} },
		"wrong":  func(l *Link, s string) { l.Notice, l.Wrong = Mistyped, []string{s} },
	}
}

func TestHostileLinks(t *testing.T) {
	for field, set := range linkTexts() {
		for name, value := range hostile {
			for kind, l := range sampleLinks() {
				plain, odd := l, l
				set(&plain, "x")
				set(&odd, "x"+value)
				assert.Equal(t, bones(t, renderLink(t, plain)), bones(t, renderLink(t, odd)), "%s %s %s", field, name, kind)
			}
		}
	}
}

func FuzzLink(f *testing.F) {
	for _, value := range hostile {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		for field, set := range linkTexts() {
			plain, odd := sampleLinks()["link_consent"], sampleLinks()["link_consent"]
			set(&plain, "x")
			set(&odd, "x"+value)
			assert.Equal(t, bones(t, renderLink(t, plain)), bones(t, renderLink(t, odd)), field)
		}
	})
}

func TestNotices(t *testing.T) {
	for notice, words := range map[Notice]string{
		Mistyped: "not right yet", Refused: "does not take this key", Other: "another account", Later: "cannot be asked now",
		Stuck: "leads nowhere as it is",
	} {
		for other := None; other <= Stuck; other++ {
			l := sampleLinks()["link_key"]
			l.Notice = other
			assert.Equal(t, other == notice, strings.Contains(renderLink(t, l), words), "%d %d", notice, other)
		}
	}
}
