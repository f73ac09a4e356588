package acceptance

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/scripts/stack"
)

const (
	// formerCommit is the last release that stored the status of a connection instead of the facts it is derived
	// from: it writes connections of format 1, and refuses format 2.
	formerCommit = "14b99d0e35e1b5d6dbd3bb310078dfc0a689a491"
	// formerRelease is what it calls itself here. No release to come has this name.
	formerRelease = "v0.0.0-stored-status"

	versionVariable = "github.com/vault-connectors/vault-plugin-secrets-connectors/backend.Version"
)

// buildFormer builds the former release from the history of the checkout.
func buildFormer(t *testing.T) (binary string) {
	t.Helper()
	root := filepath.Join("..", "..")
	look := exec.CommandContext(t.Context(), "git", "cat-file", "-e", formerCommit+"^{commit}")
	look.Dir = root
	if out, err := look.CombinedOutput(); err != nil {
		t.Skipf("the former release cannot be built: this checkout lacks its commit %s, as a shallow clone does: %v: %s",
			formerCommit, err, out)
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "source")
	require.NoError(t, os.Mkdir(source, 0o700))
	run := func(wd, name string, args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir = wd
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", name, out)
	}
	archive := filepath.Join(dir, "source.tar")
	run(root, "git", "archive", "--output="+archive, formerCommit)
	run(source, "tar", "-xf", archive)
	binary = filepath.Join(dir, stack.PluginName)
	run(source, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-X "+versionVariable+"="+formerRelease,
		"-o", binary, "./cmd/"+stack.PluginName)
	return binary
}

// switched is a mount of which other releases run in turn.
type switched struct {
	*service
	all []string // the names of its connections
}

// runs has the mount run a release.
func (s *switched) runs(t *testing.T, release string) {
	t.Helper()
	require.NoError(t, s.vault.SwitchRelease(t.Context(), s.path, release))
	assert.Equal(t, release, s.read(t, "status")["version"])
}

// metadata is that of some connections, by their names.
func (s *switched) metadata(t *testing.T, names ...string) map[string]any {
	t.Helper()
	all := map[string]any{}
	for _, name := range names {
		all[name] = s.read(t, "connections/"+name)
	}
	return all
}

// sameMetadata asserts that connections read as they did under the former release. This one shows more: whether a
// person switched it off, by whose word, the service's word for the token, and fields that have nothing to show here.
func sameMetadata(t *testing.T, was, now map[string]any) {
	t.Helper()
	for name, metadata := range was {
		former, shown := metadata.(map[string]any), now[name].(map[string]any)
		off := former["status"] == "disabled"
		assert.Equal(t, off, shown["disabled"], name)
		stops, _ := shown["disabled_by"].([]any)
		if assert.Equal(t, off, len(stops) == 1, "%s: %v", name, stops) && off {
			stop := stops[0].(map[string]any) // that release knew one word alone, which either side lifts
			assert.Equal(t, []any{"either", "disabled"}, []any{stop["side"], stop["what"]})
		}
		for field, value := range former {
			if field != "disabled" {
				assert.Equal(t, value, shown[field], "%s of %s", field, name)
			}
		}
		// what that release knew otherwise, and what it was read by meanwhile
		unlike := []string{"token_type", "disabled", "disabled_by", "last_used", "readers"}
		for field, value := range shown {
			if _, had := former[field]; !had && !slices.Contains(unlike, field) {
				assert.True(t, holdsNothing(value), "%s of %s: %v", field, name, value)
			}
		}
	}
}

// holdsNothing tells whether a value of an answer is empty, or an object of empty values.
func holdsNothing(value any) bool {
	switch value := value.(type) {
	case nil:
		return true
	case string:
		return value == ""
	case bool:
		return !value
	case []any:
		return len(value) == 0
	case map[string]any:
		for _, member := range value {
			if !holdsNothing(member) {
				return false
			}
		}
		return true
	}
	return false
}

// renews asserts that a connection can be given another token that lives, by one request.
func (s *switched) renews(t *testing.T, name string) {
	t.Helper()
	former, asked := s.token(t, name), s.Count("refresh")
	s.ages(t, restless, name)
	assert.Empty(t, s.demand(t, name))
	token := s.token(t, name)
	assert.NotEqual(t, former, token)
	assert.True(t, s.Alive(token))
	assert.Equal(t, asked+1, s.Count("refresh"))
	s.stands(t, name, "active", "")
}

// A mount goes to this release and back and forth again. What it was told stays, whoever wrote it last.
func TestUpgradeAndBack(t *testing.T) {
	t.Parallel()
	binary := buildFormer(t)
	v := ownVault(t)
	v.Client.SetMaxRetries(0) // the refusals below have a status that the client would send the request again for
	former, err := v.AddRelease(t.Context(), binary)
	require.NoError(t, err)
	require.Equal(t, formerRelease, former)
	path := mountPath(t)
	require.NoError(t, v.MountRelease(t.Context(), path, former))
	t.Cleanup(func() { _ = v.Client.Sys().UnmountWithContext(context.Background(), path) })
	e := &engine{vault: v, path: path}
	e.write(t, "config", map[string]any{"public_url": e.url(), "egress_allow": "127.0.0.1", "flow_ttl": "7m"})
	s := &switched{service: e.newService(t, "service"), all: []string{
		"plain", "labelled", "off", "off-too", "refused", "refused-off", "key",
	}}
	require.Equal(t, former, s.read(t, "status")["version"])

	const apiKey = "sk-acceptance-0123456789abcdef"
	s.write(t, "providers/openai", nil)
	s.write(t, "connections/key", map[string]any{"provider": "openai", "api_key": apiKey})
	tokens := map[string]string{}
	for _, name := range s.all[:6] {
		tokens[name] = s.adopt(t, name)
	}
	s.write(t, "connections/labelled", map[string]any{"label": "Sales", "tags": map[string]string{"team": "sales"}})
	for _, name := range []string{"refused", "refused-off"} {
		s.Next("refresh", providertest.Respond(http.StatusBadRequest, `{"error":"invalid_grant"}`))
		token, warnings, err := s.insist(t.Context(), name, time.Hour) // that release replaces any token for it
		require.NoError(t, err)
		require.Len(t, warnings, 1)
		require.Equal(t, tokens[name], token, "it lives on")
		s.stands(t, name, "needs_reconnect", "grant_refused")
	}
	for _, name := range []string{"off", "off-too", "refused-off"} {
		s.write(t, "connections/"+name, map[string]any{"disabled": true})
	}
	before := s.metadata(t, s.all...)
	require.Equal(t, "Sales", before["labelled"].(map[string]any)["label"])
	require.Equal(t, providertest.AccountID, before["plain"].(map[string]any)["account"].(map[string]any)["id"])
	settings := map[string]any{}
	for _, path := range []string{"config", "providers/service", "providers/openai"} {
		settings[path] = s.read(t, path)
	}
	// wholeSettings asserts that the operator's settings read as they were written. A release may show more of them.
	wholeSettings := func(t *testing.T) {
		t.Helper()
		for path, was := range settings {
			now := s.read(t, path)
			for field, value := range was.(map[string]any) {
				assert.Equal(t, value, now[field], "%s of %s", field, path)
			}
		}
	}

	written := []string{"labelled", "off", "refused-off"} // by this release, below
	unwritten := []string{"plain", "off-too", "refused", "key"}
	var after map[string]any // of those

	t.Run("this release finds everything as the former one left it", func(t *testing.T) {
		s.runs(t, v.Release())
		sameMetadata(t, before, s.metadata(t, s.all...))
		wholeSettings(t)
		for _, name := range []string{"plain", "labelled", "refused"} {
			assert.Equal(t, tokens[name], s.token(t, name))
		}
		assert.Equal(t, apiKey, s.read(t, "creds/key")["api_key"])
		for _, name := range []string{"off", "off-too", "refused-off"} {
			s.refusesRead(t, http.StatusForbidden, "disabled", "creds/"+name)
		}
	})
	t.Run("this release renews, and what it enables is found as it was", func(t *testing.T) {
		s.renews(t, "labelled")
		for name, stands := range map[string][]string{
			"off": {"active", ""}, "refused-off": {"needs_reconnect", "grant_refused"},
		} {
			s.write(t, "connections/"+name, map[string]any{"disabled": false})
			s.stands(t, name, stands[0], stands[1])
		}
		assert.Equal(t, tokens["off"], s.token(t, "off"))
		tokens["labelled"] = s.token(t, "labelled")
		s.write(t, "connections/org/default/user/u1/key", map[string]any{
			"provider": "openai", "api_key": apiKey, "verify": false,
		})
		after = s.metadata(t, written...)
		assert.Equal(t, before["labelled"].(map[string]any)["account"], after["labelled"].(map[string]any)["account"])
	})
	t.Run("the former release finds what this one did not write as it left it", func(t *testing.T) {
		s.runs(t, former)
		wholeSettings(t)
		for name, was := range s.metadata(t, unwritten...) {
			assert.Equal(t, before[name], was)
		}
		assert.Equal(t, tokens["plain"], s.token(t, "plain"))
		assert.Equal(t, apiKey, s.read(t, "creds/key")["api_key"])
		s.renews(t, "plain")
		list, err := v.Client.Logical().ListWithContext(t.Context(), path+"/connections/org")
		require.NoError(t, err)
		assert.Equal(t, []any{"default/"}, list.Data["keys"], "it knows no members")
	})
	t.Run("the former release refuses what this one wrote, and says why", func(t *testing.T) {
		const words = "this connection was written by a newer release of the engine (format 2, this one knows 1)"
		asked := s.Count("refresh")
		for _, name := range written {
			s.refusesRead(t, http.StatusInternalServerError, words, "connections/"+name)
			s.refusesRead(t, http.StatusInternalServerError, words, "creds/"+name)
			s.refusesWrite(t, http.StatusInternalServerError, words, "refresh/"+name, nil)
			// Vault asks first whether it exists, and does not pass on what that answers.
			change := map[string]any{"label": "lost"}
			s.refusesWrite(t, http.StatusInternalServerError, "internal error", "connections/"+name, change)
		}
		assert.Equal(t, asked, s.Count("refresh"))
	})
	t.Run("this release finds again what both have written, and nothing is lost", func(t *testing.T) {
		plain := s.metadata(t, "plain")
		s.runs(t, v.Release())
		wholeSettings(t)
		assert.Equal(t, after, s.metadata(t, written...))
		sameMetadata(t, plain, s.metadata(t, "plain"))
		assert.Equal(t, tokens["labelled"], s.token(t, "labelled"))
		s.write(t, "connections/off-too", map[string]any{"disabled": false})
		for _, name := range []string{"off", "off-too"} {
			s.renews(t, name)
		}
		assert.Equal(t, apiKey, s.read(t, "creds/key")["api_key"])
		assert.Equal(t, apiKey, s.read(t, "creds/org/default/user/u1/key")["api_key"], "of a member")
		for _, name := range []string{"refused", "refused-off"} {
			s.stands(t, name, "needs_reconnect", "grant_refused")
			s.adopt(t, name) // a reconnect, to the same account
		}
		for _, name := range []string{"refused", "refused-off", "plain", "labelled"} {
			require.True(t, s.Alive(s.token(t, name)))
			s.renews(t, name)
		}
		for _, name := range s.all {
			s.stands(t, name, "active", "")
		}
	})
}
