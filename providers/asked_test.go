package providers

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAskedInputs(t *testing.T) {
	d := &Definition{Inputs: []Input{
		{Name: "shop", SetBy: SetByConnection, Required: true},
		{Name: "region", SetBy: SetByEither, Required: true, Variants: map[string]map[string]string{"us": nil, "eu": nil}},
		{Name: "zone", SetBy: SetByConnection, Required: true, Default: "one"},
		{Name: "note", SetBy: SetByConnection},
		{Name: "tenant", SetBy: SetByProvider, Required: true},
		{Name: "host", SetBy: SetByProvider, ByKind: map[Kind]KindInput{KindAPIKey: {SetBy: SetByConnection}}},
	}}
	names := func(kind Kind, provider, connection map[string]string) (all []string) {
		for _, in := range d.AskedInputs(kind, provider, connection) {
			all = append(all, in.Name)
		}
		return all
	}
	assert.Equal(t, []string{"shop", "region"}, names(KindAuthorizationCode, nil, nil))
	assert.Equal(t, []string{"shop", "region", "host"}, names(KindAPIKey, nil, nil), "where a key goes says who has it")
	assert.Equal(t, []string{"shop"}, names(KindAPIKey, map[string]string{"region": "eu", "host": "h"}, nil))
	assert.Empty(t, names(KindAuthorizationCode, nil, map[string]string{"shop": "s", "region": "eu"}))
	assert.Equal(t, []string{"eu", "us"}, d.Inputs[1].Choices())
	assert.Empty(t, d.Inputs[0].Choices())
}

func TestMissesKey(t *testing.T) {
	d := &Definition{Key: &Key{Fields: []KeyField{
		{Name: "key", Required: true, Secret: true, Pattern: "k-[0-9]+", Shape: "sure"},
		{Name: "user", Required: true, Default: "me"},
		{Name: "hint", Pattern: "[a-z]+", Shape: "likely"},
		{Name: "app", SetBy: SetByProvider, Required: true},
	}}}
	assert.Len(t, d.AskedKey(), 3, "the operator's is not asked for")
	assert.Empty(t, (&Definition{}).AskedKey())
	assert.Equal(t, []string{"key"}, d.MissesKey(nil))
	assert.Empty(t, d.MissesKey(map[string]string{"key": "k-1", "hint": "9"}))
	assert.Equal(t, []string{"key", "user"}, d.MissesKey(map[string]string{"key": "9", "user": "a\nb"}))
}
