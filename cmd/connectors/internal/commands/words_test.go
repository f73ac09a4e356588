package commands

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What Vault warned of when it took a key is told.
func TestConnectTellsWarnings(t *testing.T) {
	v := newVault(t, desk())
	v.warns["PUT connections/self/new"] = "field api_key does not look like a key of Desk"
	got := v.runs(t, "planted-key", "connect", "desk", "--as", "new")
	assert.Contains(t, got.err, "warning: field api_key does not look like a key of Desk\n")
	assert.Equal(t, []string{`connections/self/new {"api_key":"planted-key","provider":"desk"}`}, v.changed())
}

// A JSON object that is no key of the service is not stored as one.
func TestConnectRefusesOtherFields(t *testing.T) {
	v := newVault(t, desk())
	for _, text := range []string{`{"nope":1}`, `{"nope":1,"api_key":"x"}`, "{}\n"} {
		got := v.runs(t, text, "connect", "desk", "--as", "new")
		assert.Equal(t, codeWrongUse, got.code, text)
		assert.Contains(t, got.err, "has these fields and no others: api_key")
		assert.Empty(t, v.changed(), text)
	}
}

// Where a connection does not serve, the next step is a command, with the name that was typed.
func TestNextStep(t *testing.T) {
	stop := func(what, side string) map[string]any {
		return map[string]any{"status": what, "disabled_by": []any{map[string]any{"what": what, "side": side}}}
	}
	for name, c := range map[string]struct {
		known  map[string]any
		status int // of creds and check
		code   int
		next   string
	}{
		"absent": {nil, 400, codeAbsent, "connectors connect SERVICE --as one"},
		"an open flow": {
			map[string]any{"provider": "desk", "created_time": ""}, 409, codePerson, "connectors connect desk --as one",
		},
		"a choice": {
			map[string]any{"status": "pending", "choices": []any{map[string]any{"id": "a", "name": "A"}}},
			409, codePerson, "connectors edit one --choose ID, of: a (A)",
		},
		"a dead grant":   {map[string]any{"status": "needs_reconnect"}, 409, codePerson, "connectors reconnect one"},
		"expired":        {map[string]any{"status": "expired"}, 409, codePerson, "connectors reconnect one"},
		"a refused key":  {map[string]any{"status": "failed_validation"}, 409, codePerson, "connectors reconnect one"},
		"switched off":   {stop("disabled", "owner"), 403, codePerson, "connectors edit one --enable"},
		"put away":       {stop("archived", "owner"), 403, codePerson, "connectors edit one --unarchive"},
		"stopped by all": {stop("disabled", "others"), 403, codeNotAllowed, ""},
		"a bad request":  {map[string]any{"status": "active"}, 400, codeWrongUse, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := newVault(t, desk())
			delete(v.docs, "connections/user/u1/one")
			if c.known != nil {
				doc := map[string]any{"created_time": "2026-01-01T00:00:00Z"}
				for field, value := range c.known {
					doc[field] = value
				}
				v.docs["connections/user/u1/one"] = doc
			}
			v.status["GET creds/self/one"], v.status["PUT check/self/one"] = c.status, c.status
			for _, args := range [][]string{
				{"token", "one"},
				{"check", "one"},
				{"api", "one", "/me"},
				{"exec", "--env", "A=one#x", "--", "env"},
				{"git-credential", "one", "get"},
			} {
				got := v.runs(t, "protocol=https\nhost=h.example.com\n\n", args...)
				assert.Equal(t, c.code, got.code, "%s: %s", args, got.err)
				assert.Contains(t, got.err, "refused", args)
				if c.next == "" {
					assert.NotContains(t, got.err, "edit", args)
				} else {
					assert.Contains(t, got.err, "\nnext: "+c.next+"\n", args)
				}
			}
			if c.known != nil && c.next != "" {
				assert.Contains(t, v.runs(t, "", "show", "one").err, "next: "+c.next+"\n")
			}
		})
	}
}

// What a check advises is told once, and then the command.
func TestCheckAdvisesOnce(t *testing.T) {
	v := newVault(t, desk())
	v.docs["connections/user/u1/one"]["status"] = "failed_validation"
	v.docs["check/self/one"] = map[string]any{
		"status": "failed_validation", "token_valid": "false", "advice": "write a new key",
	}
	got := v.runs(t, "", "check", "one")
	assert.Equal(t, codePerson, got.code)
	assert.Contains(t, got.out, "write a new key")
	assert.Equal(t, "connectors: self/one does not work (failed_validation)\nnext: connectors reconnect one\n", got.err)
}

// A disk that is full is no service that does not answer, and a shell without completion a wrong use.
func TestCodesOfCommands(t *testing.T) {
	v := newVault(t, desk())
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err == nil {
		defer full.Close()
		cmd := v.command(t, "show", "one")
		cmd.Stdout = full
		require.Error(t, cmd.Run())
		assert.Equal(t, codeFailed, cmd.ProcessState.ExitCode())
	}
	got := v.runs(t, "", "completion", "csh")
	assert.Equal(t, codeWrongUse, got.code, got.err)
	assert.Equal(t, 0, v.runs(t, "", "completion", "bash").code)

	v.status["PUT connect-link/self/nosuch"] = http.StatusBadRequest
	v.refuses["PUT connect-link/self/nosuch"] = `no provider "nosuch" is configured`
	got = v.runs(t, "", "link", "nosuch")
	assert.Equal(t, codeAbsent, got.code, got.err)
	assert.Contains(t, got.err, "next: connectors catalog nosuch\n")
	v.status["PUT accept/self/new"] = http.StatusForbidden
	assert.Equal(t, codeNotAllowed, v.runs(t, "", "accept", "new", "--from", "user/u2/x").code)
	v.refuses["PUT accept/self/new"] = "no connection user/u2/x is offered to user/u1/new: an offer names its target"
	assert.Equal(t, codeAbsent, v.runs(t, "", "accept", "new", "--from", "user/u2/x").code)
}

// Why nothing is connected is told truly, and first.
func TestWhyNotConnected(t *testing.T) {
	for name, c := range map[string]struct {
		service string
		status  int // of the catalogue
		flags   []string
		code    int
		says    string
	}{
		"no such provider":      {"nosuch", 0, nil, codeAbsent, "the catalogue knows no nosuch"},
		"an unreadable service": {"desk", 403, nil, codeNotAllowed, "may not read connectors/catalog/desk"},
		"a device code": {
			"desk", 0,
			[]string{"--kind", "device_code"},
			codeWrongUse,
			"vault write connectors/device-code/self/x provider=desk",
		},
		"device codes alone": {"remote", 0, nil, codeWrongUse, "vault write connectors/device-code/self/x provider=remote"},
		"of another name": {
			"mine", 0, []string{"--kind", kindConsent}, codeWrongUse, "no browser can come back here",
		},
		"a consent": {"oauth2", 0, nil, codeWrongUse, "no browser can come back here (CONNECTORS_BROWSER=none)"},
	} {
		v := newVault(t, desk())
		v.docs["catalog/remote"] = map[string]any{"name": "Remote", "kinds": []any{kindDevice}}
		v.env = append(v.env, "CONNECTORS_BROWSER=none")
		if c.status != 0 {
			for _, path := range []string{"catalog/desk", "catalog/provider:desk", "providers/desk"} {
				v.status["GET "+path] = c.status
			}
		}
		got := v.runs(t, "planted-key", append([]string{"connect", c.service, "--as", "x"}, c.flags...)...)
		assert.Equal(t, c.code, got.code, "%s: %s", name, got.err)
		assert.Contains(t, got.err, c.says, name)
		assert.Empty(t, v.changed())
	}
}

// What Vault itself refuses, or nobody answers, is doctor's to look at.
func TestDoctorTellsMore(t *testing.T) {
	const next = "\nnext: connectors doctor tells more\n"
	v := newVault(t, desk())
	v.status["GET connections/self/one"] = http.StatusForbidden
	got := v.runs(t, "", "show", "one")
	assert.NotContains(t, got.err, next, "the mount refused it, and said why")
	v.refuses["GET connections/self/one"] = "1 error occurred:\n\t* permission denied\n\n"
	got = v.runs(t, "", "show", "one")
	assert.Equal(t, codeNotAllowed, got.code)
	assert.Equal(t, "connectors: connectors/connections/self/one: permission denied: a policy has to allow read on that "+
		"path"+next, got.err)
	address := v.URL
	v.env = append(v.env, "VAULT_ADDR="+strings.Replace(address, "http:", "https:", 1))
	got = v.runs(t, "", "show", "one")
	assert.Equal(t, codeAway, got.code)
	assert.Contains(t, got.err, next, "no TLS")
	v.env = append(v.env, "VAULT_ADDR="+address, "CONNECTORS_MOUNT=")
	got = v.runs(t, "", "show", "one")
	assert.Equal(t, codeNotAllowed, got.code)
	assert.Contains(t, got.err, next, "no mount")
	v.Close()
	got = v.runs(t, "", "show", "one")
	assert.Equal(t, codeAway, got.code)
	assert.Contains(t, got.err, next, "nobody there")
}

// A rename asks before it ends shares, and an offer to others does not.
func TestRenameAsks(t *testing.T) {
	for name, c := range map[string]struct {
		args  []string
		typed string // at a terminal; empty: there is none
		code  int
		moves bool
	}{
		"nobody to ask":  {[]string{"one", "other"}, "", codeWrongUse, false},
		"a no":           {[]string{"one", "other"}, "\n", codeFailed, false},
		"a yes":          {[]string{"one", "other"}, "y\n", 0, true},
		"said before":    {[]string{"one", "other", "--yes"}, "", 0, true},
		"by other words": {[]string{"one", "user/u1/other"}, "", codeWrongUse, false},
		"and by others":  {[]string{"user/u1/one", "other"}, "", codeWrongUse, false},
		"to others":      {[]string{"one", "user/u2/one"}, "", 0, true},
		"without shares": {[]string{"two", "other"}, "", 0, true},
	} {
		v := newVault(t, desk())
		v.docs["connections/user/u1/one"]["shared_with"] = "1 entity"
		args := append([]string{"transfer"}, c.args...)
		got := v.runs(t, "", args...)
		if c.typed != "" {
			got = v.atTerminal(t, c.typed, args...)
		}
		assert.Equal(t, c.code, got.code, "%s: %s%s", name, got.out, got.err)
		assert.Equal(t, c.moves, len(v.changed()) == 1, name)
	}
}

// What there is to be told is told, in words that people have.
func TestSmallWords(t *testing.T) {
	v := newVault(t, desk())
	one := v.docs["connections/user/u1/one"]
	one["status"], one["status_reason"] = "disabled", "disabled_by_person"
	one["required_scopes"], one["rotate_after"], one["debug_until"] = []string{"a", "b"}, "90d", "2027-01-01T00:00:00Z"
	one["former_key"], one["former_key_until"] = map[string]any{"api_key": "****"}, "2126-01-01T00:00:00Z"
	shown := v.runs(t, "", "show", "one").out
	for _, row := range []string{
		`status +disabled\n`, `required_scopes +a b\n`, `rotate_after +90d\n`, `debug_until +2027-01-01T00:00:00Z\n`,
		`former_key +api_key=\*\*\*\*, until 2126-01-01T00:00:00Z \(in [^()]*\)\n`,
	} {
		assert.Regexp(t, row, shown)
	}

	one["status"], one["account"] = "active", map[string]any{"label": "Ann"}
	got := v.runs(t, "planted-key", "reconnect", "one")
	assert.Contains(t, got.err, "Connected: user/u1/one, as Ann\n")
	assert.Contains(t, v.runs(t, "", "reconnect", "--broken").err, "none of your connections has to be connected again")
	got = v.atTerminal(t, "\x04", "connect", "desk", "--as", "new")
	assert.Equal(t, codeWrongUse, got.code)
	assert.Contains(t, got.out, "connectors: the input ended before there was an answer")
	got = v.runs(t, "", "connect", "desk", "--port", "x")
	assert.Contains(t, got.err, `invalid argument "x" for "--port" flag: invalid syntax`)
	got = v.runs(t, "", "token", "one", "--min-ttl", "x")
	assert.NotContains(t, got.err, "time:")

	v.docs["shares/self/one"] = map[string]any{"private": true, "shares": []any{
		map[string]any{"group": "g1", "unchecked": true}, map[string]any{"group": "g2", "unchecked": true},
	}}
	got = v.runs(t, "", "share", "one", "--group", "g1", "--expires", "2027-01-31")
	assert.Contains(t, got.err, "to take that back: connectors unshare one --group g1\n")
	assert.NotContains(t, got.err, "--group g2")
	assert.Contains(t, v.changed()[1], `"expires":"2027-02-01T00:00:00`)

	assert.Contains(t, newVault(t, nil).runs(t, "", "check", "--all").err, "there is nothing to check")
	assert.Equal(t, "7d", endOfDay("7d"))
}
