package acceptance

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// endpoint is a vault_generic_endpoint of the Terraform recipe.
type endpoint struct {
	name, path                  string
	ignoresAbsent               bool
	unread, undeleted, replaced bool
	after                       []string // what it depends on
	data                        map[string]any
}

var (
	resourceBlock = regexp.MustCompile(`(?ms)^resource "vault_generic_endpoint" "(\w+)" \{\n(.*?)^\}`)
	attribute     = regexp.MustCompile(`(?m)^ *(\w+) += +(.+?)(?: +#.*)?$`)
	heredoc       = regexp.MustCompile(`(?s)<<-EOT\n(.*?)\n *EOT\n`)
	reference     = regexp.MustCompile(`vault_generic_endpoint\.(\w+)`)
	variable      = regexp.MustCompile(`\$\{jsonencode\(var\.(\w+)\)\}`)
)

// endpoints reads them from the recipe, in its order, for this mount.
func (e *engine) endpoints(t *testing.T, variables map[string]string) (all []*endpoint) {
	t.Helper()
	paths := map[string]string{}
	for _, block := range resourceBlock.FindAllStringSubmatch(recipe(t, "terraform.tf"), -1) {
		r := &endpoint{name: block[1]}
		body := heredoc.FindStringSubmatch(block[2])
		require.NotNil(t, body, r.name)
		encoded := variable.ReplaceAllStringFunc(body[1], func(use string) string {
			value, known := variables[variable.FindStringSubmatch(use)[1]]
			require.True(t, known, use)
			return `"` + value + `"`
		})
		require.NoError(t, json.Unmarshal([]byte(encoded), &r.data), r.name)
		settings := strings.Replace(block[2], body[0], "", 1)
		for _, a := range attribute.FindAllStringSubmatch(settings, -1) {
			switch a[1] {
			case "path":
				r.path = strings.ReplaceAll(strings.Trim(a[2], `"`), "${vault_mount.connectors.path}", e.path)
				if named := reference.FindStringSubmatch(r.path); named != nil {
					r.path = strings.NewReplacer("${"+named[0]+".path}", paths[named[1]], named[0]+".path", paths[named[1]]).
						Replace(r.path)
				}
			case "ignore_absent_fields":
				r.ignoresAbsent = a[2] == "true"
			case "disable_read":
				r.unread = a[2] == "true"
			case "disable_delete":
				r.undeleted = a[2] == "true"
			case "replace_triggered_by":
				r.replaced = true
			case "depends_on", "data_json":
			default:
				require.Fail(t, "the recipe has an attribute that this test does not know", a[1])
			}
		}
		for _, named := range reference.FindAllStringSubmatch(settings, -1) {
			r.after = append(r.after, named[1])
		}
		paths[r.name] = r.path
		all = append(all, r)
	}
	return all
}

// apply sends what Terraform sends.
func (r *endpoint) apply(t *testing.T, e *engine) {
	t.Helper()
	encoded, err := json.Marshal(r.data)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "data.json")
	require.NoError(t, os.WriteFile(file, encoded, 0o600))
	write := e.cli(t, "write", "-format=json", r.path, "@"+file)
	require.Zero(t, write.exit, write.complaint)
}

// answer is what a read of the path has.
func (r *endpoint) answer(t *testing.T, e *engine) map[string]any {
	t.Helper()
	read := e.cli(t, "read", "-format=json", r.path)
	require.Zero(t, read.exit, read.complaint)
	var answer struct{ Data map[string]any }
	require.NoError(t, json.Unmarshal([]byte(read.out), &answer))
	return answer.Data
}

// differs names what the next plan would show, by the rules of vault_generic_endpoint: of the fields that were written,
// those that a read has are compared.
func (r *endpoint) differs(t *testing.T, e *engine) (fields []string) {
	t.Helper()
	if r.unread {
		return nil
	}
	require.True(t, r.ignoresAbsent, "%s: an answer has more than what is written", r.name)
	answer := r.answer(t, e)
	for field, written := range r.data {
		if now, there := answer[field]; there && !assert.ObjectsAreEqual(written, now) {
			fields = append(fields, field)
		}
	}
	return fields
}

func TestTerraformRecipe(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	all := e.endpoints(t, map[string]string{"github_client_secret": appSecret, "openai_api_key": apiKey})
	byName := map[string]*endpoint{}
	for _, r := range all {
		for _, needed := range r.after {
			require.Contains(t, byName, needed, "%s comes before what it depends on", r.name)
		}
		byName[r.name] = r
		require.True(t, strings.HasPrefix(r.path, e.path+"/"), r.path)
	}
	require.Len(t, all, 6)
	byName["openai_key"].data["verify"] = false // that service is out of reach of the tests, or should be
	answers := func() map[string]any {
		now := map[string]any{"creds": e.read(t, "creds/openai")["last_vault_rotation"]}
		for _, r := range all {
			if !r.unread {
				now[r.name] = r.answer(t, e)
			}
		}
		return now
	}
	apply := func(why string) {
		t.Helper()
		for _, r := range all {
			r.apply(t, e)
			assert.Empty(t, r.differs(t, e), "%s: a plan would show a difference in %s", why, r.name)
		}
	}
	apply("first")
	assert.Equal(t, true, byName["github"].answer(t, e)["client_secret_set"])
	assert.Equal(t, apiKey, e.read(t, "creds/openai")["api_key"])
	before := answers()
	apply("again")
	assert.Equal(t, before, answers(), "nothing is seen to have changed, and nothing was rotated")

	for _, r := range all {
		if !r.unread {
			whole := &endpoint{name: r.name, path: r.path, data: r.answer(t, e)}
			whole.apply(t, e)
		}
	}
	assert.Equal(t, before, answers(), "what a read answers, written back, changes nothing")

	byName["openai_key"].data["label"] = "Another label"
	apply("another label")
	after := answers()
	assert.Equal(t, before["creds"], after["creds"], "a label is no rotation")

	github := byName["github"]
	require.True(t, byName["github_client_secret"].replaced)
	github.data["client_id"] = "another"
	github.apply(t, e)
	assert.Equal(t, false, github.answer(t, e)["client_secret_set"], "as the recipe says")
	apply("another app")
	assert.Equal(t, true, github.answer(t, e)["client_secret_set"])

	assert.Equal(t, exitRefused, e.cli(t, "delete", byName["openai"].path).exit, "its key is there")
	assert.Equal(t, exitRefused, e.cli(t, "delete", byName["config"].path).exit, "there is no such operation")
	e.cli(t, "write", byName["openai_key"].path, "disabled=true")
	assert.Equal(t, []string{"disabled"}, byName["openai_key"].differs(t, e), "a plan shows what somebody did by hand")
	for i := range all {
		if r := all[len(all)-1-i]; !r.undeleted {
			destroyed := e.cli(t, "delete", r.path)
			assert.Zero(t, destroyed.exit, "%s: %s", r.name, destroyed.complaint)
			assert.Equal(t, exitRefused, e.cli(t, "read", r.path).exit)
		}
	}
}
