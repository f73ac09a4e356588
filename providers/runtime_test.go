package providers

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDecodeRuntime(t *testing.T) {
	r, err := Builtin()
	require.NoError(t, err)
	const text = "name: Mine\nextends: google\nendpoints: {token: 'http://127.0.0.1:8/t', revoke: 'http://[::1]:8/r'}\n"
	for _, name := range []string{"mine", "1.10", "true", "a.yaml", "google"} {
		d, err := r.DecodeRuntime(name, []byte(text))
		require.NoError(t, err)
		assert.Equal(t, "provider:"+name, d.ID)
		assert.True(t, d.Runtime())
		assert.NotEmpty(t, d.Authorize.Params, "the parent's")
		d, err = r.DecodeRuntime(name, fmt.Appendf([]byte(text), "id: %q\n", name))
		require.NoError(t, err)
		assert.Equal(t, "provider:"+name, d.ID)
	}
	flow := `{name: F, kinds: [api_key], key: {fields: [{name: api_key, secret: true}]},
send: {query: {k: '{api_key}'}}}`
	d, err := r.DecodeRuntime("flow", []byte(flow))
	require.NoError(t, err, "braces are YAML as well")
	assert.Equal(t, "provider:flow", d.ID)
	for text, want := range map[string]string{
		"{}": "mine:1: ", "name: x": "mine:1: ", "": "mine:1: ", "id: ~\nname: x": "mine:1: id", "- a": "mine:1: ",
	} {
		_, err := r.DecodeRuntime("mine", []byte(text))
		require.ErrorContains(t, err, want, text)
	}
	of := map[string]NamedURL{}
	d, err = r.DecodeRuntime("mine", []byte(text))
	require.NoError(t, err)
	for _, u := range d.NamedURLs() {
		of[u.At] = u
	}
	assert.Equal(t, NamedURL{"endpoints.token", "http://127.0.0.1:8", "127.0.0.1"}, of["endpoints.token"])
	assert.Equal(t, NamedURL{"endpoints.revoke", "http://[::1]:8", "::1"}, of["endpoints.revoke"])
	assert.Equal(t, "accounts.google.com", of["endpoints.authorize"].Host)

	_, err = r.Decode("mine.yaml", []byte("id: mine\n"+text))
	assert.ErrorContains(t, err, "plain http", "a file of the catalogue leads to no machine of its own")
	_, err = r.Decode("provider:mine.yaml", []byte("id: provider:mine\n"+strings.ReplaceAll(text, "http:", "https:")))
	assert.ErrorContains(t, err, "is not the file's name")
	_, err = r.DecodeRuntime("mine", []byte(strings.ReplaceAll(text, "127.0.0.1", "{host}")))
	assert.ErrorContains(t, err, "plain http")
	_, err = r.DecodeRuntime("mine", []byte(strings.ReplaceAll(text, "127.0.0.1", "127.0.0.1.example.com")))
	assert.ErrorContains(t, err, "plain http")
	_, ok := r.Get("provider:mine")
	assert.False(t, ok, "the registry did not change")
}

// What is no part of the pin is written down here; a field that is added is part of it.
func TestPin(t *testing.T) {
	free := []string{
		"Name", "Summary", "Category", "Extends", "Sources", "Setup.", "Lifetime.", "Failures", "Companions",
		"Checked", "Check", "CheckInterval.", "Scopes.About", "Scopes.Default",
		"Scopes.Identity", "Scopes.Offline", "Scopes.Allowed", "Scopes.Same", "Scopes.Surplus", "Scopes.Implies",
		"Scopes.Silent", "Scopes.Accumulates", "Inputs[0].Example", "Inputs[0].Help", "Key.Fields[0].Example",
		"Key.Fields[0].Help",
	}
	full := func() *Definition {
		d := &Definition{}
		fill(reflect.ValueOf(d).Elem())
		return d
	}
	before := full().Pin()
	assert.Equal(t, before, full().Pin())
	assert.Len(t, before, 64)
	n := 0
	var paths []string
	leaves(reflect.ValueOf(full()).Elem(), "", func(at string, _ reflect.Value) { paths = append(paths, at) })
	require.Greater(t, len(paths), 150)
	for i, at := range paths {
		d := full()
		n = 0
		leaves(reflect.ValueOf(d).Elem(), "", func(_ string, v reflect.Value) {
			if n == i {
				v.SetZero()
			}
			n++
		})
		isFree := false
		for _, prefix := range free {
			isFree = isFree || at == prefix || strings.HasPrefix(at, prefix) && strings.HasSuffix(prefix, ".") ||
				strings.HasPrefix(at, prefix+"[")
		}
		assert.Equal(t, isFree, d.Pin() == before, at)
	}
	assert.Equal(t, before, full().Pin())
}

// fill gives every field a value.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(v.Index(0))
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(key)
		fill(value)
		v.SetMapIndex(key, value)
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i))
			}
		}
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(1)
	}
}

// leaves visits what can be set below a value: maps and pointers to texts as a whole.
func leaves(v reflect.Value, at string, visit func(at string, v reflect.Value)) {
	switch {
	case v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Struct:
		leaves(v.Elem(), at, visit)
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			leaves(v.Index(i), fmt.Sprintf("%s[%d]", at, i), visit)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				leaves(v.Field(i), strings.TrimPrefix(at+"."+v.Type().Field(i).Name, "."), visit)
			}
		}
	default:
		visit(at, v)
	}
}

// The hosts of variants, and values with several sources, are looked at like all others.
func TestRuntimeDefinitionWithVariants(t *testing.T) {
	const text = `
name: Own
kinds: [authorization_code]
inputs:
  - name: environment
    set_by: provider
    default: live
    variants:
      live: {api_host: api.example.com}
      sandbox: {api_host: sandbox.example.net}
endpoints:
  authorize: https://{api_host}/authorize
  token: https://{api_host}/token
connection_config:
  - {name: thing, any_of: [{from: callback, path: [thing]}, {from: token, path: [%s]}], pattern: '.*'}
`
	catalog, err := Builtin()
	require.NoError(t, err)
	d, err := catalog.DecodeRuntime("own", []byte(strings.Replace(text, "%s", "thing", 1)))
	require.NoError(t, err)
	hosts := map[string]bool{}
	for _, u := range d.NamedURLs() {
		hosts[u.Host] = true
	}
	assert.Equal(t, map[string]bool{"api.example.com": true, "sandbox.example.net": true}, hosts)
	_, err = catalog.DecodeRuntime("own", []byte(strings.Replace(text, "%s", "access_token", 1)))
	assert.ErrorContains(t, err, "holds a token or a secret by its name")
}
