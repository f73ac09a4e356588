package providers_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// keyed is an app of a service with keys, one that is presented to it, and the call that shows the key.
func keyed(t *testing.T, step providers.Step, captures ...providers.Capture) (
	app *providers.App, g *providers.Grant, check func(answer string) *providers.Checked,
) {
	t.Helper()
	server := providertest.New(t)
	app = server.App()
	def := app.Definition
	def.Kinds = []providers.Kind{providers.KindAPIKey}
	def.Key = &providers.Key{Fields: []providers.KeyField{{Name: "api_key", Secret: true}}}
	def.Send = &providers.Send{Headers: map[string]providers.Template{"X-Key": "{api_key}"}}
	def.Connection = captures
	if step == providers.StepHealth {
		def.Endpoints[step], def.Health = def.Endpoints[providers.StepIdentity], &providers.Probe{}
	}
	g = &providers.Grant{SecretConfig: map[string]providers.Secret{"api_key": providers.NewSecret("key-1")}}
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAPIKey, nil)
	require.NoError(t, err)
	res.Inputs = map[string]string{"company": "acme"}
	return app, g, func(answer string) *providers.Checked {
		t.Helper()
		server.Next(providers.StepIdentity, providertest.Respond(200, answer)) // both steps are made there
		told, err := client.Check(t.Context(), app, res, providers.KindAPIKey, g)
		require.NoError(t, err)
		return told
	}
}

func concealed(texts map[string]string) map[string]providers.Secret {
	secrets := map[string]providers.Secret{}
	for name, text := range texts {
		secrets[name] = providers.NewSecret(text)
	}
	return secrets
}

func from(source, name string, change ...func(*providers.Capture)) providers.Capture {
	c := providers.Capture{Name: name, From: source, Path: []string{"x." + name}}
	if source == "input" {
		c.Path = []string{"company"}
	}
	for _, f := range change {
		f(&c)
	}
	return c
}

func required(c *providers.Capture) { c.Required = true }
func secret(c *providers.Capture)   { c.Secret = true }

func TestCheckCapturesOfAKey(t *testing.T) {
	oneOf := func(sources ...string) providers.Capture {
		c := providers.Capture{Name: "a"}
		for _, source := range sources {
			c.AnyOf = append(c.AnyOf, providers.CaptureSource{From: source, Path: from(source, "a").Path})
		}
		return c
	}
	digits := func(c *providers.Capture) { c.Pattern = "[0-9]+" }
	for name, test := range map[string]struct {
		step     providers.Step
		captures []providers.Capture
		before   map[string]string // what was known of it
		answer   string
		want     map[string]string
		hidden   map[string]string
		partly   string
	}{
		"of the identity call": {
			captures: []providers.Capture{from("identity", "a"), from("health", "b"), from("token", "c")},
			answer:   `{"x":{"a":1,"b":"2","c":"3"}}`, want: map[string]string{"a": "1"},
		},
		"of the health call": {
			step: providers.StepHealth, captures: []providers.Capture{from("identity", "a"), from("health", "b", required)},
			answer: `{"x":{"a":"1","b":"2"}}`, want: map[string]string{"b": "2"},
		},
		"a secret one": {
			captures: []providers.Capture{from("identity", "a", secret), from("identity", "b")},
			answer:   `{"x":{"a":"1","b":"2"}}`, want: map[string]string{"b": "2"}, hidden: map[string]string{"a": "1"},
		},
		"secret by now": {
			captures: []providers.Capture{from("identity", "a", secret)}, before: map[string]string{"a": "0"},
			answer: `{}`, hidden: map[string]string{"a": "0"},
		},
		"of any source": {
			captures: []providers.Capture{oneOf("token", "identity", "input")},
			answer:   `{"x":{"a":"1"}}`, want: map[string]string{"a": "1"},
		},
		"an input counts more": {
			captures: []providers.Capture{oneOf("input", "identity")},
			answer:   `{"x":{"a":"1"}}`, want: map[string]string{"a": "acme"},
		},
		"an input is there anyway": {
			captures: []providers.Capture{oneOf("identity", "input")}, answer: `{}`, want: map[string]string{"a": "acme"},
		},
		"an input is no news": {
			captures: []providers.Capture{oneOf("identity", "input")}, before: map[string]string{"a": "0"},
			answer: `{}`, want: map[string]string{"a": "0"},
		},
		"what is told anew": {
			captures: []providers.Capture{oneOf("token", "identity"), from("identity", "b")},
			before:   map[string]string{"a": "0", "b": "2"},
			answer:   `{"x":{"a":"1"}}`, want: map[string]string{"a": "1", "b": "2"},
		},
		"told in another place than before": {
			captures: []providers.Capture{{Name: "a", From: "identity", Path: []string{"x.p", "x.q", "x.r", "x.a"}}},
			before:   map[string]string{"a": "0"}, answer: `{"x":{"a":"1"}}`, want: map[string]string{"a": "1"},
		},
		"told by a source that counts less than others": {
			captures: []providers.Capture{oneOf("token", "callback", "id_token", "identity")},
			before:   map[string]string{"a": "0"}, answer: `{"x":{"a":"1"}}`, want: map[string]string{"a": "1"},
		},
		"an input that is required and does not fit": {
			captures: []providers.Capture{from("input", "a", digits, required)}, answer: `{}`,
			partly: providers.ReasonCaptureMissing,
		},
		"what no entry keeps any more": {
			captures: []providers.Capture{from("identity", "a", digits)}, before: map[string]string{"a": "x", "former": "0"},
			answer: `{}`,
		},
		"what does not fit": {
			captures: []providers.Capture{from("identity", "a", digits), from("identity", "b"), from("identity", "c")},
			before:   map[string]string{"a": "1"},
			answer:   `{"x":{"a":"1.example.com","b":"line\nbreak","c":"` + strings.Repeat("c", 4<<10+1) + `"}}`,
			want:     map[string]string{"a": "1"},
		},
		"one that is required": {
			captures: []providers.Capture{from("identity", "a", required), from("token", "b", required)},
			answer:   `{"x":{"b":"2"}}`, partly: providers.ReasonCaptureMissing,
		},
		"one that is required and known": {
			captures: []providers.Capture{from("identity", "a", required, secret)}, before: map[string]string{"a": "0"},
			answer: `{}`, hidden: map[string]string{"a": "0"},
		},
		"no JSON": {
			captures: []providers.Capture{from("identity", "a", required)}, before: map[string]string{"a": "0"},
			answer: `<html>`, want: map[string]string{"a": "0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			step := test.step
			if step == "" {
				step = providers.StepIdentity
			}
			_, g, check := keyed(t, step, test.captures...)
			g.Config = test.before
			told := check(test.answer)
			if test.partly != "" {
				require.NotNil(t, told.Partly)
				assert.Equal(t, test.partly, told.Partly.Reason)
			} else {
				assert.Nil(t, told.Partly)
			}
			want := &providers.Captured{Config: test.want, SecretConfig: concealed(test.hidden)}
			assert.True(t, told.Captured.Equal(want), "%v, %d secret", told.Captured.Config, len(told.Captured.SecretConfig))
			assert.Equal(t, map[string]providers.Secret{"api_key": providers.NewSecret("key-1")}, g.SecretConfig)
		})
	}
}

// What is kept of a key is bounded as a whole, and each check begins with what the last one left.
func TestCheckOfAKeyThatIsToldTooMuch(t *testing.T) {
	def := &providers.Definition{}
	wide(def, "identity")
	_, g, check := keyed(t, providers.StepIdentity, def.Connection...)
	answer := func(begin, end int) string {
		var values []string
		for _, c := range def.Connection[begin:end] {
			values = append(values, `"`+c.Path[0]+`":"`+strings.Repeat("v", 4<<10)+`"`)
		}
		return "{" + strings.Join(values, ",") + "}"
	}
	told := check(answer(0, 7))
	require.Nil(t, told.Partly)
	assert.Len(t, told.Captured.Config, 3)
	assert.Len(t, told.Captured.SecretConfig, 4)
	assert.Less(t, told.Captured.Size(), 32<<10)
	kept := told.Captured
	for _, more := range []string{answer(7, 8), answer(0, 64)} {
		g.Config = kept.Config
		maps.Copy(g.SecretConfig, kept.SecretConfig)
		told = check(more)
		require.NotNil(t, told.Partly)
		assert.Equal(t, providers.ReasonGrantTooLarge, told.Partly.Reason)
		assert.True(t, kept.Equal(told.Captured))
	}
}

// Nor are more entries kept than a grant has.
func TestCheckOfAKeyThatIsToldManyThings(t *testing.T) {
	def := &providers.Definition{}
	wide(def, "identity")
	_, g, check := keyed(t, providers.StepIdentity, append(def.Connection, from("identity", "last"))...)
	g.Config = map[string]string{"last": "kept"}
	var values []string
	for _, c := range def.Connection {
		values = append(values, `"`+c.Name+`":"v"`)
		g.Config[c.Name] = "former"
	}
	told := check("{" + strings.Join(values, ",") + "}").Captured
	assert.Equal(t, 64, len(told.Config)+len(told.SecretConfig))
	assert.NotContains(t, told.Config, "last")
}

// What was told stands where the definition names it, in the calls that follow and for applications.
func TestWhatAKeyWasToldIsSent(t *testing.T) {
	app, g, check := keyed(t, providers.StepIdentity, from("identity", "team"), from("identity", "tag", secret))
	app.Definition.APIBase = "https://api.example.com/{team}"
	app.Definition.Send.Optional = map[string]providers.Template{"X-Tag": "{tag}"}
	assert.Empty(t, app.APIBase(nil, g))
	told := check(`{"x":{"team":"t1","tag":"s1"}}`)
	g.Config = told.Captured.Config
	g.SecretConfig["tag"] = told.Captured.SecretConfig["tag"]
	assert.Equal(t, "https://api.example.com/t1", app.APIBase(nil, g))
	shown, err := app.Present(nil, g)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"X-Key": "key-1", "X-Tag": "s1"}, shown.Headers)
	assert.True(t, app.Definition.CapturedOf(g).Equal(told.Captured), "the key is no part of it")
}

// A call may need what an input tells.
func TestCheckOfAKeyWithAnInput(t *testing.T) {
	app, g, check := keyed(t, providers.StepIdentity, from("input", "tenant"))
	g.Config = map[string]string{}
	app.Definition.Send.Headers["X-Tenant"] = "{tenant}"
	assert.Equal(t, map[string]string{"tenant": "acme"}, check(`{}`).Captured.Config)
	assert.Empty(t, g.Config, "what was shown is the caller's, and stays")
}

// Whose a key is, its health call tells where there is no other.
func TestAccountOfAKey(t *testing.T) {
	account := providers.AccountSpec{ID: []string{"connection_config:company", "health:x.id"}}
	for name, test := range map[string]struct {
		step     providers.Step
		identity bool
		want     string
	}{
		"by what its address names":     {providers.StepIdentity, true, "acme"},
		"the health call alone":         {providers.StepHealth, false, "7"},
		"another call would tell of it": {providers.StepHealth, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			app, _, check := keyed(t, test.step, from("input", "company"))
			if app.Definition.Account = account; !test.identity {
				app.Definition.Identity = nil
			}
			assert.Equal(t, test.want, check(`{"x":{"id":"7"}}`).Account.ID)
		})
	}
}

// What the account is read from includes what this very answer told.
func TestAccountOfWhatAKeyWasTold(t *testing.T) {
	app, _, check := keyed(t, providers.StepIdentity, from("identity", "realm"))
	app.Definition.Account = providers.AccountSpec{ID: []string{"connection_config:realm"}}
	assert.Equal(t, "46", check(`{"x":{"realm":"46"}}`).Account.ID)
}

// When a key ends stands in a header, in the spellings that services have.
func TestEndOfAKey(t *testing.T) {
	server := providertest.New(t)
	app, g := probed(server, func(d *providers.Definition) { d.Identity = &providers.Probe{ExpiryHeader: "Key-Ends"} })
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	end := time.Date(2027, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2027-03-04T07:06:07+02:00": end, "2027-03-04 05:06:07 UTC": end, "2027-03-04 07:06:07 +0200": end,
		"Thu, 04 Mar 2027 05:06:07 GMT": end, "": {}, "tomorrow": {},
	} {
		server.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"a"}`, "Key-Ends", text))
		told, err := client.Check(t.Context(), app, res, ofPerson, g)
		require.NoError(t, err)
		assert.Equal(t, want, told.Expires, text)
	}
}

// A grant has a connection_config of its own.
func TestCheckCapturesNothingOfAGrant(t *testing.T) {
	_, g, check := keyed(t, providers.StepIdentity, from("identity", "a"))
	g.AccessToken = providers.NewSecret("token")
	assert.Nil(t, check(`{"x":{"a":"1"}}`).Captured)
}

func TestCaptured(t *testing.T) {
	var none *providers.Captured
	one := &providers.Captured{
		Config: map[string]string{"a": "1"}, SecretConfig: concealed(map[string]string{"b": "2"}),
	}
	assert.True(t, none.Equal(&providers.Captured{}))
	assert.False(t, none.Equal(one))
	assert.False(t, one.Equal(none))
	assert.False(t, one.Equal(&providers.Captured{
		Config:       one.Config,
		SecretConfig: concealed(map[string]string{"b": "3"}),
	}))
	assert.Nil(t, none.Clone())
	assert.Nil(t, (&providers.Captured{Config: map[string]string{}}).Clone())
	assert.Zero(t, none.Size())
	copied := one.Clone()
	assert.True(t, one.Equal(copied))
	copied.Config["a"], copied.SecretConfig["b"] = "2", providers.NewSecret("3")
	assert.Equal(t, map[string]string{"a": "1"}, one.Config)
	assert.Equal(t, "2", one.SecretConfig["b"].Reveal())
}
