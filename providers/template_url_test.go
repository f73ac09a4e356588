package providers

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExpandURL(t *testing.T) {
	for name, test := range map[string]struct {
		template Template
		values   map[string]string
		want     string
	}{
		"no placeholder": {"https://a.example.com/x?y=z", nil, "https://a.example.com/x?y=z"},
		"label": {
			"https://{shop}.example.com/x", map[string]string{"shop": "my-shop"}, "https://my-shop.example.com/x",
		},
		"whole host with port": {
			"https://{host}/x", map[string]string{"host": "git.example.com:8443"}, "https://git.example.com:8443/x",
		},
		"segment": {
			"https://a.example.com/{id}/x", map[string]string{"id": "1/2?3#4"}, "https://a.example.com/1%2F2%3F3%234/x",
		},
		"escaped already": {
			"https://a.example.com/{id}", map[string]string{"id": "%2e%2e"}, "https://a.example.com/%252e%252e",
		},
		"query": {
			"https://a.example.com/?q={q}", map[string]string{"q": "a&b=c #+"}, "https://a.example.com/?q=a%26b%3Dc+%23%2B",
		},
		"empty in a query": {"https://a.example.com/?q={q}", map[string]string{"q": ""}, "https://a.example.com/?q="},
		"slashes kept": {
			"https://a.example.com{+path}", map[string]string{"path": "/v1/me?x"}, "https://a.example.com/v1/me%3Fx",
		},
		"base": {
			"{base}/me", map[string]string{"base": "https://a.example.com/api"}, "https://a.example.com/api/me",
		},
		"base with a slash": {
			"{base}/me", map[string]string{"base": "https://a.example.com/api/"}, "https://a.example.com/api/me",
		},
		"base alone": {
			"{base}", map[string]string{"base": "https://a.example.com/api/"}, "https://a.example.com/api/",
		},
		"base and path": {
			"{base}{+path}", map[string]string{"base": "https://a.example.com", "path": "/me"}, "https://a.example.com/me",
		},
		"http to this machine":  {"http://127.0.0.1:8080/x", nil, "http://127.0.0.1:8080/x"},
		"http to the same by 6": {"http://[::1]:8080/x", nil, "http://[::1]:8080/x"},
		"http to localhost":     {"{base}", map[string]string{"base": "http://localhost:1"}, "http://localhost:1"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ExpandURL(test.template, test.values)
			require.NoError(t, err)
			assert.Equal(t, test.want, got.String())
		})
	}
}

// Whatever a value holds, the call goes to the host of the template, below the template's path, or nowhere.
func TestExpandURLRefusesToMove(t *testing.T) {
	const (
		label   = Template("https://{v}.example.com/x")
		host    = Template("https://{v}/x")
		segment = Template("https://a.example.com/api/{v}/x")
		path    = Template("https://a.example.com/api{+v}")
		base    = Template("{v}/x")
	)
	for name, test := range map[string]struct {
		template Template
		value    string
	}{
		"fragment ends the host":    {label, "evil.com#"},
		"slash ends the host":       {label, "evil.com/"},
		"query ends the host":       {label, "evil.com?"},
		"user information":          {label, "x@evil"},
		"user and password":         {label, "a:b@evil"},
		"port in a label":           {label, "evil.com:443"},
		"backslash":                 {label, `evil.com\`},
		"escaped slash":             {label, "evil.com%2f"},
		"line break":                {label, "a\r\nHost: evil.com"},
		"full-width dot":            {label, "evil．com"},
		"other script":              {label, "еvil"},
		"zero byte":                 {label, "a\x00"},
		"empty label":               {label, ""},
		"dots only":                 {label, "."},
		"two dots":                  {label, "a..b"},
		"hyphen first":              {label, "-a"},
		"label too long":            {label, strings.Repeat("a", 64)},
		"host with user":            {host, "a@evil.com"},
		"host with path":            {host, "evil.com/.."},
		"host with odd port":        {host, "evil.com:x"},
		"host of brackets":          {host, "[::1]"},
		"host with scheme":          {host, "https://evil.com"},
		"segment climbs":            {segment, ".."},
		"segment climbs and enters": {segment, "a/../b"},
		"segment stays":             {segment, "."},
		"segment is empty":          {segment, ""},
		"segment with backslash":    {segment, `..\b`},
		"segment with line break":   {segment, "a\nb"},
		"path climbs":               {path, "/../../admin"},
		"path climbs at its end":    {path, "/a/.."},
		"path becomes the host":     {"https://a.example.com{+v}", ".evil.com/x"},
		"path becomes user":         {"https://a.example.com{+v}", "@evil.com/x"},
		"path becomes port":         {"https://a.example.com{+v}", ":444/x"},
		"base without scheme":       {base, "evil.com"},
		"base of no host":           {base, "https:///evil.com"},
		"base opaque":               {base, "https:evil.com"},
		"base of another scheme":    {base, "file://evil.com/etc"},
		"base with user":            {base, "https://a@evil.com"},
		"base with query":           {base, "https://evil.com?"},
		"base with fragment":        {base, "https://evil.com#"},
		"base with space":           {base, "https://evil.com/a b"},
		"base climbs":               {base, "https://evil.com/a/.."},
		"base climbs in disguise":   {base, "https://evil.com/a/%2e%2E"},
		"base in the clear":         {base, "http://evil.com"},
		"base like this machine":    {base, "http://localhost.evil.com"},
		"base like its address":     {base, "http://127.0.0.1.evil.com"},
	} {
		t.Run(name, func(t *testing.T) {
			u, err := ExpandURL(test.template, map[string]string{"v": test.value})
			require.Error(t, err, "%v", u)
			if len(test.value) > 5 {
				assert.NotContains(t, err.Error(), test.value, "values may be secret")
			}
		})
	}
}

func TestExpandURLRefusesTemplates(t *testing.T) {
	for _, template := range []Template{
		"", "a.example.com", "//a.example.com", "ftp://a.example.com", "http://a.example.com", "https://", "https:///x",
		"https://a@b.example.com", "https://a.example.com/#x", "https://a.example.com/{X}", "https://a.example.com/ x",
		`https://a.example.com\x`, "https://{+v}/x", "https://a.example.com/?q={+v}", "{v}.example.com", "{v}{v}", "{+v}/x",
		"x{v}://a.example.com", "https://a.example.com/..",
	} {
		t.Run(string(template), func(t *testing.T) {
			_, err := ExpandURL(template, map[string]string{"v": "https://b.example.com"})
			require.Error(t, err)
		})
	}
}

// FuzzExpandURL: a value can move neither scheme nor host, add a parameter, nor leave the path.
func FuzzExpandURL(f *testing.F) {
	for _, seed := range []string{
		"shop", "evil.com#", "a/../b", "x@evil", "..", "%2e%2e", `\\evil.com`, "a:443", "[::1]", "//evil.com", "?x=y&z",
		"\r\n", "é", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v string) {
		values := map[string]string{"v": v}
		reparse := func(template Template) *url.URL {
			u, err := ExpandURL(template, values)
			if err != nil {
				return nil
			}
			again, err := url.Parse(u.String())
			require.NoError(t, err)
			require.Nil(t, again.User)
			require.Empty(t, again.Fragment)
			require.Equal(t, "https", again.Scheme)
			for segment := range strings.SplitSeq(again.Path, "/") {
				require.NotContains(t, []string{".", ".."}, segment)
			}
			return again
		}
		if u := reparse("https://{v}.example.com/x"); u != nil {
			require.Equal(t, v+".example.com", u.Host)
			require.Equal(t, "/x", u.Path)
			require.Empty(t, u.RawQuery)
		}
		if u := reparse("https://a.example.com/api/{v}/x"); u != nil {
			require.Equal(t, "a.example.com", u.Host)
			require.Equal(t, "/api/"+v+"/x", u.Path)
			require.Equal(t, 4, strings.Count(u.EscapedPath(), "/")+1, "one segment")
			require.Empty(t, u.RawQuery)
		}
		if u := reparse("https://a.example.com/api{+v}"); u != nil {
			require.Equal(t, "a.example.com", u.Host)
			require.Equal(t, "/api"+v, u.Path)
			require.Empty(t, u.RawQuery)
		}
		if u := reparse("https://a.example.com/api?q={v}&r=1"); u != nil {
			require.Equal(t, "a.example.com", u.Host)
			require.Equal(t, url.Values{"q": {v}, "r": {"1"}}, u.Query())
		}
	})
}
