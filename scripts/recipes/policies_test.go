package recipes_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// rule finds each rule of a policy: its path, and what stands in its braces.
var rule = regexp.MustCompile(`(?ms)^path "([^"]*)"\s*{(.*?)}$`)

// own finds what is of the caller's own.
var own = regexp.MustCompile(`^\w+/(org/{{identity\.entity\.metadata\.org}}/)?self/\+$`)

// mistaken says what is wrong with a policy that looks right, or nothing.
func mistaken(policy string) string {
	found := rule.FindAllStringSubmatch(policy, -1)
	if len(found) == 0 || len(found) != strings.Count("\n"+policy, "\npath ") {
		return "its rules cannot be read"
	}
	for _, r := range found {
		path, body := r[1], r[2]
		below, ours := strings.CutPrefix(path, "connectors/")
		switch {
		case !ours:
			return path + " is not of the mount connectors"
		case strings.HasPrefix(below, "+") && strings.Contains(body, `"deny"`):
			return path + " loses to any allow that names the verb"
		case strings.Contains(below, "org/+/self"):
			return path + " lets anybody into any organization"
		case strings.HasPrefix(below, "*"):
			return path + " is everything"
		case strings.Contains(below, "{{") &&
			!regexp.MustCompile(`^[^{]*({{identity\.entity\.(id|metadata\.org)}}[^{]*)+$`).MatchString(below):
			return path + " goes by what people can choose"
		case strings.HasPrefix(below, "transfer/") && strings.Contains(body, `"update"`) && !own.MatchString(below) &&
			!strings.Contains(body, `"to" = ["user/*", "self/*", "*/user/*", "*/self/*"]`):
			return path + " gives what is another's to whoever offers it"
		case strings.HasPrefix(below, "accept/") && !own.MatchString(below) && !strings.Contains(body, `"provision" = []`):
			return path + " takes in another's name"
		}
	}
	return ""
}

// The policies that people copy have none of the mistakes that the page warns of.
func TestPolicies(t *testing.T) {
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	files, err := filepath.Glob("policies/*")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		policy, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.Empty(t, mistaken(string(policy)), file)
		assert.Contains(t, string(page), "| ["+filepath.Base(file)+"]("+file+") |", "the page names each")
	}
}

func TestMistakenPolicies(t *testing.T) {
	tests := map[string]struct{ policy, says string }{
		"fine": {`path "connectors/creds/+" { capabilities = ["read"] }`, ""},
		"a deny with a leading plus": {`path "connectors/creds/*" { capabilities = ["read"] }
path "connectors/+/org/acme/*" {
  capabilities = ["deny"]
}`, "loses to"},
		"an allow with one":   {`path "connectors/+/org/acme/+" { capabilities = ["read"] }`, ""},
		"any organization":    {`path "connectors/creds/org/+/self/*" { capabilities = ["read"] }`, "any organization"},
		"a name in its place": {`path "connectors/creds/org/{{identity.entity.name}}/self/*" { }`, "can choose"},
		"everything":          {`path "connectors/*" { capabilities = ["read"] }`, "is everything"},
		"a transfer to oneself": {
			`path "connectors/transfer/org/acme/*" { capabilities = ["read", "update"] }`, "whoever offers",
		},
		"a transfer to some persons": {`path "connectors/transfer/org/acme/*" {
  capabilities      = ["update"]
  denied_parameters = { "to" = ["user/*", "self/*"] }
}`, "whoever offers"},
		"a transfer of one's own": {`path "connectors/transfer/self/+" { capabilities = ["update"] }`, ""},
		"a look at offers":        {`path "connectors/transfer/*" { capabilities = ["read"] }`, ""},
		"a taking for others":     {`path "connectors/accept/org/acme/*" { capabilities = ["update"] }`, "another's name"},
		"a taking for oneself": {
			`path "connectors/accept/org/{{identity.entity.metadata.org}}/self/+" { capabilities = ["update"] }`, "",
		},
		"another mount": {`path "sys/auth" { capabilities = ["read"] }`, "not of the mount"},
		"nothing":       {`# a comment`, "cannot be read"},
		"a rule of another form": {`path "connectors/creds/+" { capabilities = ["read"] }
path  "connectors/creds/prod" { capabilities = ["read"] }`, "cannot be read"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			said := mistaken(c.policy)
			if c.says == "" {
				assert.Empty(t, said)
			} else {
				assert.Contains(t, said, c.says)
			}
		})
	}
}
