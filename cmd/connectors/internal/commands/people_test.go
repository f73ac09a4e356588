package commands

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/cmd/connectors/client"
)

func TestEdits(t *testing.T) {
	yes, no := true, false
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		flags []string
		want  client.ConnectionUpdate
		wrong string
	}{
		"label":       {[]string{"--label", "Team"}, client.ConnectionUpdate{Label: text("Team")}, ""},
		"empty label": {[]string{"--label="}, client.ConnectionUpdate{Label: text("")}, ""},
		"scopes": {
			[]string{"--required-scopes", "a,b"}, client.ConnectionUpdate{RequiredScopes: []string{"a", "b"}}, "",
		},
		"no scopes":    {[]string{"--required-scopes="}, client.ConnectionUpdate{RequiredScopes: []string{}}, ""},
		"off":          {[]string{"--disable"}, client.ConnectionUpdate{Disabled: &yes}, ""},
		"on":           {[]string{"--enable"}, client.ConnectionUpdate{Disabled: &no}, ""},
		"private":      {[]string{"--private"}, client.ConnectionUpdate{Private: &yes}, ""},
		"not private":  {[]string{"--not-private"}, client.ConnectionUpdate{Private: &no}, ""},
		"the former":   {[]string{"--restore-former"}, client.ConnectionUpdate{RestoreFormer: true}, ""},
		"out of sight": {[]string{"--unarchive"}, client.ConnectionUpdate{Archived: &no}, ""},
		"away": {
			[]string{"--archive", "--reason", "left"},
			client.ConnectionUpdate{Archived: &yes, ArchivedReason: text("left")},
			"",
		},
		"two": {
			[]string{"--rotate-after", "90d", "--debug-until="},
			client.ConnectionUpdate{RotateAfter: text("90d"), DebugUntil: text("")},
			"",
		},
		"tags, once the others are known": {[]string{"--tag", "a=b=c", "--untag", "d"}, client.ConnectionUpdate{}, ""},

		"nothing":           {nil, client.ConnectionUpdate{}, "say what to change"},
		"both":              {[]string{"--private", "--not-private"}, client.ConnectionUpdate{}, "opposite"},
		"a reason of none":  {[]string{"--disable", "--reason", "x"}, client.ConnectionUpdate{}, "goes with --archive"},
		"no value":          {[]string{"--tag", "team"}, client.ConnectionUpdate{}, "name=value"},
		"no name":           {[]string{"--tag", "=sales"}, client.ConnectionUpdate{}, "name=value"},
		"a tag twice":       {[]string{"--tag", "a=b", "--untag", "a"}, client.ConnectionUpdate{}, "name it once"},
		"a choice of none":  {[]string{"--choose="}, client.ConnectionUpdate{}, "id of one of the choices"},
		"off, said so long": {[]string{"--disable=false"}, client.ConnectionUpdate{}, ""},
	} {
		var e edits
		cmd := &cobra.Command{}
		e.flags(cmd)
		require.NoError(t, cmd.ParseFlags(c.flags), name)
		got, err := e.read(cmd.Flags().Changed)
		if c.wrong != "" {
			assert.ErrorContains(t, err, c.wrong, name)
			assert.Equal(t, codeWrongUse, codeOf(t.Context(), err), name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c.want, got, name)
	}
}

func TestTagsThatAreNotNamedStay(t *testing.T) {
	before := map[string]string{"a": "1", "b": "2"}
	assert.Equal(t, map[string]string{"b": "3=4", "c": ""}, retagged(before, []string{"b=3=4", "c="}, []string{"a", "x"}))
	assert.Equal(t, map[string]string{"a": "1", "b": "2"}, before)
	assert.NotNil(t, retagged(nil, nil, []string{"a"}), "an empty map clears, and none would keep")
}

func TestPick(t *testing.T) {
	sites := &client.Definition{Name: "Sites", Inputs: map[string]client.Input{"host": {}, "site": {Picked: true}}}
	for _, c := range []struct {
		definition *client.Definition
		id         string
		want       map[string]string
		wrong      string
	}{
		{sites, "two", map[string]string{"site": "two"}, ""},
		{sites, "site=two", map[string]string{"site": "two"}, ""},
		{sites, "a=b", map[string]string{"site": "a=b"}, ""},
		{nil, "site=two", map[string]string{"site": "two"}, ""},
		{nil, "two", nil, "--choose site=two"},
		{&client.Definition{Name: "Slack"}, "two", nil, "Slack has nothing to choose from"},
	} {
		got, err := pick(c.definition, c.id)
		if c.wrong != "" {
			assert.ErrorContains(t, err, c.wrong)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, c.want, got)
	}
}

func TestWhoIsNotAmongTheShares(t *testing.T) {
	shares := []client.Share{{Entity: "e-1", Name: "support"}, {Group: "g-1", Name: "team"}}
	for want, asked := range map[string]client.UnshareRequest{
		"":              {Entities: []string{"e-1"}, Groups: []string{"g-1", "team"}},
		"entity e-2":    {Entities: []string{"e-1", "e-2"}},
		"group support": {Groups: []string{"support"}}, // that is an entity
		"entity g-1":    {Entities: []string{"g-1"}},
		"everyone":      {Everyone: true},
	} {
		assert.Equal(t, want, notAmong(shares, asked))
	}
	assert.Empty(t, notAmong(append(shares, client.Share{Everyone: true}), client.UnshareRequest{Everyone: true}))
}

func TestAsTheirs(t *testing.T) {
	for path, want := range map[string]string{
		"user/e-1/slack": "slack", "org/acme/user/e-1/slack": "org/acme/self/slack", "org/acme/slack": "org/acme/slack",
	} {
		assert.Equal(t, want, asTheirs(path))
	}
}

// What a shell gets begins with what is typed, and has nothing in it that a shell would take for its own.
func TestOffered(t *testing.T) {
	const noFiles, noSpace = cobra.ShellCompDirectiveNoFileComp, cobra.ShellCompDirectiveNoSpace
	for _, c := range []struct {
		found     []string
		typed     string
		want      []string
		directive cobra.ShellCompDirective
	}{
		{[]string{"slack", "github", "slack"}, "", []string{"github", "slack"}, noFiles},
		{[]string{"slack", "github"}, "sl", []string{"slack"}, noFiles},
		{[]string{"org/acme/"}, "org/", []string{"org/acme/"}, noFiles | noSpace},
		{[]string{"org/acme/x", "org/acme/user/"}, "org/acme/", []string{"org/acme/user/", "org/acme/x"}, noFiles},
		{[]string{"org/acme/x", "org/acme/user/"}, "org/acme/u", []string{"org/acme/user/"}, noFiles | noSpace},
		{[]string{"a@b.example", "shop:42/"}, "", []string{"a@b.example", "shop:42/"}, noFiles},
		{
			[]string{
				"$(id)", "`id`", "a;b", "a|b", "a b", "-x", "a\nb", "a\tb", "a\x1bb", "~a", "a'b", `a"b`, "a&b", "a>b", "a*",
				"../x", "", "é",
			}, "", nil, noFiles | noSpace,
		},
		{nil, "x", nil, noFiles | noSpace},
	} {
		got, directive := offered(c.found, c.typed)
		assert.Equal(t, c.want, got, "%q", c.found)
		assert.Equal(t, c.directive, directive, "%q", c.found)
	}
}

// Every command whose first argument names a connection, an owner or a service offers those.
func TestArgumentsAreCompleted(t *testing.T) {
	for _, cmd := range newApp(t).root().Commands() {
		if words := strings.Fields(cmd.Use); len(words) > 1 && regexp.MustCompile(`^\[?[A-Z]+\]?$`).MatchString(words[1]) {
			assert.Equal(t, cmd.Name() != "catalog", cmd.ValidArgsFunction != nil, cmd.Use) // whose words are anybody's
		}
	}
}

func FuzzOffered(f *testing.F) {
	for _, name := range []string{"slack", "org/acme/", "$(id)", "a b", "-x", "x\ny", "../x", "a//b", "/", "é"} {
		f.Add(name, "")
		f.Add(name, name)
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@:/-]*$`)
	f.Fuzz(func(t *testing.T, name, typed string) {
		got, _ := offered([]string{name}, typed)
		for _, one := range got {
			assert.Equal(t, name, one)
			assert.True(t, strings.HasPrefix(one, typed))
			assert.Regexp(t, plain, one)
			assert.NotContains(t, one, "//")
		}
	})
}

// What the README has people type is what the commands take.
func TestExamplesAreWellFormed(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	lines := regexp.MustCompile("(?m)^(?:    |\t)(connectors .*)$").FindAllStringSubmatch(string(text), -1)
	assert.Greater(t, len(lines), 10)
	var commands []string
	for _, line := range lines {
		line, _, _ := strings.Cut(line[1], "  #")
		commands = append(commands, strings.Split(line, "; ")...)
	}
	for _, line := range commands {
		line = regexp.MustCompile(` [|<>] .*`).ReplaceAllString(line, "")
		words := regexp.MustCompile(`"[^"]*"|\S+`).FindAllString(line, -1)
		root := newApp(t).root()
		root.InitDefaultCompletionCmd(words[1])
		cmd, rest, err := root.Find(words[1:])
		require.NoError(t, err, line)
		require.NotSame(t, root, cmd, line)
		require.NoError(t, cmd.ParseFlags(rest), line)
		if cmd.Name() != "bash" { // which is cobra's own
			assert.NoError(t, cmd.ValidateArgs(cmd.Flags().Args()), line)
		}
	}
}
