package files

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func text(written bool) Field { return Field{Type: "string", Written: written, Read: true} }

// spec is what a mount takes, cut down.
func spec() Spec {
	return Spec{
		Fields: map[string]Field{
			"client_id": text(true), "definition": text(true), "definition_yaml": text(true), "issuer": text(true),
			"callback_url": text(false), "proxy_url": text(true), "label": text(true), "kind": text(true),
			"provider": text(true), "rotate_after": text(true), "status": text(false), "ca_pem": text(true),
			"client_key_id": text(true), "frozen_reason": text(true), "debug_until": text(true),
			"confirm":          {Type: "boolean", Written: true, Read: true, Default: true},
			"frozen":           {Type: "boolean", Written: true, Read: true},
			"verify":           {Type: "boolean", Written: true},
			"drop_former":      {Type: "boolean", Written: true},
			"max_flows":        {Type: "integer", Written: true, Read: true},
			"assumed_ttl":      {Type: "string", Format: "duration", Written: true, Read: true},
			"scopes":           {Type: "array", Written: true, Read: true},
			"redirect_uris":    {Type: "array", Written: true, Read: true},
			"inputs":           {Type: "object", Format: "kvpairs", Written: true, Read: true},
			"bound_inputs":     {Type: "object", Format: "map", Written: true, Read: true},
			"authorize_params": {Type: "object", Format: "kvpairs", Written: true, Read: true},
			"companions":       {Type: "object", Format: "kvpairs", Written: true, Read: true, Secret: true},
			"client_secret":    {Type: "string", Written: true, Secret: true},
			"refresh_token":    {Type: "string", Written: true, Secret: true},
		},
		Own: map[string]bool{"api_key": true, "username": false},
	}
}

// entryOf is the one entry of a file.
func entryOf(t *testing.T, path, fields string) Entry {
	t.Helper()
	file, err := Parse("f", []byte("config: "+fields))
	require.NoError(t, err, fields)
	entry := *file.Config
	entry.Path = path
	return entry
}

func answered(t *testing.T, text string) map[string]any {
	t.Helper()
	if text == "" {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	have := map[string]any{}
	require.NoError(t, decoder.Decode(&have), text)
	return have
}

func readsFile(path string) (string, error) {
	if path == "there" {
		return "content\n", nil
	}
	return "", errors.New("no such file")
}

const provider, connection = "providers/x", "connections/org/acme/x"

func TestPlan(t *testing.T) {
	key := Reference{Scheme: "env", Name: "K"}
	for name, c := range map[string]struct {
		path, want, have string
		spec             func(*Spec)
		options          Options
		action           string
		writes           []map[string]any
		fields           []Diff
		reconnects       []string
		unsure           map[string]any
	}{
		"a new one": {
			path: provider, want: `{client_id: 0123, scopes: [chat:write, a b], confirm: "false", verify: false}`,
			action: Create, writes: []map[string]any{{
				"client_id": "0123", "scopes": []any{"chat:write", "a", "b"}, "confirm": false, "verify": false,
			}},
			fields: []Diff{
				{Field: "client_id", After: "0123"},
				{Field: "confirm", After: false},
				{Field: "scopes", After: []any{"chat:write", "a", "b"}},
			},
		},
		"a new one without a field": {path: provider, want: `{}`, action: Create, writes: []map[string]any{{}}},
		"all the same, in other forms": {
			path: provider,
			want: `{client_id: " 12 ", scopes: "a b, c", assumed_ttl: 2h, rotate_after: 30d, max_flows: "7", confirm: true,
				bound_inputs: {o: {i: [1, true]}}, redirect_uris: [], ca_pem: "file:there", verify: true}`,
			have: `{"client_id": "12", "scopes": ["a", "b", "c"], "assumed_ttl": 7200, "rotate_after": "720h0m0s",
				"max_flows": 7,
				"confirm": true, "bound_inputs": {"o": {"i": ["1", "true"]}}, "redirect_uris": [], "ca_pem": "content"}`,
		},
		"an order": {
			path: provider, want: `{scopes: [b, a]}`, have: `{"scopes": ["a", "b"]}`,
			action: Update, writes: []map[string]any{{"scopes": []any{"b", "a"}}},
			fields: []Diff{{Field: "scopes", Before: []any{"a", "b"}, After: []any{"b", "a"}}},
		},
		"an empty duration is none of zero": {
			path: provider, want: `{rotate_after: 0}`, have: `{"rotate_after": ""}`,
			action: Update, writes: []map[string]any{{"rotate_after": int64(0)}},
			fields: []Diff{{Field: "rotate_after", Before: "", After: int64(0)}},
		},
		"a secret that is set": {
			path: provider, want: `{client_secret: env:K, api_key: env:K, username: me}`,
			have: `{"client_secret_set": true, "key_fields_set": ["api_key", "username"]}`,
		},
		"a secret that is set, to be written": {
			path: provider, want: `{client_secret: env:K}`, have: `{"client_secret_set": true}`,
			options: Options{Secrets: true}, action: Update, writes: []map[string]any{{"client_secret": key}},
			fields: []Diff{{Field: "client_secret", Before: Set, After: WillSet}},
		},
		"a secret that is not set": {
			path: provider, want: `{client_secret: env:K, api_key: env:K}`,
			have:   `{"client_secret_set": false, "key_fields_set": []}`,
			action: Update, writes: []map[string]any{{"client_secret": key, "api_key": key}},
			fields: []Diff{
				{Field: "api_key", Before: NotSet, After: WillSet}, {Field: "client_secret", Before: NotSet, After: WillSet},
			},
		},
		"what secrets are bound to": {
			path: provider, want: `{client_id: new, client_secret: env:K}`,
			have:   `{"client_id": "old", "client_secret_set": true}`,
			action: Update, writes: []map[string]any{{"client_id": "new", "client_secret": key}},
			fields: []Diff{
				{Field: "client_id", Before: "old", After: "new"}, {Field: "client_secret", Before: Set, After: WillSet},
			},
			reconnects: []string{"client_id"},
		},
		"what goes along with a secret": {
			path: provider, want: `{client_key_id: k2, client_secret: env:K}`,
			have:   `{"client_key_id": "k1", "client_secret_set": true}`,
			action: Update, writes: []map[string]any{{"client_key_id": "k2", "client_secret": key}},
			fields: []Diff{
				{Field: "client_key_id", Before: "k1", After: "k2"}, {Field: "client_secret", Before: Set, After: WillSet},
			},
		},
		"a fallback": {
			path: provider, want: `{drop_former: true}`, have: `{"former_secret_set": true}`,
			action: Update, writes: []map[string]any{{"drop_former": true}},
			fields: []Diff{{Field: "drop_former", Before: Set, After: WillDrop}},
		},
		"no fallback":           {path: provider, want: `{drop_former: true}`, have: `{"former_secret_set": false}`},
		"a fallback that stays": {path: provider, want: `{drop_former: false}`, have: `{"former_secret_set": true}`},
		"a masked map that looks the same": {
			path: provider, want: `{authorize_params: {a: b, c: env:K}}`,
			have:   `{"authorize_params": {"a": "****", "c": "****"}}`,
			unsure: map[string]any{"authorize_params": map[string]any{"a": "b", "c": "****"}},
		},
		"a masked map of references": {
			path: provider, want: `{authorize_params: {c: env:K}}`, have: `{"authorize_params": {"c": "****"}}`,
		},
		"a masked map of references, to be written": {
			path: provider, want: `{authorize_params: {c: env:K}}`, have: `{"authorize_params": {"c": "****"}}`,
			options: Options{Secrets: true}, action: Update,
			writes: []map[string]any{{"authorize_params": map[string]any{"c": key}}},
			fields: []Diff{{
				Field: "authorize_params", Before: map[string]any{"c": "****"}, After: map[string]any{"c": WillSet},
			}},
		},
		"a masked map": {
			path: provider, want: `{authorize_params: {a: 0123456789-0123456789}}`,
			have:   `{"authorize_params": {"a": "****"}}`,
			action: Update, writes: []map[string]any{{"authorize_params": map[string]any{"a": "0123456789-0123456789"}}},
			fields: []Diff{{
				Field: "authorize_params", Before: map[string]any{"a": "****"}, After: map[string]any{"a": "****6789"},
			}},
		},
		"companions": {
			path: provider, want: `{companions: {a: env:K, b: env:K}}`, have: `{"companions": {"a": "****", "c": "****"}}`,
			action: Update, writes: []map[string]any{{"companions": map[string]any{"a": "****", "b": key}}},
			fields: []Diff{
				{Field: "companions.b", Before: NotSet, After: WillSet}, {Field: "companions.c", Before: Set, After: WillDrop},
			},
		},
		"a proxy, the same": {
			path: "config", want: `{proxy_url: "http://me:planted-password@h:1/p"}`,
			have: `{"proxy_url": "http://me:****@h:1/p"}`,
		},
		"a proxy as it was read": {
			path: "config", want: `{proxy_url: "http://me:****word@h:1/p"}`, have: `{"proxy_url": "http://me:****word@h:1/p"}`,
		},
		"a proxy": {
			path: "config", want: `{proxy_url: "http://me:planted-password-of-mine@h:2"}`, have: `{"proxy_url": ""}`,
			action: Update, writes: []map[string]any{{"proxy_url": "http://me:planted-password-of-mine@h:2"}},
			fields: []Diff{{Field: "proxy_url", Before: "", After: "http://me:****mine@h:2"}},
		},
		"a reason goes with what it is of": {
			path: provider, want: `{frozen: true, frozen_reason: b}`, have: `{"frozen": true, "frozen_reason": "a"}`,
			action: Update, writes: []map[string]any{{"frozen": true, "frozen_reason": "b"}},
			fields: []Diff{{Field: "frozen_reason", Before: "a", After: "b"}},
		},
		"a key": {
			path: connection, want: `{api_key: env:K, username: me, verify: false, label: L}`,
			action: Create, writes: []map[string]any{{"api_key": key, "username": "me", "verify": false, "label": "L"}},
			fields: []Diff{
				{Field: "api_key", Before: NotSet, After: WillSet}, {Field: "label", After: "L"}, {Field: "username", After: "me"},
			},
		},
		"a key that is there": {
			path: connection, want: `{api_key: env:K, username: you, verify: false}`,
			have:   `{"key": {"api_key": "****", "username": "me"}}`,
			action: Update, writes: []map[string]any{{"username": "you", "verify": false}},
			fields: []Diff{{Field: "username", Before: "me", After: "you"}},
		},
		"a key that belongs elsewhere": {
			path: connection, want: `{api_key: env:K, username: me}`,
			have:   `{"key": {"api_key": "****", "username": "me"}, "status_reason": "provider_changed"}`,
			action: Update, writes: []map[string]any{{"api_key": key}},
			fields: []Diff{{Field: "api_key", Before: NotSet, After: WillSet}},
		},
		"inputs go with the key": {
			path: connection, want: `{inputs: {shop: two}, api_key: env:K}`,
			have:   `{"inputs": {"shop": "one"}, "key": {"api_key": "****"}}`,
			action: Update, writes: []map[string]any{{"inputs": map[string]any{"shop": "two"}, "api_key": key}},
			fields: []Diff{
				{Field: "api_key", Before: Set, After: WillSet},
				{Field: "inputs", Before: map[string]any{"shop": "one"}, After: map[string]any{"shop": "two"}},
			},
		},
		"an import": {path: connection, want: `{refresh_token: env:K}`, have: `{"kind": "authorization_code"}`},
		"companions come by themselves": {
			path: connection, want: `{api_key: env:K, companions: {a: env:K}}`, action: Create,
			writes: []map[string]any{{"api_key": key}, {"companions": map[string]any{"a": key}}},
			fields: []Diff{
				{Field: "api_key", Before: NotSet, After: WillSet}, {Field: "companions.a", Before: NotSet, After: WillSet},
			},
		},
		"a consent": {
			path: connection, want: `{label: L}`, spec: func(s *Spec) { s.ByPerson = true }, action: Connect,
			fields: []Diff{{Field: "label", After: "L"}},
		},
		"a key by a consent's side": {
			path: connection, want: `{api_key: env:K}`, spec: func(s *Spec) { s.ByPerson = true }, action: Create,
			writes: []map[string]any{{"api_key": key}}, fields: []Diff{{Field: "api_key", Before: NotSet, After: WillSet}},
		},
		"a consent that is there": {
			path: connection, want: `{label: L}`, have: `{"label": "M"}`, spec: func(s *Spec) { s.ByPerson = true },
			action: Update, writes: []map[string]any{{"label": "L"}},
			fields: []Diff{{Field: "label", Before: "M", After: "L"}},
		},
		"a consent with other inputs": {
			path: connection, want: `{inputs: {shop: two}}`, have: `{"inputs": {"shop": "one"}}`,
			spec: func(s *Spec) { s.ByPerson = true }, action: Connect,
			fields: []Diff{{Field: "inputs", Before: map[string]any{"shop": "one"}, After: map[string]any{"shop": "two"}}},
		},
		"a pick": {
			path: connection, want: `{inputs: {shop: one, site: two}}`,
			have: `{"inputs": {"shop": "one"}, "connection_config": {"site": "one"}}`,
			spec: func(s *Spec) { s.Picked = []string{"site"} }, action: Update,
			writes: []map[string]any{{"inputs": map[string]any{"site": "two"}}},
			fields: []Diff{{Field: "inputs", Before: "one", After: "two"}},
		},
		"a pick that is made": {
			path: connection, want: `{inputs: {site: two}}`, have: `{"inputs": {}, "connection_config": {"site": "two"}}`,
			spec: func(s *Spec) { s.Picked = []string{"site"} },
		},
		"a field of a definition to come": {
			path: connection, want: `{token: env:K, user: me}`, spec: func(s *Spec) { s.Unknown = true }, action: Create,
			writes: []map[string]any{{"token": key, "user": "me"}},
			fields: []Diff{
				{Field: "token", Before: NotSet, After: WillSet}, {Field: "user", After: "a field of its key"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec()
			if c.spec != nil {
				c.spec(&s)
			}
			c.options.ReadFile = readsFile
			change, problems := s.Plan(entryOf(t, c.path, c.want), answered(t, c.have), c.options)
			require.Empty(t, problems)
			assert.Equal(t, c.action, change.Action)
			assert.Equal(t, c.writes, change.Writes)
			assert.Equal(t, c.fields, change.Fields)
			assert.Equal(t, c.reconnects, change.Reconnects)
			assert.Equal(t, c.unsure, change.Unsure)
			assert.NotContains(t, shown(t, change), "planted")
		})
	}
}

func shown(t *testing.T, change Change) string {
	t.Helper()
	text, err := json.Marshal(change)
	require.NoError(t, err)
	return string(text)
}

func TestPlanRefuses(t *testing.T) {
	for _, c := range []struct{ path, want, have, says string }{
		{provider, `{nothing: x}`, "", "there is no such field; the fields of its key are api_key, username"},
		{provider, `{callback_url: x}`, "{}", "is what the mount answers"},
		{provider, `{client_secret: planted}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: [planted]}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "env:planted-"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "vault:planted"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "vault:planted#"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "vault:#planted"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "file:planted\nx"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "file:"}`, "", "a secret does not stand in the file"},
		{provider, `{client_secret: "****"}`, `{"client_secret_set": true}`, "a secret does not stand in the file"},
		{provider, `{companions: {a: planted}}`, "", "a secret does not stand in the file"},
		{connection, `{api_key: planted}`, "", "a secret does not stand in the file"},
		{provider, `{confirm: maybe}`, "", "takes true or false"},
		{provider, `{max_flows: 1.5}`, "", "takes a whole number"},
		{provider, `{assumed_ttl: 1500ms}`, "", "takes a duration"},
		{provider, `{assumed_ttl: ""}`, "", "takes a duration"},
		{provider, `{scopes: [{a: b}]}`, "", "takes a list of texts"},
		{provider, `{scopes: {a: b}}`, "", "takes a list of texts"},
		{provider, `{inputs: [a]}`, "", "takes a map of texts"},
		{provider, `{inputs: {a: [b]}}`, "", "takes a map of texts"},
		{provider, `{client_id: [a]}`, "", "takes a text"},
		{provider, `{definition: b}`, `{"definition": "a"}`, "is a, which cannot be changed"},
		{provider, `{definition_yaml: "file:absent"}`, "", "no such file"},
		{provider, `{debug_until: 15m}`, "", "is of the moment"},
		{provider, `{drop_former: maybe}`, `{"former_secret_set": true}`, "takes true or false"},
	} {
		_, problems := spec().Plan(entryOf(t, c.path, c.want), answered(t, c.have), Options{ReadFile: readsFile})
		require.Len(t, problems, 1, c.want)
		assert.Contains(t, problems[0].Text, c.says, c.want)
		assert.Contains(t, problems[0].Text, c.path+": ", c.want)
		assert.NotContains(t, problems[0].Text, "planted", c.want)
		assert.Equal(t, 1, problems[0].Line)
	}
}

func TestMasks(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "short": "****", "0123456789-012345678": "****5678", "0123456789-01234567": "****",
		"0123456789-0123456789é": "****",
	} {
		assert.Equal(t, want, Mask(text), text)
	}
	for text, is := range map[string]bool{"****": true, "****abcd": true, "****abcde": false, "***": false, "": false} {
		assert.Equal(t, is, isMask(text), text)
	}
}

func TestResolve(t *testing.T) {
	found := map[string]string{"env:A": "a", "vault:secret/data/x#f": "v"}
	find := func(r Reference) (string, error) {
		if value, ok := found[r.String()]; ok {
			return value, nil
		}
		return "", errors.New("is not set")
	}
	fields := map[string]any{
		"a": Reference{Scheme: "env", Name: "A"}, "b": "env:A",
		"m": map[string]any{"x": Reference{Scheme: "vault", Name: "secret/data/x", Field: "f"}, "y": "****"},
	}
	resolved, err := Resolve(fields, find)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": "a", "b": "env:A", "m": map[string]any{"x": "v", "y": "****"}}, resolved)
	delete(found, "vault:secret/data/x#f")
	_, err = Resolve(fields, find)
	assert.EqualError(t, err, "m: x: vault:secret/data/x#f: is not set")
}

// The names that this package knows beside what the mount says are names of the mount's own document.
func TestNamesAreThoseOfTheDocument(t *testing.T) {
	text, err := os.ReadFile("../../../../backend/testdata/openapi.json")
	require.NoError(t, err)
	var document struct {
		Paths map[string]struct {
			Post struct {
				RequestBody struct {
					Content map[string]struct {
						Schema struct {
							Ref string `json:"$ref"`
						} `json:"schema"`
					} `json:"content"`
				} `json:"requestBody"`
			} `json:"post"`
		} `json:"paths"`
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Type, Format string } `json:"properties"`
			} `json:"schemas"`
		} `json:"components"`
	}
	require.NoError(t, json.Unmarshal(text, &document))
	types := map[string]string{}
	for _, path := range []string{"/config", "/providers/{provider}", "/connections/org/{org}/{name}"} {
		ref := document.Paths[path].Post.RequestBody.Content["application/json"].Schema.Ref
		fields := document.Components.Schemas[ref[strings.LastIndexByte(ref, '/')+1:]].Properties
		require.NotEmpty(t, fields, path)
		for name, field := range fields {
			types[name] = field.Type
			assert.Contains(t, []string{"string", "boolean", "integer", "array", "object"}, field.Type, name)
			assert.Contains(t, []string{"", "duration", "map", "kvpairs"}, field.Format, name)
		}
	}
	for kind, names := range map[string][]string{
		"object": append(slices.Clone(masked), companions), "array": scopes,
		"string": slices.Concat(long, spans, fixed, []string{
			"proxy_url", "archived_reason", "frozen_reason", "refresh_paused_reason",
		}),
	} {
		for _, name := range names {
			assert.Equal(t, kind, types[name], name)
		}
	}
	others := []string{"drop_former", "loopback_return", "track_use", "added_scopes"}
	for _, name := range slices.Concat(pins, moments, others) {
		assert.Contains(t, types, name)
	}
}
