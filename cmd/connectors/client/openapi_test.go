package client

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fields are the names that a struct has in JSON.
func fields(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "-" && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

type schema struct {
	Ref        string         `json:"$ref"`
	Properties map[string]any `json:"properties"`
}

type content map[string]struct {
	Schema schema `json:"schema"`
}

type operation struct {
	Parameters []struct {
		Name string `json:"name"`
	} `json:"parameters"`
	RequestBody struct {
		Content content `json:"content"`
	} `json:"requestBody"`
	Responses map[string]struct {
		Content content `json:"content"`
	} `json:"responses"`
}

// The client says what the engine's own document says: no field that does not exist, and of answers that it takes
// whole, none left out.
func TestFieldsAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../backend/testdata/openapi.json")
	require.NoError(t, err)
	var document struct {
		Paths      map[string]map[string]json.RawMessage `json:"paths"`
		Components struct {
			Schemas map[string]schema `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(text, &document))
	names := func(c content) []string {
		s := c["application/json"].Schema
		if s.Ref != "" {
			s = document.Components.Schemas[s.Ref[strings.LastIndex(s.Ref, "/")+1:]]
		}
		var all []string
		for name := range s.Properties {
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	find := func(path, method string) operation {
		var found operation
		require.Contains(t, document.Paths, path)
		require.NoError(t, json.Unmarshal(document.Paths[path][method], &found))
		return found
	}
	const whole, some = true, false
	for _, c := range []struct {
		path, method string
		answer       any
		whole        bool
	}{
		{"/connections/self/{name}", "get", Connection{}, whole},
		{"/exchange", "post", Connection{}, whole},
		{"/connections/self/", "get", List{}, whole},
		{"/creds/self/{name}", "get", Credential{}, whole},
		{"/creds/shared/user/{user}/{name}", "get", Credential{}, whole},
		{"/check/self/{name}", "post", Check{}, whole},
		{"/auth-code-url/self/{name}", "post", Flow{}, whole},
		{"/history/self/{name}", "get", History{}, whole},
		{"/shares/self/{name}", "get", Shares{}, whole},
		{"/shares/self/{name}", "post", Shares{}, whole},
		{"/transfer/self/{name}", "get", Transfer{}, whole},
		{"/transfer/self/{name}", "post", Transfer{}, whole},
		{"/accept/self/{name}", "post", Connection{}, whole},
		{"/connect-link/self/{name}", "post", Link{}, whole},
		{"/connect-link/self/{name}", "get", LinkState{}, whole},
		{"/catalog", "get", Catalog{}, whole},
		{"/catalog/{definition}", "get", Definition{}, some},
		{"/providers/", "get", ProviderList{}, whole},
		{"/providers/{provider}", "get", Provider{}, whole},
		{"/providers/{provider}", "post", Provider{}, whole},
		{"/providers/{provider}/client-secret", "post", ClientSecretState{}, whole},
		{"/inventory", "get", Inventory{}, whole},
		{"/inventory/org/{org}", "get", Inventory{}, whole},
		{"/revoke", "post", Revocation{}, whole},
		{"/revoke/{job}", "get", Revocation{}, whole},
		{"/revoke/", "get", Revocations{}, whole},
		{"/lookup", "post", Lookup{}, whole},
		{"/lookup/org/{org}/{job}", "get", Lookup{}, whole},
		{"/status", "get", Status{}, whole},
		{"/config", "get", Config{}, some},
	} {
		told := names(find(c.path, c.method).Responses["200"].Content)
		require.NotEmpty(t, told, c.path)
		assert.Subset(t, told, fields(c.answer), "answer of %s", c.path)
		if c.whole && !strings.HasPrefix(c.path, "/creds/shared/") { // what is shared has no companions
			assert.Equal(t, told, fields(c.answer), "answer of %s", c.path)
		}
	}
	for path, request := range map[string]any{
		"/auth-code-url/self/{name}": FlowRequest{}, "/exchange": ExchangeRequest{}, "/shares/self/{name}": ShareRequest{},
		"/accept/self/{name}":                 AcceptRequest{},
		"/providers/{provider}/client-secret": ClientSecret{}, "/revoke": RevokeRequest{}, "/revoke/{job}": RevokeRun{},
		"/lookup": LookupRequest{}, "/lookup/org/{org}": LookupRequest{},
	} {
		assert.Equal(t, names(find(path, "post").RequestBody.Content), fields(request), "fields of %s", path)
	}
	asked := names(find("/connect-link/self/{name}", "post").RequestBody.Content)
	assert.Equal(t, slices.DeleteFunc(asked, func(name string) bool { return name == "flow_id" }), fields(LinkRequest{}),
		"a link has a flow of its own")
	assert.Equal(t, []string{"to"}, names(find("/transfer/self/{name}", "post").RequestBody.Content))
	assert.Subset(t, names(find("/connections/self/{name}", "post").RequestBody.Content), fields(ConnectionUpdate{}))
	queried := func(path, method string) (query []string) {
		for _, parameter := range find(path, method).Parameters {
			query = append(query, parameter.Name)
		}
		return query
	}
	for _, method := range []string{"get", "delete"} {
		assert.Equal(t, []string{"flow_id"}, queried("/connect-link/self/{name}", method))
	}
	assert.ElementsMatch(t, []string{"entities", "groups", "everyone"}, queried("/shares/self/{name}", "delete"))
	assert.ElementsMatch(t, []string{"include", "min_ttl", "provider"}, queried("/creds/self/{name}", "get"),
		"of Credential")
	assert.ElementsMatch(t, fields(InventoryRequest{}), queried("/inventory", "get"), "of Inventory")
	assert.Equal(t, []string{"provider"}, queried("/catalog/{definition}", "get"), "of DefinitionFor")
}
