package providers

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deviceApp is an app whose services answers stand for.
func deviceApp(d DeviceCall) (*App, Resolved) {
	return &App{ClientID: "id", Definition: &Definition{Kinds: []Kind{KindDeviceCode}, Device: d}}, Resolved{
		Endpoints: map[Step]string{
			StepDevice: "https://provider.test/device", StepToken: "https://provider.test/token",
		},
		ClientAuth: "none",
	}
}

func TestAskDevice(t *testing.T) {
	const whole = `"device_code":"d","user_code":"AB-CD","verification_uri":"https://p.test/d","expires_in":600`
	usual := Device{
		Code: NewSecret("d"), UserCode: "AB-CD", URI: "https://p.test/d", Life: 10 * time.Minute, Interval: 5 * time.Second,
	}
	other := func(change func(*Device)) *Device { d := usual; change(&d); return &d }
	every := func(d time.Duration) *Device { return other(func(told *Device) { told.Interval = d }) }
	says := func(more string) canned { return canned{status: 200, body: `{` + whole + more + `}`} }
	but := func(old, instead string) canned {
		return canned{status: 200, body: strings.Replace(`{`+whole+`}`, old, instead, 1)}
	}
	type told struct {
		answer canned
		want   *Device // nil: it fails
		class  Class
		reason string
	}
	works := func(answer canned, want *Device) told { return told{answer: answer, want: want} }
	unusable := func(answer canned) told { return told{answer, nil, Unknown, ReasonDeviceUnusable} }
	for name, c := range map[string]told{
		"usual": works(says(""), &usual),
		"a form": works(canned{
			status: 200, body: `device_code=d&user_code=AB-CD&verification_uri=https://p.test/d&expires_in=600`,
		}, &usual),
		"interval":              works(says(`,"interval":9`), every(9*time.Second)),
		"interval as text":      works(says(`,"interval":"9"`), every(9*time.Second)),
		"interval of nothing":   works(says(`,"interval":0`), every(time.Second)),
		"interval that is none": works(says(`,"interval":"soon"`), &usual),
		"interval of a year":    works(says(`,"interval":31536000`), every(time.Hour)),
		"whole address": works(says(`,"verification_uri_complete":"https://p.test/d?c=AB-CD"`),
			other(func(d *Device) { d.WholeURI = "https://p.test/d?c=AB-CD" })),
		"whole address that runs": works(says(`,"verification_uri_complete":"javascript:alert(1)"`), &usual),
		"to this machine": works(but("https://p.test/d", "http://127.0.0.1/d"),
			other(func(d *Device) { d.URI = "http://127.0.0.1/d" })),
		"in the clear":     unusable(but("https://p", "http://p")),
		"with a user":      unusable(but("p.test", "google.com@p.test")),
		"no user code":     unusable(but("AB-CD", "")),
		"a code in lines":  unusable(but("AB-CD", `A\nB`)),
		"a code backwards": unusable(but("AB-CD", `A\u202eB`)),
		"a long code":      unusable(but("AB-CD", strings.Repeat("x", 200))),
		"a huge secret":    unusable(but(`"d"`, `"`+strings.Repeat("x", 1<<15)+`"`)),
		"no end":           unusable(but("600", "null")),
		"over already":     unusable(but("600", "0")),
		"nothing":          {canned{status: 200}, nil, Unknown, ReasonEmptyAnswer},
		"a page":           {canned{status: 200, body: `<html>`}, nil, Unknown, ReasonHTMLAnswer},
		"under an error":   {canned{status: 400, body: `{` + whole + `}`}, nil, Transient, ReasonUnexplained},
		"refused":          {canned{status: 400, body: `{"error":"invalid_client"}`}, nil, Misconfigured, ReasonRefused},
		"refused with 200": {
			canned{status: 200, body: `{"error":"unauthorized_client"}`}, nil, Misconfigured, ReasonRefused,
		},
		"down": {canned{status: 503}, nil, Transient, ReasonServerError},
		"too many": {
			canned{status: 429, header: http.Header{"Retry-After": {"7"}}}, nil, RateLimited, ReasonRateLimited,
		},
	} {
		t.Run(name, func(t *testing.T) {
			app, res := deviceApp(DeviceCall{})
			d, err := NewClient(c.answer, time.Now, "").AskDevice(t.Context(), app, res, []string{"a"})
			if c.want != nil {
				require.NoError(t, err)
				assert.Equal(t, c.want, d)
				return
			}
			var failure *Error
			require.ErrorAs(t, err, &failure)
			assert.Equal(t, []any{c.class, c.reason, StepDevice}, []any{failure.Class, failure.Reason, failure.Step})
		})
	}
}

// A definition says where things stand, if a service has names of its own.
func TestAskDeviceElsewhere(t *testing.T) {
	app, res := deviceApp(DeviceCall{Answer: DeviceAnswer{
		DeviceCode: []string{"data.code"}, UserCode: []string{"data.user"}, URI: []string{"data.url"},
		WholeURI: []string{"data.whole"}, ExpiresIn: []string{"data.life"}, Interval: []string{"data.every"},
	}})
	const answer = `{"data":{"code":"d","user":"u","url":"https://p.test/","life":60,"every":3,"whole":"https://p.test/?u"}}`
	d, err := NewClient(canned{status: 200, body: answer}, time.Now, "").AskDevice(t.Context(), app, res, nil)
	require.NoError(t, err)
	assert.Equal(t, &Device{
		Code: NewSecret("d"), UserCode: "u", URI: "https://p.test/", WholeURI: "https://p.test/?u", Life: time.Minute,
		Interval: 3 * time.Second,
	}, d)
}

// Whatever an answer holds, it is a device that people can be shown, or an error.
func FuzzDeviceAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"device_code":"d","user_code":"u","verification_uri":"https://p.test/d","expires_in":600,"interval":5}`,
		`device_code=d&user_code=u&verification_uri=https://p.test/d&expires_in=600`,
		`{"device_code":"d","user_code":"\u202e","verification_uri":"https://p.test/d","expires_in":1e400}`,
		`{"device_code":"d","user_code":"u","verification_uri":"javascript:x","expires_in":-1}`,
		`{"error":"slow_down"}`, ``, `<html>`, `[1]`, `{"access_token":"tok"}`,
	} {
		f.Add(200, seed)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	app, res := deviceApp(DeviceCall{})
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		client := NewClient(canned{status: status, body: body}, func() time.Time { return now }, "")
		d, err := client.AskDevice(t.Context(), app, res, nil)
		switch {
		case (err == nil) == (d == nil):
			t.Fatal("either a device or an error")
		case err != nil:
		case d.Code.IsZero(), hasControl(d.Code.Reveal()), len(d.Code.Reveal()) > maxDevice:
			t.Fatal("a code that cannot be used")
		case !typeable(d.UserCode), !openable(d.URI), d.WholeURI != "" && !openable(d.WholeURI):
			t.Fatalf("a person cannot be shown %q %q %q", d.UserCode, d.URI, d.WholeURI)
		case d.Life <= 0, d.Life > maxLifetime, d.Interval < leastInterval, d.Interval > mostInterval:
			t.Fatalf("times %v %v", d.Life, d.Interval)
		}
		polled, err := client.PollDevice(t.Context(), app, res, NewSecret("d"), nil)
		if (err == nil) == (polled == nil) {
			t.Fatal("either tokens or an error")
		}
		if err != nil {
			return
		}
		for range 2 { // it can be made anew
			if g, err := client.Redeem(t.Context(), app, res, nil, polled); err == nil && g.AccessToken.IsZero() {
				t.Fatal("a grant without a token")
			}
		}
	})
}

func TestDeviceDefinition(t *testing.T) {
	const right = `id: x
name: X
kinds: [device_code]
endpoints:
  device: https://x.example.com/device
  token: https://x.example.com/token
`
	_, err := Decode("x.yaml", []byte(right))
	require.NoError(t, err)
	const kinds = "kinds: [device_code]\n"
	for name, c := range map[string]struct{ old, instead, says string }{
		"no place to ask": {
			"  device: https://x.example.com/device\n", "", `kinds[0]: kind device_code needs endpoints.device`,
		},
		"no place to poll": {
			"  token: https://x.example.com/token\n", "", `kinds[0]: kind device_code needs endpoints.token`,
		},
		"nobody asks": {kinds, "kinds: [client_credentials]\n", `endpoints.device: no kind asks there`},
		"a section of none": {
			kinds, "kinds: [client_credentials]\ndevice: {auth: none}\n",
			`device: no kind goes by it: add the kind device_code`,
		},
		"scope is the engine's": {
			kinds, kinds + "device: {params: {scope: all}}\n", `device.params.scope: "scope" is the engine's own`,
		},
		"a path that is none": {
			kinds, kinds + "device: {answer: {user_code: ['a..b']}}\n", `device.answer.user_code[0]: path "a..b"`,
		},
		"scopes by kind": {
			kinds, kinds + "token: {by_kind: {device_code: {scopes: [a]}}}\n",
			`token.by_kind.device_code.scopes: what a person consents to`,
		},
		"a browser's section": {kinds, kinds + "authorize: {pkce: off}\n", `authorize: no kind goes by it`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(right, c.old, c.instead, 1)
			require.NotEqual(t, right, text)
			_, err := Decode("x.yaml", []byte(text))
			assert.ErrorContains(t, err, c.says)
		})
	}
}

// A child that was written before its parent had the kind is as good as it was.
func TestChildWithoutDevices(t *testing.T) {
	catalog, err := Builtin()
	require.NoError(t, err)
	for parent, kinds := range map[string]string{
		"github": "[authorization_code]", "microsoft": "[authorization_code, client_credentials]",
		"oidc": "[authorization_code, client_credentials]", "oauth2": "[client_credentials, authorization_code]",
	} {
		text := "id: x\nname: X\nextends: " + parent + "\nkinds: " + kinds + "\n"
		d, err := catalog.Decode("x.yaml", []byte(text))
		require.NoError(t, err, parent)
		assert.NotContains(t, d.Kinds, KindDeviceCode)
		d, err = catalog.Decode("x.yaml", []byte(strings.Split(text, "kinds")[0]))
		require.NoError(t, err, parent)
		assert.Contains(t, d.Kinds, KindDeviceCode)
	}
}

func TestLacksBrowser(t *testing.T) {
	required := func(sources ...string) *Definition {
		c := Capture{Name: "shop", Required: true}
		for _, from := range sources {
			c.AnyOf = append(c.AnyOf, CaptureSource{From: from})
		}
		return &Definition{Connection: []Capture{c}}
	}
	assert.Equal(t, "shop", required(fromCallback).LacksBrowser())
	assert.Empty(t, required(fromCallback, fromInput).LacksBrowser())
	assert.Empty(t, required("token").LacksBrowser())
	assert.Empty(t, (&Definition{Connection: []Capture{{Name: "shop", From: fromCallback}}}).LacksBrowser())
}

// rotating is a service that knows one secret.
type rotating struct{ secret string }

func (s rotating) Do(r *http.Request) (*http.Response, error) {
	if err := r.ParseForm(); err != nil {
		return nil, err
	}
	if r.PostForm.Get("client_secret") != s.secret {
		return canned{status: 401, body: `{"error":"invalid_client"}`}.Do(r)
	}
	const told = `{"device_code":"d","user_code":"u","verification_uri":"https://p.test/","expires_in":9}`
	return canned{status: 200, body: told}.Do(r)
}

// While an app's secret is replaced, the former one serves.
func TestAskDeviceWithTheFormerSecret(t *testing.T) {
	app, res := deviceApp(DeviceCall{})
	app.ClientSecret, app.FormerSecret, res.ClientAuth = NewSecret("new"), NewSecret("old"), "post"
	for secret, works := range map[string]bool{"new": true, "old": true, "other": false} {
		_, err := NewClient(rotating{secret}, time.Now, "").AskDevice(t.Context(), app, res, nil)
		assert.Equal(t, works, err == nil, secret)
	}
	app.FormerSecret = Secret{}
	_, err := NewClient(rotating{"old"}, time.Now, "").AskDevice(t.Context(), app, res, nil)
	assert.Error(t, err)
}
