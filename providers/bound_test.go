package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func boundDefinition() *Definition {
	d := shopDefinition()
	d.Kinds = []Kind{KindAuthorizationCode, KindClientCredentials}
	d.Inputs = append(d.Inputs, Input{Name: "site", SetBy: SetByConnection, Pattern: `[a-z]*`, Default: "main"},
		Input{Name: "realm", SetBy: SetByConnection, Pattern: `[a-z]*`, Default: "Main", Lower: true})
	return d
}

func TestUnbound(t *testing.T) {
	d := boundDefinition()
	bound := map[string][]string{"shop": {"one", "two"}, "region": {"eu"}}
	for name, c := range map[string]struct {
		kind       Kind
		provider   map[string]string
		connection map[string]string
		want       string
	}{
		"nothing is named":            {KindClientCredentials, nil, nil, ""},
		"what is bound":               {KindClientCredentials, nil, map[string]string{"shop": "two", "region": "eu"}, ""},
		"another's":                   {KindClientCredentials, nil, map[string]string{"shop": "three"}, "shop"},
		"the beginning of one":        {KindClientCredentials, nil, map[string]string{"shop": "tw"}, "shop"},
		"of another input":            {KindClientCredentials, nil, map[string]string{"shop": "eu"}, "shop"},
		"either, and nobody bound it": {KindClientCredentials, nil, map[string]string{"region": "us"}, "region"},
		"either, and the provider's word wins": {
			KindClientCredentials, map[string]string{"region": "eu"}, map[string]string{"region": "us"}, "",
		},
		"a provider's value of the same name, which does not count": {
			KindClientCredentials, map[string]string{"shop": "three"}, map[string]string{"shop": "three"}, "shop",
		},
		"the default":                  {KindClientCredentials, nil, map[string]string{"site": "main"}, ""},
		"the default in other letters": {KindClientCredentials, nil, map[string]string{"realm": "main"}, ""},
		"an empty text is no default":  {KindClientCredentials, nil, map[string]string{"site": ""}, "site"},
		"what the provider alone sets": {KindClientCredentials, nil, map[string]string{"version": "v9"}, ""},
		"what the provider alone says": {
			KindClientCredentials, map[string]string{"version": "v9"}, map[string]string{"shop": "one"}, "",
		},
		"a person's consent proves it":    {KindAuthorizationCode, nil, map[string]string{"shop": "three"}, ""},
		"a key opens what it is made for": {KindAPIKey, nil, map[string]string{"shop": "three"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, found := d.Unbound(c.kind, c.provider, c.connection, bound)
			assert.Equal(t, c.want, got)
			assert.Equal(t, c.want != "", found)
		})
	}
}

func TestCheckBound(t *testing.T) {
	d := boundDefinition()
	got, err := d.CheckBound(map[string][]string{"shop": {"a.shop.example", "a", "b"}, "region": {}})
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"shop": {"a", "b"}}, got, "as connections have them, each once")

	for says, values := range map[string]map[string][]string{
		`input "colour" is not declared by shop: allowed here are realm, region, shop, site`:      {"colour": {"red"}},
		`input "version" is set on the provider alone`:                                            {"version": {"v1"}},
		`input "shop" must match [a-z0-9-]+ (the part before .shop.example), for example my-shop`: {"shop": {"ok", "NOT OK"}},
	} {
		_, err := d.CheckBound(values)
		assert.ErrorContains(t, err, says)
	}
	d.Kinds = []Kind{KindAuthorizationCode, KindAPIKey}
	_, err = d.CheckBound(map[string][]string{"shop": {"a"}})
	assert.ErrorContains(t, err, "nothing to bind")
}
