package providers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

func TestListSites(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*providers.Definition)
		inputs map[string]string
		answer providertest.Behavior
		want   []providers.Choice
		reason string
	}{
		{
			name: "numbers, names, and what is kept of each", answer: providertest.Respond(200,
				`[{"id":90071992547409931,"title":"One\u0007\u202e","url":"https://one.test"},{"id":2,"url":"https://two.test"}]`),
			want: []providers.Choice{
				{ID: "90071992547409931", Name: "One", Config: map[string]string{"url": "https://one.test"}},
				{ID: "2", Config: map[string]string{"url": "https://two.test"}},
			},
		},
		{
			name: "without what is required", answer: providertest.Respond(200, `[{"id":1},{"id":2,"url":"https://two.test"}]`),
			want: []providers.Choice{{ID: "2", Config: map[string]string{"url": "https://two.test"}}},
		},
		{
			name: "those that count", inputs: map[string]string{"area": "eu"}, answer: providertest.Respond(200,
				`[{"id":1,"url":"https://one.test","area":"us"},{"id":2,"url":"https://two.test","area":"eu"}]`),
			want: []providers.Choice{{ID: "2", Config: map[string]string{"url": "https://two.test"}}},
		},
		{
			name: "one that is no list", answer: providertest.Respond(200, `{"id":1,"url":"https://one.test"}`),
			want: []providers.Choice{{ID: "1", Config: map[string]string{"url": "https://one.test"}}},
		},
		{name: "none", answer: providertest.Respond(200, `[]`)},
		{
			name: "no list", change: func(d *providers.Definition) { d.Resources.List = "data" },
			answer: providertest.Respond(200, `{}`), reason: providers.ReasonResourcesUnread,
		},
		{name: "an outage", answer: providertest.Respond(500, `{}`), reason: providers.ReasonServerError},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := providertest.New(t)
			app, g := probed(server, func(d *providers.Definition) {
				d.Inputs = []providers.Input{{Name: "site", SetBy: "connection", Pattern: "[0-9]+"}}
				d.Resources = &providers.Resources{
					ID: "id", Name: "title", Pick: "site", Where: map[string]providers.Template{"area": "{area}"},
				}
				d.Connection = []providers.Capture{{Name: "url", From: "resources", Path: []string{"url"}, Required: true}}
				if test.change != nil {
					test.change(d)
				}
			})
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			res.Inputs = test.inputs
			server.Next(providers.StepIdentity, test.answer)
			found, err := client.ListSites(t.Context(), app, res, g)
			if test.reason != "" {
				assert.Equal(t, test.reason, failure(t, err).Reason)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, &providers.Sites{Input: "site", Choices: test.want}, found)
		})
	}
}

// What was learned before a call failed is kept, and a list that cannot be had does not hide whose the grant is.
func TestIdentifyKeepsWhatItLearned(t *testing.T) {
	listed := providertest.Respond(200, `[{"id":"1"}]`)
	who := providertest.Respond(200, `{"sub":"a","host":"h"}`)
	outage, dead := providertest.Respond(500, `{}`), providertest.Respond(401, `{}`)
	for name, test := range map[string]struct {
		answers []providertest.Behavior // of resources, identity, health
		account string
		config  map[string]string
		sites   int
		class   providers.Class
	}{
		"all is well": {[]providertest.Behavior{listed, who}, "a", map[string]string{"host": "h"}, 1, ""},
		"no list": {
			[]providertest.Behavior{outage, who}, "a", map[string]string{"host": "h"}, 0, providers.Transient,
		},
		"no list, and no word": {[]providertest.Behavior{outage, outage}, "", nil, 0, providers.Transient},
		"a list, and no word":  {[]providertest.Behavior{listed, outage}, "", nil, 1, providers.Transient},
		"a dead token":         {[]providertest.Behavior{dead}, "", nil, 0, providers.Expired},
	} {
		t.Run(name, func(t *testing.T) {
			server := providertest.New(t)
			app, g := probed(server, func(d *providers.Definition) {
				d.Inputs = []providers.Input{{Name: "site", SetBy: "connection", Pattern: "[0-9]+"}}
				d.Resources = &providers.Resources{ID: "id", Pick: "site"}
				d.Connection = []providers.Capture{{Name: "host", From: "identity", Path: []string{"host"}}}
			})
			client := newClient(t, time.Now)
			res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
			require.NoError(t, err)
			server.Next(providers.StepIdentity, test.answers...)
			err = client.Identify(t.Context(), app, res, ofPerson, g)
			assert.Equal(t, len(test.answers), server.Count(providers.StepIdentity))
			if test.class == "" {
				require.NoError(t, err)
			} else {
				assert.Equal(t, test.class, failure(t, err).Class)
			}
			assert.Equal(t, test.account, g.Account.ID)
			assert.Equal(t, test.config, g.Config)
			assert.Len(t, g.Sites.Choices, test.sites)
			assert.Equal(t, test.sites == 0, g.Sites.Unknown)
		})
	}
}

// A call may need what an earlier one told.
func TestIdentifyCapturesAfterEachCall(t *testing.T) {
	server := providertest.New(t)
	app, g := probed(server, func(d *providers.Definition) {
		d.Health = &providers.Probe{Call: providers.Call{Params: map[string]providers.Template{"team": "{team}"}}}
		d.Connection = []providers.Capture{
			{Name: "team", From: "identity", Path: []string{"team"}}, {Name: "plan", From: "health", Path: []string{"plan"}},
		}
	})
	client := newClient(t, time.Now)
	res, err := client.Resolve(t.Context(), app, providers.KindAuthorizationCode, nil)
	require.NoError(t, err)
	server.Next(providers.StepIdentity, providertest.Respond(200, `{"sub":"a","team":"t-1"}`),
		providertest.Respond(500, `{}`))
	assert.Equal(t, providers.Transient, failure(t, client.Identify(t.Context(), app, res, ofPerson, g)).Class)
	assert.Equal(t, map[string]string{"team": "t-1"}, g.Config, "what was learned before stays")
	assert.Equal(t, "a", g.Account.ID)
	assert.Equal(t, "t-1", server.Requests(providers.StepIdentity)[1].Query.Get("team"))
}

func TestSitesAreBounded(t *testing.T) {
	many, long := &providers.Sites{Input: "site"}, &providers.Sites{Input: "site"}
	for i := range 1000 {
		id := fmt.Sprint(i)
		many.Choices = append(many.Choices, providers.Choice{ID: id})
		config := map[string]string{"c": strings.Repeat("x", 4000)}
		long.Choices = append(long.Choices, providers.Choice{ID: id, Config: config})
	}
	kept := many.Bounded("999")
	assert.Len(t, kept.Choices, 100)
	assert.Equal(t, []any{"999", "0", true}, []any{kept.Choices[0].ID, kept.Choices[1].ID, kept.More})
	assert.Len(t, long.Bounded("").Choices, 4)
	assert.Len(t, many.Choices, 1000)
	few := &providers.Sites{Input: "site", Choices: many.Choices[:3]}
	assert.Equal(t, few, few.Bounded("0"))
}
