package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func keyDefinition() *Definition {
	return &Definition{ID: "acme", Name: "Acme", Key: &Key{Fields: []KeyField{
		{
			Name: "api_key", Required: true, Secret: true, Pattern: `sk-[a-z0-9]{8}`, Shape: "sure", Help: "begins with sk-",
			Derive: map[string]string{"account": `sk-([a-z0-9]{4}).*`},
		},
		{Name: "project", Pattern: `proj-.+`},
		{Name: "pem", Multiline: true, Secret: true},
		{Name: "port", Default: "587"},
		{Name: "app_key", SetBy: SetByProvider, Required: true},
	}}}
}

func TestCheckKey(t *testing.T) {
	good := "sk-12345678"
	for name, test := range map[string]struct {
		by       string
		values   map[string]string
		warnings []string
		err      string
	}{
		"good":                 {SetByConnection, map[string]string{"api_key": good}, nil, ""},
		"several lines of PEM": {SetByConnection, map[string]string{"api_key": good, "pem": "a\r\n\tb\n"}, nil, ""},
		"the operator's":       {SetByProvider, map[string]string{"app_key": "x"}, nil, ""},
		"likely shape": {
			SetByConnection,
			map[string]string{"api_key": good, "project": "hunter2"},
			[]string{`field "project" does not look like a key of Acme, check that it was copied whole`},
			"",
		},
		"sure shape": {
			SetByConnection,
			map[string]string{"api_key": "hunter2"},
			nil,
			`field "api_key" is no key of Acme: it must match sk-[a-z0-9]{8} (begins with sk-)`,
		},
		"shape matched whole": {
			SetByConnection,
			map[string]string{"api_key": good + "9"},
			nil,
			`field "api_key" is no key of Acme: it must match sk-[a-z0-9]{8} (begins with sk-)`,
		},
		"missing": {SetByConnection, nil, nil, `field "api_key" is missing (begins with sk-)`},
		"empty": {
			SetByConnection, map[string]string{"api_key": ""}, nil, `field "api_key" is missing (begins with sk-)`,
		},
		"operator's missing": {SetByProvider, nil, nil, `field "app_key" is missing`},
		"not declared": {
			SetByConnection,
			map[string]string{"apikey": good},
			nil,
			`field "apikey" is not one of acme: allowed here are api_key, pem, port, project`,
		},
		"set by the other": {
			SetByConnection,
			map[string]string{"app_key": "x"},
			nil,
			`field "app_key" is set on the provider: allowed here are api_key, pem, port, project`,
		},
		"line break": {
			SetByConnection,
			map[string]string{"api_key": good + "\n"},
			nil,
			`field "api_key" holds a line break or another control character, was it copied with the line's end?`,
		},
		"control character": {
			SetByConnection,
			map[string]string{"pem": "a\x1bb"},
			nil,
			`field "pem" holds a line break or another control character, was it copied with the line's end?`,
		},
		"not text": {
			SetByConnection,
			map[string]string{"pem": "\xff\xfe"},
			nil,
			`field "pem" is not UTF-8 text`,
		},
		"too long": {
			SetByConnection,
			map[string]string{"pem": strings.Repeat("x", maxKeyField+1)},
			nil,
			`field "pem" has more than 65536 bytes`,
		},
		"longest there may be": {
			SetByConnection, map[string]string{"api_key": good, "pem": strings.Repeat("x", maxKeyField)}, nil, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			warnings, err := keyDefinition().CheckKey(test.by, test.values)
			if test.err != "" {
				require.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.warnings, warnings)
		})
	}
}

func TestCheckKeyWithoutAKey(t *testing.T) {
	d := &Definition{ID: "acme"}
	_, err := d.CheckKey(SetByConnection, nil)
	require.NoError(t, err)
	_, err = d.CheckKey(SetByConnection, map[string]string{"api_key": "x"})
	require.EqualError(t, err, `field "api_key" is not one of acme: allowed here are none`)
}

func TestDeriveKey(t *testing.T) {
	d := keyDefinition()
	assert.Equal(t, map[string]string{"account": "1234", "port": "587"}, d.DeriveKey(map[string]string{
		"api_key": "sk-12345678",
	}))
	assert.Equal(t, map[string]string{}, d.DeriveKey(map[string]string{"api_key": "none", "port": "25"}))
	assert.Equal(t, map[string]string{}, (&Definition{}).DeriveKey(map[string]string{"api_key": "x"}))
}

func TestSecretFields(t *testing.T) {
	d := keyDefinition()
	f, ok := d.KeyField("project")
	assert.True(t, ok)
	assert.Equal(t, "project", f.Name)
	_, ok = d.KeyField("account")
	assert.False(t, ok, "a derived value is no field")
	_, ok = (&Definition{}).KeyField("api_key")
	assert.False(t, ok)

	assert.True(t, d.IsSecretField("api_key"))
	assert.True(t, d.IsSecretField("account"), "a part of a secret is one")
	assert.False(t, d.IsSecretField("project"))
	assert.False(t, (&Definition{}).IsSecretField("api_key"))
}

// What comes along when a key is copied, in every definition.
func TestPastedKeys(t *testing.T) {
	field := KeyField{Name: "api_key", Secret: true}
	for value, want := range map[string]string{
		"key": "", "a key": "", "it's": "", `say "x" twice`: "", "bearer": "", "Bearerkey": "",
		" key": "blank", "key ": "blank", "key\u200b": "cannot be seen", "\ufeffkey": "cannot be seen",
		"key\u00a0": "cannot be seen", "\u2009key": "cannot be seen",
		`"key"`: "quotation", "'key'": "quotation", "“key”": "quotation", "`key`": "quotation",
		"Bearer key": "word Bearer", "bearer key": "word Bearer",
	} {
		err := field.checkText(value)
		if want == "" {
			assert.NoError(t, err, value)
		} else {
			assert.ErrorContains(t, err, want, value)
			assert.NotContains(t, err.Error(), value)
		}
	}
	for _, f := range []KeyField{{Name: "password", Secret: true}, {Name: "site"}, {Name: "k", Secret: true, Multiline: true}} {
		assert.NoError(t, f.checkText(`"key"`), "what may hold quotes")
	}
}
