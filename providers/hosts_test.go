package providers

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFixedHosts(t *testing.T) {
	for _, c := range []struct {
		template, pattern string
		want              []string
	}{
		{"https://id.Example.com/token", "", []string{"id.example.com"}},
		{"https://id.example.com:8443/token", "", []string{"id.example.com"}},
		{"https://{in}.shop.example.com/token", "[a-z]+", []string{".shop.example.com"}},
		{"https://{in}.myshopify.com/token", "[a-z]+", []string{".myshopify.com"}},
		{"https://{in}.myshopify.com:8443/token", "[a-z]+", []string{".myshopify.com"}},
		{"https://{in}api.example.com/token", "[a-z]+", []string{".example.com"}},
		{"https://{in}/token", `api(\.eu)?\.sendgrid\.com`, []string{".sendgrid.com"}},
		{"{in}/token", `https://[a-z.]+\.force\.com`, []string{".force.com"}},
		{"https://{in}/token", `[a-z]+\.(atlassian\.net|jira\.com)`, []string{".atlassian.net", ".jira.com"}},
		{"https://{in}/token", `[a-z]+\.atlassian\.net|jira\.com`, []string{".atlassian.net", "jira.com"}},
		{"https://x{in}/token", `[a-z]+\.atlassian\.net|jira\.com`, nil},
		{"https://{in}.com/token", `[a-z]+\.(my\.salesforce|force)`, []string{".force.com", ".my.salesforce.com"}},
		{"{in}/token", `https://([a-z]+\.a\.com|[a-z]+\.b\.com)`, []string{".a.com", ".b.com"}},
		{"https://{in}/token", `[a-z]+\.a\.com|[a-z]+\.b`, nil},

		{"https://{in}/token", `[a-z.]+`, nil},
		{"https://{in}.com/token", `[a-z.]+`, nil},
		{"https://{in}.internal/token", `[a-z]+`, nil},
		{"https://{in}/token", `[a-z.]+(\.example\.com)?`, nil},
		{"https://{in}/token", `[a-z.]+|id\.example\.com`, nil},
		{"{in}/token", `https://[a-z.]+(/api)?`, nil},
		{"{in}/token", `https://[a-z.]+/example\.com`, nil},
		{"{issuer}/token", "", nil},
		{"https://{other}.example.com", "", []string{".example.com"}},
		{"https://{other}/token", "", nil},
	} {
		d := &Definition{
			Inputs:    []Input{{Name: "in", Pattern: c.pattern, SetBy: SetByProvider}},
			Endpoints: map[Step]Template{StepToken: Template(c.template)},
		}
		assert.Equal(t, c.want, d.fixedHosts(), "%s, %s", c.template, c.pattern)
	}
	issued := &Definition{Discovery: &Discovery{Issuer: "https://accounts.example.com"}}
	assert.Equal(t, []string{"accounts.example.com"}, issued.fixedHosts())
}

// counted is a transport that counts what it is asked to send, by host.
type counted map[string]int

func (c counted) Do(r *http.Request) (*http.Response, error) {
	c[r.URL.Hostname()]++
	return nil, errors.New("there is no network here")
}

func TestConfine(t *testing.T) {
	d := &Definition{Endpoints: map[Step]Template{
		StepToken: "https://{in}.shop.example.com/token", StepRevoke: "https://id.example.com/revoke",
	}}
	for host, c := range map[string]struct {
		asked string // what allowed is asked; empty: nothing
		sent  bool
	}{
		"id.example.com":               {"", true},
		"ID.example.com":               {"", true},
		"id.example.com.":              {"", true},
		"a.shop.example.com":           {"", true},
		"a.b.shop.example.com":         {"", true},
		"allowed.test":                 {"allowed.test", true},
		"ALLOWED.test.":                {"allowed.test", true},
		"shop.example.com":             {"shop.example.com", false},
		"evilshop.example.com":         {"evilshop.example.com", false},
		"a.id.example.com":             {"a.id.example.com", false},
		"id.example.com.evil.test":     {"id.example.com.evil.test", false},
		"a.shop.example.com.evil.test": {"a.shop.example.com.evil.test", false},
		"10.0.0.1":                     {"10.0.0.1", false},
	} {
		t.Run(host, func(t *testing.T) {
			network, asked := counted{}, ""
			client := NewClient(network, time.Now, "")
			client.Confine(d, func(hosts []string) error {
				asked = strings.Join(hosts, " ")
				if asked != "allowed.test" {
					return errors.New("settings do not allow " + asked)
				}
				return nil
			})
			_, failure := client.do(t.Context(), StepToken, http.MethodPost, &url.URL{
				Scheme: "https", Host: host + ":8443", Path: "/token",
			}, http.Header{}, nil)
			require.NotNil(t, failure)
			assert.Equal(t, c.asked, asked)
			assert.Equal(t, !c.sent, failure.NotSent())
			if c.sent {
				assert.Equal(t, 1, network[host])
				return
			}
			assert.Empty(t, network)
			assert.Equal(t, Misconfigured, failure.Class)
			assert.Equal(t, "nothing was sent: settings do not allow "+asked, failure.Error())
		})
	}
}

// A document that may not be asked for does not make its issuer unwell.
func TestConfineDiscovery(t *testing.T) {
	d := &Definition{Discovery: &Discovery{Issuer: "{issuer}"}}
	network := counted{}
	client := NewClient(network, time.Now, "")
	client.Confine(d, func([]string) error { return errors.New("not allowed") })
	_, err := client.Resolve(t.Context(), &App{Definition: d, Issuer: "https://id.example.com"}, KindAuthorizationCode,
		nil)
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.Equal(t, Misconfigured, failure.Class)
	assert.True(t, failure.NotSent())
	assert.Empty(t, network)
}

func TestCheckHosts(t *testing.T) {
	res := Resolved{
		Endpoints: map[Step]string{
			StepAuthorize: "https://browser.test/a", StepToken: "https://token.test/t", StepIdentity: "https://token.test/me",
			StepIntrospect: "https://introspect.test/", StepRevoke: "https://fixed.example.com/",
		},
		JWKS: "https://keys.test/jwks",
	}
	client := NewClient(counted{}, time.Now, "")
	require.NoError(t, client.CheckHosts(res), "nobody confined it")
	var asked []string
	client.Confine(&Definition{Endpoints: map[Step]Template{StepToken: "https://fixed.example.com"}},
		func(hosts []string) error {
			asked = hosts
			return nil
		})
	require.NoError(t, client.CheckHosts(res))
	assert.Equal(t, []string{"browser.test", "keys.test", "token.test"}, asked)
	res.Endpoints[StepDevice] = "https://device.test/d"
	require.NoError(t, client.CheckHosts(res))
	assert.Equal(t, []string{"browser.test", "keys.test", "token.test"}, asked, "a browser has no use for it")
	require.NoError(t, client.CheckDeviceHosts(res))
	assert.Equal(t, []string{"device.test", "keys.test", "token.test"}, asked, "and here nobody sends one")
	client.Confine(&Definition{Lifetime: Lifetime{From: "introspect"}}, func(hosts []string) error {
		asked = hosts
		return nil
	})
	require.NoError(t, client.CheckHosts(res))
	assert.Contains(t, asked, "introspect.test", "where tokens are shown there")
	client.Confine(&Definition{Endpoints: map[Step]Template{StepToken: "https://fixed.example.com"}},
		func(hosts []string) error {
			asked = hosts
			return nil
		})
	res.Endpoints, res.JWKS = map[Step]string{StepToken: "https://fixed.example.com/t"}, ""
	asked = nil
	require.NoError(t, client.CheckHosts(res))
	assert.Nil(t, asked, "there is nothing to ask")
}

// An input that was stored under an older definition reaches nothing under this one.
func TestInputsAreMatchedWhenTheyAreUsed(t *testing.T) {
	d := &Definition{
		Inputs: []Input{
			{Name: "shop", SetBy: SetByEither, Pattern: "[a-z]+", Strip: ".shop.example", Help: "its name"},
		},
		Endpoints: map[Step]Template{
			StepAuthorize: "https://{shop}.shop.example/a", StepToken: "https://{shop}.shop.example/token",
		},
	}
	network := counted{}
	client := NewClient(network, time.Now, "")
	app := &App{Definition: d, ClientID: "id"}
	for _, shop := range []string{"UPPER", "a.b", "evil.test/", ""} {
		for side, resolve := range map[string]func() (Resolved, error){
			"connection": func() (Resolved, error) {
				return client.Resolve(t.Context(), app, KindAuthorizationCode, map[string]string{"shop": shop})
			},
			"provider": func() (Resolved, error) {
				return client.Resolve(t.Context(), &App{Definition: d, Inputs: map[string]string{"shop": shop}},
					KindAuthorizationCode, nil)
			},
		} {
			_, err := resolve()
			var failure *Error
			require.ErrorAs(t, err, &failure, "%s of the %s", shop, side)
			assert.True(t, failure.NotSent())
			assert.Equal(t, Misconfigured, failure.Class)
			assert.Contains(t, failure.Error(), `input "shop" as it is stored must match [a-z]+ (its name)`)
		}
	}
	_, err := client.Exchange(t.Context(), app, ExchangeRequest{Resolved: Resolved{
		Inputs: map[string]string{"shop": "UPPER"}, Endpoints: map[Step]string{StepToken: "https://UPPER.shop.example/token"},
	}})
	var failure *Error
	require.ErrorAs(t, err, &failure)
	assert.True(t, failure.NotSent())
	assert.Empty(t, network)

	res, err := client.Resolve(t.Context(), app, KindAuthorizationCode, map[string]string{"shop": "mine.shop.example"})
	require.NoError(t, err)
	assert.Equal(t, "https://mine.shop.example/token", res.Endpoints[StepToken])
}
