package backend

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// In two parts, so that nobody's scanner takes it for one.
var pasted = "xoxb-" + "123456789012-123456789012-AbCdEfGhIjKlMnOpQrStUvWx"

// A credential that is pasted where people read it is refused by its field and service, and told nowhere.
func TestMisplacedSecrets(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.connect(t, "slack")
		before := f.Read("connections/key", nil).OK(t)
		for where, data := range map[string]map[string]any{
			"label ":            {"label": "ours: " + pasted},
			`"team" in tags`:    {"tags": map[string]any{"team": pasted}},
			"a name in tags":    {"tags": map[string]any{pasted: "x"}},
			`"shop" in inputs`:  {"inputs": map[string]any{"shop": pasted}},
			"a name in inputs ": {"inputs": map[string]any{pasted: "x"}},
		} {
			paths := []string{"connections/key", "connections/org/acme/new"}
			if strings.Contains(where, "inputs") {
				paths = append(paths, "auth-code-url/slack", "device-code/slack", "auth-code-url/another", "providers/acme")
			}
			for _, path := range paths {
				r := f.Write(path, with(map[string]any{"provider": "openai", "api_key": openaiKey}, data))
				if !strings.HasPrefix(path, "connections/") {
					provider := "acme"
					all := with(map[string]any{"provider": provider}, data)
					if strings.HasPrefix(path, "providers/") {
						all = data
					}
					r = f.Write(path, all)
				}
				r.Refused(t, http.StatusBadRequest, where, "Slack", "xoxb-", "nothing was changed")
				assert.NotContains(t, fmt.Sprint(r.Err, r.Text), pasted[5:], path)
			}
		}
		assert.Equal(t, asUnread(before), asUnread(f.Read("connections/key", nil).OK(t)))
		assert.Equal(t, http.StatusNotFound, f.Read("connections/org/acme/new", nil).Status)
		assert.NotContains(t, f.Logs.String(), pasted[5:])
	})
}

// What was stored before may be written back, and what is written beside it is looked at.
func TestMisplacedAndStored(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		entry, err := f.Storage.Get(t.Context(), "connection/org/default/key")
		require.NoError(t, err)
		var stored map[string]any
		require.NoError(t, json.Unmarshal(entry.Value, &stored))
		stored["label"], stored["tags"] = pasted, map[string]string{"team": pasted}
		entry.Value, err = json.Marshal(stored)
		require.NoError(t, err)
		require.NoError(t, f.Storage.Put(t.Context(), entry))
		f.restart(t)
		read := f.Read("connections/key", nil).OK(t)
		require.Equal(t, pasted, read["label"])
		f.Write("connections/key", map[string]any{"label": read["label"], "tags": read["tags"]}).OK(t)
		f.Write("connections/key", map[string]any{"tags": map[string]any{"team": pasted, "more": pasted}}).
			Refused(t, http.StatusBadRequest, `"more" in tags`)
		f.Write("connections/key", map[string]any{"label": pasted + " and more"}).Refused(t, http.StatusBadRequest, "label")
		f.Write("connections/key", map[string]any{"label": "ours", "tags": map[string]any{}}).OK(t)
		f.Write("connections/key", map[string]any{"label": pasted}).Refused(t, http.StatusBadRequest, "label")
	})
}

// What merely looks random is stored, and warned of once.
func TestRandomIsWarnedOf(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		random := "q8Zk3LmX0vT7" + "rB2nY5sW9hJ4"
		warned := func(path string, data map[string]any) string {
			t.Helper()
			r := f.Write(path, data)
			r.OK(t)
			return strings.Join(r.Response.Warnings, "\n")
		}
		said := warned("connections/key", map[string]any{"label": "key " + random, "tags": map[string]any{"id": random}})
		assert.Contains(t, said, "label looks random")
		assert.Contains(t, said, `"id" in tags looks random`)
		assert.NotContains(t, said, random)
		assert.Equal(t, "key "+random, f.Read("connections/key", nil).OK(t)["label"])
		said = warned("connections/key", map[string]any{"label": "key " + random})
		assert.NotContains(t, said, "random", "it is there already")
		assert.NotContains(t, warned("connections/key", map[string]any{"label": "sk-team"}), "random")
	})
}

func TestLooksRandom(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                     false,
		"sk-team":                              false,
		"The sales team's Slack, EMEA (2026)":  false,
		"3f2504e0-4f89-11d3-9a0c-0305e82c3301": false, // a UUID
		"3F2504E0-4F89-11D3-9A0C-0305E82C3301": false,
		"d41d8cd98f00b204e9800998ecf8427e":     false, // an account's id, in 32 digits
		"ada.lovelace+billing-2026@engineering.example.com":                          false,
		"https://acme-2026.my.salesforce.com/services/oauth2/token?Prompt=Login":     false,
		"https://docs.google.com/a/Acme2026/spreadsheets/Team/Sales/Quarter3/Report": false,
		"acme-store-2026.myshopify.com":                                              false,
		"arn:aws:iam::123456789012:role/Sales-Readers-2026":                          false,
		"InternationalizationTeamEMEA":                                               false,
		"00D5g000004XyZaEAK":                                                         false, // Salesforce's ids have 18
		"1234567890123456789012345678":                                               false,
		strings.Repeat("Ab1", 20):                                                    false,
		"q8Zk3LmX0vT7" + "rB2nY5sW9hJ4":                                              true,
		"the key: q8Zk3LmX0vT7" + "rB2nY5sW9hJ4!":                                    true,
		"da39a3ee5e6b4b0d3255" + "bfef95601890afd80709":                              true,
		"wJalrXUtnFEMI/K7MDENG/" + "bPxRfiCYEXAMPLEKEY99":                            true,
	} {
		assert.Equal(t, want, looksRandom(text), text)
	}
}
