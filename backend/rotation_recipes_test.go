package backend

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

const operations = "../scripts/operations.md"

// recipe are the commands of a chapter in their order, each as words.
func recipe(t *testing.T, heading string) (commands [][]string) {
	t.Helper()
	text := strings.ReplaceAll(chapter(t, operations, heading), "\\\n", " ")
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "vault ") {
			commands = append(commands, strings.Fields(line))
		}
	}
	require.NotEmpty(t, commands, heading)
	return commands
}

// runs runs one command as it is written: what stands behind an @ is read from files.
func (f *fixture) runs(t *testing.T, command []string, files map[string]string) testenv.Result {
	t.Helper()
	path, found := strings.CutPrefix(command[2], "connectors/")
	require.True(t, found, command)
	data := map[string]any{}
	for _, word := range command[3:] {
		name, value, _ := strings.Cut(word, "=")
		if file, read := strings.CutPrefix(value, "@"); read {
			require.Contains(t, files, file)
			value = files[file]
		}
		data[name] = value
	}
	if command[1] == "read" {
		return f.Read(path, data)
	}
	require.Equal(t, "write", command[1])
	return f.Write(path, data)
}

// A connection's key is rotated as the chapter says, and no reader is ever refused.
func TestRotatingAKeyAsWritten(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		due := recipe(t, "## What is due to be rotated")
		f.key(t, "org/acme/openai")
		f.runs(t, due[0], nil).OK(t)
		f.Advance(91 * day)
		assert.Equal(t, []string{"org/acme/openai"}, rowsOnly(t, f.runs(t, due[1], nil)))
		assert.InDelta(t, 1, number(f.runs(t, due[2], nil).OK(t)["rotation_due"]), 0)

		commands := recipe(t, "## Rotating a connection's key")
		second := openaiKey[:len(openaiKey)-4] + "zzzz"
		serves := func(want string) {
			t.Helper()
			assert.Equal(t, want, f.Read("creds/org/acme/openai", nil).OK(t)["api_key"])
		}
		serves(openaiKey)
		f.runs(t, commands[0], map[string]string{"new-key": second}).OK(t)
		serves(second)
		assert.Empty(t, rowsOnly(t, f.runs(t, due[1], nil)))
		f.runs(t, commands[1], nil).OK(t)
		serves(openaiKey)
		assert.Len(t, rowsOnly(t, f.runs(t, due[1], nil)), 1, "and is as old as it was")
	})
}

// An app's secret is rotated as the chapter says: whenever the service changes over, tokens are refreshed.
func TestRotatingAnAppsSecretAsWritten(t *testing.T) {
	for when, changes := range map[string]int{"before it is written": 0, "meanwhile": 1} {
		t.Run(when, func(t *testing.T) {
			each(t, func(t *testing.T, f *fixture) {
				commands := recipe(t, "## Rotating an app's secret")
				f.connect(t, "slack")
				refreshed := func() {
					t.Helper()
					f.Advance(2 * time.Hour)
					token := f.Read("creds/slack", nil).OK(t)["access_token"].(string)
					assert.True(t, f.provider.Alive(token))
				}
				refreshed()
				if changes == 0 {
					f.provider.SetClientSecret("the-second-secret")
				}
				f.runs(t, commands[0], map[string]string{"new-secret": "the-second-secret"}).OK(t)
				refreshed()
				f.provider.SetClientSecret("the-second-secret")
				refreshed()
				answer := f.runs(t, commands[1], nil).OK(t)
				assert.Equal(t, false, answer["former_secret_set"])
				refreshed()
				f.provider.SetClientSecret(providertest.ClientSecret)
				f.Advance(2 * time.Hour)
				assert.NotEqual(t, http.StatusOK, f.Read("creds/slack", nil).Status, "the former one is not tried any more")
			})
		})
	}
}

// A key with its certificate is rotated by the same two commands. What is sent meanwhile, the acceptance tests see.
func TestRotatingACertificateAsWritten(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		commands := recipe(t, "## Rotating an app's secret")[2:]
		first, itsCertificate := certifiedKey(t)
		second, another := certifiedKey(t)
		f.Write("providers/signed", with(f.acme(), map[string]any{
			"client_auth": "private_key_jwt", "client_secret": first, "client_certificate": itsCertificate,
			"rotate_after": "365d", "shared_redirect": true, "redirect_uris": "",
		})).OK(t)
		f.Advance(300 * day)
		files := map[string]string{"new-key.pem": second, "new-certificate.pem": another}
		f.runs(t, commands[0], files).OK(t)
		read := f.Read("providers/signed", nil).OK(t)
		assert.Equal(t, []any{true, strings.TrimSpace(another), f.in(365 * day)}, []any{
			read["former_secret_set"], strings.TrimSpace(read["client_certificate"].(string)), read["rotate_by"],
		})
		assert.Equal(t, false, f.runs(t, commands[1], nil).OK(t)["former_secret_set"])
		f.runs(t, commands[0], files).OK(t)
		assert.Equal(t, f.in(365*day), f.rotateBy(t, "providers/signed"), "the same again is no rotation")
	})
}
