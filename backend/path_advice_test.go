package backend

import (
	"encoding/json"
	"net/http"
	"regexp"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAdvice(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		for path, says := range map[string]string{
			"creds":                   "creds/<name>",
			"creds/org/acme":          "creds/org/<org>/<name>",
			"creds/a/b":               "names hold no slash",
			"creds/org/acme/slack/x":  "creds/org/<org>/<name>",
			"refresh/user/u1":         "refresh/user/<user>/<name>",
			"auth-code-url/team/x":    "names hold no slash",
			"connection/slack":        "connections/",
			"provider/slack":          "providers/",
			"token/slack":             "creds/<name>",
			"connect/slack":           "auth-code-url/<name>",
			"callback":                "callback/<provider>",
			"nothing/of/the/kind":     "path-help",
			"connections/org/acme/a/": "connections/org/<org>/<name>",
		} {
			f.Read(path, nil).Refused(t, http.StatusBadRequest, says)
			f.Write(path, map[string]any{"any": "thing"}).Refused(t, http.StatusBadRequest, says)
			f.Delete(path, nil).Refused(t, http.StatusBadRequest, says)
			f.List(path+"//").Refused(t, http.StatusBadRequest, says)
		}
	})
}

// What the mount says of itself names its paths, and no pattern that takes all others.
func TestHelpNamesPaths(t *testing.T) {
	resp, err := newBackend(t).HandleRequest(t.Context(), &logical.Request{Operation: logical.HelpOperation})
	require.NoError(t, err)
	patterns := regexp.MustCompile(`(?m)^    \^.+`).FindAllString(resp.Data["help"].(string), -1)
	require.NotEmpty(t, patterns)
	for _, pattern := range patterns {
		assert.Regexp(t, `^    \^[a-z]`, pattern)
	}
	var doc struct {
		Paths map[string]json.RawMessage `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(openAPI(t), &doc))
	require.NotEmpty(t, doc.Paths)
	for path := range doc.Paths {
		assert.Regexp(t, `^/[a-z]`, path)
	}
}
