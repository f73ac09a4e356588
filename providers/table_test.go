package providers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The table of services in README.md says what the definitions say.
func TestTable(t *testing.T) {
	const begin, end = "<!-- made by: go test ./providers -update -->\n", "<!-- end -->"
	page, err := os.ReadFile("README.md")
	require.NoError(t, err)
	before, rest, found := strings.Cut(string(page), begin)
	require.True(t, found)
	_, after, found := strings.Cut(rest, end)
	require.True(t, found)
	golden(t, "README.md", []byte(before+begin+table(t)+end+after))
}

// table has a row for each definition.
func table(t *testing.T) string {
	t.Helper()
	r, err := Builtin()
	require.NoError(t, err)
	var b strings.Builder
	b.WriteString("| service | kinds | refresh token | revocation | whose account | check | unused, consent | ")
	b.WriteString("fixtures |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|\n")
	front, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	_, named, found := strings.Cut(string(front), "\n## Providers\n")
	require.True(t, found)
	named, _, _ = strings.Cut(named, "\n\nA service is")
	for _, id := range r.IDs() {
		assert.True(t, strings.Contains(named, "`"+id+"`"), "%s: the front README's table of providers lacks it", id)
		d, _ := r.Get(id)
		kinds := make([]string, len(d.Kinds))
		for i, kind := range d.Kinds {
			kinds[i] = string(kind)
		}
		written, err := filepath.Glob(filepath.Join("providertest", "testdata", id, "*.txtar"))
		require.NoError(t, err)
		fmt.Fprintf(&b, "| [%s](catalog/%s.yaml) | %s | %s | %s | %s | %s | %s | %d |\n", id, id, strings.Join(kinds, ", "),
			renewalWord(d), revocationWord(d), accountWord(d), checkWord(d), limitWords(d), len(written))
	}
	return b.String()
}

func renewalWord(d *Definition) string {
	switch {
	case !takesConsent(d):
		return ""
	case d.Refresh.Token == "":
		return "may_rotate"
	}
	return d.Refresh.Token
}

func revocationWord(d *Definition) string {
	switch {
	case !takesConsent(d):
		return ""
	case d.Revoke == nil:
		return "none known"
	case d.Revoke.Reach == "":
		return "unknown reach"
	}
	return d.Revoke.Reach
}

func takesConsent(d *Definition) bool {
	for _, kind := range d.Kinds {
		if kind == KindAuthorizationCode {
			return true
		}
	}
	return false
}

func accountWord(d *Definition) string {
	if len(d.Account.ID) == 0 {
		return "none known"
	}
	return "`" + d.Account.ID[0] + "`"
}

func checkWord(d *Definition) string {
	switch {
	case d.Health != nil:
		return string(StepHealth) + onlyWords(d.Health)
	case d.Identity != nil:
		return string(StepIdentity) + onlyWords(d.Identity)
	case d.Login != nil:
		return "login (" + d.Login.Protocol + ")"
	case d.Generic:
		return "the operator's"
	}
	return "none"
}

// onlyWords name the kinds that a call is made for, where it is not for all.
func onlyWords(p *Probe) string {
	words := ""
	for _, kind := range p.Kinds {
		words += ", " + string(kind)
	}
	if words == "" {
		return ""
	}
	return " (" + strings.TrimPrefix(words, ", ") + ")"
}

// limitWords are after how long an unused grant ends, and any.
func limitWords(d *Definition) string {
	words := ""
	if d.Refresh.Idle.String() != "" {
		words = d.Refresh.Idle.String()
	}
	if d.Refresh.Hard.String() != "" {
		words += ", " + d.Refresh.Hard.String()
	}
	return words
}
