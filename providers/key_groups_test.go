package providers

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const phones = `id: phones
name: Phones
kinds: [basic]
endpoints:
  health: https://{dc}.phones.example.com/v1/{account_sid}
health: {}
key:
  fields:
    - {name: account_sid, required: true}
    - {name: login, default_from: account_sid}
    - {name: secret_key, secret: true, required: true, derive: {dc: '[a-z]+-([a-z]{2}[0-9])'}}
send: {basic_user: '{login}', basic_password: '{secret_key}'}
`

const doors = `id: doors
name: Doors
kinds: [api_key]
key:
  one_of: [[token], [key_id, key_secret]]
  fields:
    - {name: token, secret: true}
    - {name: key_id}
    - {name: key_secret, secret: true}
send:
  optional_headers: {Authorization: 'Bearer {token}', X-Key: '{key_id}', X-Secret: '{key_secret}'}
`

func TestKeyDefaultsFromAnotherField(t *testing.T) {
	d, err := Decode("phones.yaml", []byte(phones))
	require.NoError(t, err)
	key := map[string]string{"account_sid": "AC1", "secret_key": "abc-us7"}
	_, err = d.CheckKey(SetByConnection, key)
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"login": "AC1", "dc": "us7"}, d.DeriveKey(key))
	key["login"] = "SK1"
	assert.Equal(t, map[string]string{"dc": "us7"}, d.DeriveKey(key))

	assert.Equal(t, []string{".phones.example.com"}, d.fixedHosts())
	u, err := ExpandURL(d.Endpoints[StepHealth], map[string]string{"dc": "us7", "account_sid": "AC1"})
	require.NoError(t, err)
	assert.Equal(t, "us7.phones.example.com", u.Host)
}

func TestBasicWithoutUserOrPassword(t *testing.T) {
	for want, send := range map[string]Send{
		"k:":     {User: "{key}"},
		":k":     {Password: "{key}"},
		"any:k":  {User: "any", Password: "{key}"},
		"any:":   {User: "any", Password: "{absent}"},
		"AC:k":   {User: "AC", Password: "{key}"},
		"k:a k ": {User: "{key}", Password: "a {key} "},
	} {
		header := http.Header{}
		require.True(t, send.apply(map[string]string{"key": "k"}, &url.URL{}, header), want)
		assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte(want)), header.Get("Authorization"))
	}
	_, err := Decode("phones.yaml", []byte(strings.Replace(phones, "basic_user: '{login}', ", "", 1)))
	require.NoError(t, err)
}

func TestKeyOfOneGroup(t *testing.T) {
	d, err := Decode("doors.yaml", []byte(doors))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		key  map[string]string
		want string
	}{
		"one":         {map[string]string{"token": "t"}, ""},
		"the other":   {map[string]string{"key_id": "i", "key_secret": "s", "token": ""}, ""},
		"none":        {map[string]string{"token": ""}, "the key is missing: write token, or key_id and key_secret"},
		"half of one": {map[string]string{"key_secret": "s"}, `field "key_id" is missing: it goes with "key_secret"`},
		"both":        {map[string]string{"token": "t", "key_id": "i", "key_secret": "s"}, "a key has only one of these: token, or key_id and key_secret"},
		"one and half": {
			map[string]string{"token": "t", "key_id": "i"}, `field "key_secret" is missing: it goes with "key_id"`,
		},
	} {
		_, err := d.CheckKey(SetByConnection, c.key)
		if c.want == "" {
			require.NoError(t, err, name)
			continue
		}
		require.EqualError(t, err, c.want, name)
	}
	assert.Equal(t, []string{"key_id", "key_secret"}, d.OtherGroups(map[string]string{"token": "t"}))
	assert.Equal(t, []string{"token"}, d.OtherGroups(map[string]string{"key_id": "i"}))
	assert.Empty(t, d.OtherGroups(map[string]string{"label": "x", "token": ""}))
}

func TestMistakesInKeys(t *testing.T) {
	for _, c := range []struct{ text, old, new, want string }{
		{
			phones, "default_from: account_sid", "default_from: acount_sid",
			`key.fields[1].default_from: "acount_sid" is no other field of the key, did you mean "account_sid"?`,
		},
		{phones, "default_from: account_sid", "default_from: login", `"login" is no other field`},
		{
			phones, "default_from: account_sid", "default_from: account_sid, required: true",
			"drop default and required",
		},
		{
			phones, "default_from: account_sid", "default_from: secret_key",
			"key.fields[1].default_from: \"secret_key\" is secret",
		},
		{
			phones, "required: true}", "set_by: provider}",
			`"account_sid" is set on the provider, and "login" on the connection`,
		},
		{phones, "([a-z]{2}[0-9])", "([a-z/]+)", "its pattern takes more than the characters of a host name"},
		{phones, "https://{dc}.phones.example.com", "https://{dc}", "its pattern leaves open whose host it is"},
		{phones, "https://{dc}.phones", "https://{login}.phones", "only an input, a value derived from a key field"},
		{
			doors, "[key_id, key_secret]", "[key_id, key_secrte]",
			`key.one_of[1][1]: "key_secrte" is no field of the key, did you mean "key_secret"?`,
		},
		{doors, "[[token], [key_id", "[[token], [token, key_id", "key.one_of[1][0]: \"token\" is named twice"},
		{doors, "[[token], [key_id, key_secret]]", "[[token]]", "key.one_of: one group is no choice"},
		{
			doors, "{name: key_id}", "{name: key_id, required: true}",
			`"key_id" may be left out with its group: drop required`,
		},
		{doors, "optional_headers", "headers", `"token" may be left out with its group, and send always names it`},
	} {
		text := strings.Replace(c.text, c.old, c.new, 1)
		require.NotEqual(t, c.text, text, c.old)
		_, err := Decode(c.text[len("id: "):strings.Index(c.text, "\n")]+".yaml", []byte(text))
		require.ErrorContains(t, err, c.want)
	}
}
