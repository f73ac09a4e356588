package providers

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func shopDefinition() *Definition {
	return &Definition{ID: "shop", Name: "Shop", Inputs: []Input{
		{
			Name: "shop", SetBy: SetByConnection, Required: true, Pattern: `[a-z0-9-]+`, Strip: ".shop.example",
			Example: "my-shop", Help: "the part before .shop.example",
		},
		{Name: "version", SetBy: SetByProvider, Default: "v1", Pattern: `v[0-9]`},
		{Name: "region", SetBy: SetByEither, Pattern: `eu|us`},
		{Name: "prefix", SetBy: SetByProvider, Pattern: `[a-z]*`},
	}}
}

func TestCheckInputs(t *testing.T) {
	for name, test := range map[string]struct {
		by     string
		values map[string]string
		want   map[string]string
		err    string
	}{
		"none": {SetByConnection, nil, map[string]string{}, ""},
		"suffix cut off": {
			SetByConnection, map[string]string{"shop": "a.shop.example"}, map[string]string{"shop": "a"}, "",
		},
		"either, connection": {SetByConnection, map[string]string{"region": "eu"}, map[string]string{"region": "eu"}, ""},
		"either, provider":   {SetByProvider, map[string]string{"region": "us"}, map[string]string{"region": "us"}, ""},
		"not declared": {
			SetByConnection,
			map[string]string{"colour": "red"},
			nil,
			`input "colour" is not declared by shop: allowed here are region, shop`,
		},
		"the provider's": {
			SetByConnection,
			map[string]string{"version": "v2"},
			nil,
			`input "version" is set on the provider: allowed here are region, shop`,
		},
		"the connection's": {
			SetByProvider,
			map[string]string{"shop": "a"},
			nil,
			`input "shop" is set on the connection: allowed here are prefix, region, version`,
		},
		"against the pattern": {
			SetByConnection,
			map[string]string{"shop": "evil.com#"},
			nil,
			`input "shop" must match [a-z0-9-]+ (the part before .shop.example), for example my-shop`,
		},
		"matched whole, start": {
			SetByProvider, map[string]string{"version": "xv1"}, nil, `input "version" must match v[0-9]`,
		},
		"matched whole, end": {
			SetByProvider, map[string]string{"version": "v1\n"}, nil, `input "version" must match v[0-9]`,
		},
		"alternatives anchored": {SetByProvider, map[string]string{"region": "eux"}, nil, `input "region" must match eu|us`},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := shopDefinition().CheckInputs(test.by, KindAuthorizationCode, test.values)
			if test.err != "" {
				require.EqualError(t, err, test.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}

func TestMergeInputs(t *testing.T) {
	d := shopDefinition()
	got, err := d.MergeInputs(KindAuthorizationCode, map[string]string{"region": "eu"}, map[string]string{
		"shop":   "a",
		"region": "us",
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"shop": "a", "version": "v1", "region": "eu", "prefix": ""}, got,
		"the provider wins, a default fills in, and what may be empty is")

	got, err = d.MergeInputs(KindAuthorizationCode, map[string]string{"version": "v2"}, map[string]string{
		"shop":    "a",
		"version": "v3",
	})
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"shop": "a", "version": "v2", "prefix": ""}, got,
		"a connection cannot set what is not its own")

	_, err = d.MergeInputs(KindAuthorizationCode, map[string]string{"shop": "a"}, nil)
	require.EqualError(t, err,
		`input "shop" is missing: set it on the connection (the part before .shop.example), for example my-shop`)

	d.Inputs[2].Required = true
	_, err = d.MergeInputs(KindAuthorizationCode, nil, map[string]string{"shop": "a"})
	require.EqualError(t, err, `input "region" is missing: set it on the provider or the connection`)
}

// An input that goes with another is set with it, unless it is set to what goes with the other's default.
func TestInputsThatGoTogether(t *testing.T) {
	d := &Definition{ID: "git", Inputs: []Input{
		{Name: "host", SetBy: SetByEither, Default: "git.example", Pattern: `[a-z.]+`, Requires: []string{"api"}},
		{Name: "api", SetBy: SetByProvider, Default: "https://api.git.example", Pattern: `https://[a-z.]+`, Help: "the API"},
	}}
	for name, c := range map[string]struct {
		provider, connection map[string]string
		fits                 bool
	}{
		"neither":                   {nil, nil, true},
		"both":                      {map[string]string{"host": "a.b", "api": "https://api.a.b"}, nil, true},
		"the one":                   {map[string]string{"host": "a.b"}, nil, false},
		"the one, as by default":    {map[string]string{"host": "git.example"}, nil, true},
		"the other":                 {map[string]string{"api": "https://api.a.b"}, nil, true},
		"the one by the connection": {nil, map[string]string{"host": "a.b"}, false},
		"the one by the connection, both": {
			map[string]string{"api": "https://api.a.b"}, map[string]string{"host": "a.b"}, true,
		},
		"the other by who may not": {nil, map[string]string{"host": "a.b", "api": "https://api.a.b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			merged, err := d.MergeInputs(KindAuthorizationCode, c.provider, c.connection)
			require.NoError(t, err)
			failure := d.checkUsed(KindAuthorizationCode, c.provider, c.connection, merged)
			if c.fits {
				assert.Nil(t, failure)
				return
			}
			require.NotNil(t, failure)
			assert.True(t, failure.NotSent())
			assert.Equal(t, Misconfigured, failure.Class)
			assert.Contains(t, failure.Error(), `input "host" needs "api" beside it: set that on the provider (the API)`)
		})
	}
	_, err := d.CheckInputs(SetByProvider, "", map[string]string{"host": "a.b"})
	require.ErrorContains(t, err, `input "host" needs "api"`)
	_, err = d.CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{"host": "a.b"})
	require.NoError(t, err, "the other is not this side's to set")
}

// FuzzCheckInputs: only declared names pass, only values that match whole, and no error repeats a value.
func FuzzCheckInputs(f *testing.F) {
	for _, seed := range [][2]string{
		{"shop", "a"},
		{"shop", "a.shop.example"},
		{"shop", "a.shop.example.shop.example"},
		{"Shop", "a"},
		{"shop\x00", "a"},
		{"version", "v1"},
		{"", ""},
		{"shop", "evil.com#"},
		{"shop", "a\n"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, name, value string) {
		got, err := shopDefinition().CheckInputs(SetByConnection, KindAuthorizationCode, map[string]string{name: value})
		if err != nil {
			require.Nil(t, got)
			if len(value) > 8 && name == "shop" {
				require.NotContains(t, strings.ReplaceAll(err.Error(), ".shop.example", ""), value)
			}
			return
		}
		require.Contains(t, []string{"shop", "region"}, name)
		if name == "shop" {
			require.Regexp(t, `\A[a-z0-9-]+\z`, got[name])
			require.True(t, value == got[name] || value == got[name]+".shop.example")
		}
	})
}
