package backend

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const robot = `
id: robot
name: Robot
kinds: [key_pair]
check: none
api_base: https://{project_id}.robots.example.com
key:
  fields:
    - name: key_file
      required: true
      secret: true
      handed_out: true
      json:
        client_email: {required: true}
        project_id: {required: true, pattern: '[a-z0-9-]+'}
        private_key: {required: true, secret: true}
`

func robotFile(project string) string {
	return fmt.Sprintf(`{
  "private_key": "-----BEGIN PRIVATE KEY-----\nthe-secret-of-the-robot\n-----END PRIVATE KEY-----\n",
  "client_email": "robot@%s.example.com", "project_id": %q
}
`, project, project)
}

// A key that is a JSON file is stored as it is, and what is secret in it is masked wherever it is not handed out.
func TestKeyFileOfAConnection(t *testing.T) {
	eachWith(t, withDefinition(t, "robot", robot), func(t *testing.T, f *fixture) {
		f.Write("providers/robot", nil).OK(t)
		shown := members(t, members(t, f.Read("catalog/robot", nil).OK(t)["key_fields"])["key_file"])
		assert.Equal(t, map[string]any{"required": true, "secret": true}, members(t, shown["json"])["private_key"])
		assert.Equal(t, map[string]any{"required": true, "secret": false}, members(t, shown["json"])["client_email"])

		made := f.Write("connections/robot", map[string]any{"key_file": robotFile("p-1")}).OK(t)
		key := members(t, made["key"])
		assert.Equal(t, "robot@p-1.example.com", key["client_email"])
		assert.Equal(t, "p-1", key["project_id"])
		for _, name := range []string{"key_file", "private_key"} {
			assert.True(t, strings.HasPrefix(fmt.Sprint(key[name]), "****"), name)
		}
		assert.NotContains(t, fmt.Sprint(made), "the-secret-of-the-robot")
		creds := f.Read("creds/robot", nil).OK(t)
		assert.Equal(t, robotFile("p-1"), creds["key_file"])
		assert.Equal(t, "robot@p-1.example.com", creds["client_email"])
		assert.Equal(t, "-----BEGIN PRIVATE KEY-----\nthe-secret-of-the-robot\n-----END PRIVATE KEY-----\n",
			creds["private_key"])
		assert.Equal(t, "https://p-1.robots.example.com", creds["api_base"])

		f.Write("connections/robot", f.Read("connections/robot", nil).OK(t)).OK(t)
		assert.Equal(t, creds, f.Read("creds/robot", nil).OK(t), "what is read may be written back")
		for _, wrong := range []any{
			robotFile("the-secret-of-the-robot")[:90], `{"private_key": "the-secret-of-the-robot"}`,
			robotFile("p-1") + robotFile("p-1"), strings.Replace(robotFile("p-1"), "{", `{"project_id": "p-2",`, 1),
			map[string]any{"client_email": "the-secret-of-the-robot"},
		} {
			r := f.Write("connections/robot", map[string]any{"key_file": wrong})
			r.Refused(t, http.StatusBadRequest, "key_file")
			assert.NotContains(t, r.Text, "the-secret")
		}
		f.Write("connections/robot", map[string]any{"private_key": "mine"}).
			Refused(t, http.StatusBadRequest, `unknown field "private_key"`)
		assert.Equal(t, creds, f.Read("creds/robot", nil).OK(t), "and nothing was changed")
		f.Write("connections/robot", map[string]any{"key_file": robotFile("p-2")}).OK(t)
		assert.Equal(t, "https://p-2.robots.example.com", f.Read("creds/robot", nil).OK(t)["api_base"])
	})
}
