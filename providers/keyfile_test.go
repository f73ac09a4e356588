package providers

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const fileText = `id: robot
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
      help: the JSON file that was downloaded
      json:
        client_email: {required: true, pattern: '[^@]+@[^@]+'}
        project_id: {pattern: '[a-z0-9-]+'}
        private_key: {required: true, secret: true}
`

func aKeyFile(more string) string {
	return `{"type": "robot", "project_id": "p-1", "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END\n",
 "client_email": "robot@p-1.example.com", "n": 1e400, "list": [1, {"a": null, "b": [true]}]` + more + "}\n"
}

func manyMembers(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `, "m%d": 1`, i)
	}
	return text.String()
}

func TestKeyFile(t *testing.T) {
	d, err := Decode("robot.yaml", []byte(fileText))
	require.NoError(t, err)
	key := map[string]string{"key_file": aKeyFile("")}
	_, err = d.CheckKey(SetByConnection, key)
	require.NoError(t, err)
	derived := d.DeriveKey(key)
	assert.Equal(t, map[string]string{
		"client_email": "robot@p-1.example.com", "project_id": "p-1",
		"private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END\n",
	}, derived)
	assert.True(t, d.MovesKey(key, map[string]string{"key_file": strings.Replace(aKeyFile(""), `"p-1"`, `"p-2"`, 1)}))
	assert.False(t, d.MovesKey(key, map[string]string{"key_file": aKeyFile(`, "x": "y"`)}))
	for name, secret := range map[string]bool{
		"key_file": true, "private_key": true, "client_email": false,
		"project_id": false,
	} {
		assert.Equal(t, secret, d.IsSecretField(name), name)
		assert.True(t, d.HandsOut(name), name)
	}
	assert.Empty(t, d.DeriveKey(map[string]string{"key_file": "what an older release took"}))
	for name, file := range map[string]string{
		"blanks before it":        " \r\n\t" + aKeyFile(""),
		"without what may be":     strings.Replace(aKeyFile(""), `"project_id": "p-1", `, "", 1),
		"lines of another system": strings.ReplaceAll(aKeyFile(""), `\n`, `\r\n`),
		"a member without a name": aKeyFile(`, "": ""`),
		"as many levels as may be": aKeyFile(`, "x": ` + strings.Repeat(`[`, maxKeyFileDepth-1) + strings.Repeat("]",
			maxKeyFileDepth-1)),
		"as many members": aKeyFile(manyMembers(maxKeyFileMembers - 8)),
	} {
		_, err := d.CheckKey(SetByConnection, map[string]string{"key_file": file})
		assert.NoError(t, err, name)
	}
	assert.Empty(t, d.DeriveKey(nil))
}

// What is no such file is refused, and nobody is told what stands in it.
func TestKeyFileIsRefused(t *testing.T) {
	d, err := Decode("robot.yaml", []byte(fileText))
	require.NoError(t, err)
	whole := aKeyFile("")
	deep := strings.Repeat(`{"a":`, maxKeyFileDepth+1) + `"c2VjcmV0"` + strings.Repeat("}", maxKeyFileDepth+1)
	wide := make([]string, maxKeyFileMembers+1)
	for i := range wide {
		wide[i] = fmt.Sprintf(`"m%d": "c2VjcmV0"`, i)
	}
	for name, c := range map[string]struct{ file, want string }{
		"a path": {
			"/home/me/c2VjcmV0.json",
			"is no JSON file: write what the service gave, whole (the JSON file that was",
		},
		"a text in quotes":    {`"c2VjcmV0"`, "is no JSON file"},
		"a list":              {`["c2VjcmV0"]`, "is no JSON file"},
		"a mark before it":    {"\ufeff" + whole, "is no JSON file"},
		"cut off":             {whole[:len(whole)-3], "is no whole JSON file: what comes after"},
		"cut off in a text":   {whole[:100], "is no whole JSON file"},
		"nothing of it":       {"{", "is no whole JSON file"},
		"no JSON":             {`{"client_email": c2VjcmV0}`, "is no whole JSON file: what comes after"},
		"a comma too much":    {strings.Replace(whole, "}\n", ",}\n", 1), "is no whole JSON file"},
		"two of them":         {whole + whole, "goes on behind the end"},
		"something behind it": {whole + "c2VjcmV0", "goes on behind the end"},
		"a member twice":      {aKeyFile(`, "client_email": "c2VjcmV0"`), "has a member twice"},
		"twice, spelled so":   {aKeyFile(`, "client\u005femail": "c2VjcmV0"`), "has a member twice"},
		"twice, further in":   {aKeyFile(`, "x": {"c2VjcmV0": 1, "c2VjcmV0": 2}`), "has a member twice"},
		"twice, in capitals": {
			aKeyFile(`, "Client_Email": "c2VjcmV0"`),
			`has the member "client_email" with other capital letters`,
		},
		"in capitals alone": {
			strings.Replace(whole, `"project_id"`, `"PROJECT_ID"`, 1),
			`has the member "project_id" with other`,
		},
		"a letter that folds": {aKeyFile(`, "private_\u212aey": "c2VjcmV0"`), `has the member "private_key" with other`},
		"another file": {
			`{"installed": {"client_email": "c2VjcmV0"}}`,
			`lacks the member "client_email", is it another file?`,
		},
		"a member of no text": {
			strings.Replace(whole, `"p-1"`, "7", 1),
			`the member "project_id" must be a text that is not empty`,
		},
		"a member of nothing": {strings.Replace(whole, `"p-1"`, "null", 1), `the member "project_id" must be a text`},
		"an empty member":     {strings.Replace(whole, `"p-1"`, `""`, 1), `the member "project_id" must be a text that`},
		"a member with others": {
			strings.Replace(whole, `"p-1"`, `{"c2VjcmV0": 1}`, 1),
			`the member "project_id" must be a text`,
		},
		"another host": {
			strings.Replace(whole, `"p-1"`, `"c2VjcmV0.evil"`, 1),
			`its member "project_id" must match [a-z0-9-]+`,
		},
		"a line's end": {
			strings.Replace(whole, "robot@p-1", `robot\nc2VjcmV0@p-1`, 1),
			`the member "client_email" holds a control character`,
		},
		"half a character": {
			strings.Replace(whole, "robot@p-1", `robot\ud800@p-1`, 1),
			`the member "client_email" holds`,
		},
		"a bell in a secret": {
			strings.Replace(whole, `KEY-----\n`, `KEY-----\u0007`, 1),
			`the member "private_key" holds a control`,
		},
		"many levels":  {deep, "of more than 16 levels"},
		"many members": {"{" + strings.Join(wide, ",") + "}", "of more than 1000 members"},
		"too long": {
			aKeyFile(`, "x": "` + strings.Repeat("c2VjcmV0", maxKeyField/8) + `"`),
			"has more than 65536 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := d.CheckKey(SetByConnection, map[string]string{"key_file": c.file})
			require.ErrorContains(t, err, `field "key_file"`)
			require.ErrorContains(t, err, c.want)
			for _, secret := range []string{"c2VjcmV0", "robot@", "evil", "p-1"} {
				assert.NotContains(t, err.Error(), secret)
			}
			if len(c.file) <= maxKeyField { // a longer one is not stored
				assert.Empty(t, d.DeriveKey(map[string]string{"key_file": c.file}), "and nothing follows")
			}
		})
	}
}

// Of a file that stays here, what send names leaves, and what is public.
func TestWhatLeavesOfAKeyFile(t *testing.T) {
	text := strings.NewReplacer("      handed_out: true\n", "", "kinds: [key_pair]", "kinds: [api_key]",
		"    - name: key_file", "    - {name: hint}\n    - name: key_file").Replace(fileText) +
		"  send: {headers: {X-Key: '{private_key}'}}\n"
	d, err := Decode("robot.yaml", []byte(text))
	require.NoError(t, err)
	for name, out := range map[string]bool{"key_file": false, "private_key": true, "client_email": true} {
		assert.Equal(t, out, d.HandsOut(name), name)
	}
	_, err = Decode("robot.yaml", []byte(strings.Replace(text, "{private_key}", "{hint}", 1)))
	require.ErrorContains(t, err, `key field "key_file" is secret and no send names it`)
}

func TestMistakesInKeyFiles(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{
			"      secret: true\n",
			"",
			`key.fields[0].json.private_key.secret: "private_key" is secret, so the file "key_file" is too`,
		},
		{
			"      help:",
			"      multiline: true\n      help:",
			`key.fields[0].json: key field "key_file" is a JSON file: drop pattern`,
		},
		{
			"      help:",
			"      pattern: '.*'\n      help:",
			`key.fields[0].json: key field "key_file" is a JSON file: drop pattern`,
		},
		{
			"      help:",
			"      derive: {x: '(.)'}\n      help:",
			`key.fields[0].json: key field "key_file" is a JSON file: drop`,
		},
		{"project_id: {pattern: '[a-z0-9-]+'}", "key_file: {}", `name "key_file" is taken by a key field`},
		{"project_id: {pattern: '[a-z0-9-]+'}", "access_token: {}", `name "access_token" has a meaning of its own`},
		{"project_id: {pattern: '[a-z0-9-]+'}", "client_id: {}", `name "client_id" is taken by a reserved word`},
		{"project_id: {pattern: '[a-z0-9-]+'}", "projectId: {}", "write lower-case letters, digits and underscores"},
		{
			"project_id: {pattern: '[a-z0-9-]+'}",
			"project_id: {pattern: '['}",
			"json.project_id.pattern: pattern does not compile",
		},
		{
			"project_id: {pattern: '[a-z0-9-]+'}",
			"project_id: {patern: x}",
			`project_id.patern: unknown key, did you mean "pattern"?`,
		},
		{"project_id: {pattern: '[a-z0-9-]+'}", "project_id: {}", "api_base: URL template"},
		{"{project_id}.robots.example.com", "{project_id}", "api_base: URL template"},
		{
			"      handed_out: true\n", "      set_by: provider\n      handed_out: true\n",
			`key.fields[0].json: key field "key_file" is the operator's`,
		},
	} {
		changed := strings.Replace(fileText, c.old, c.new, 1)
		require.NotEqual(t, fileText, changed, c.old)
		_, err := Decode("robot.yaml", []byte(changed))
		require.ErrorContains(t, err, c.want)
	}
	_, err := Decode("robot.yaml", []byte("id: r\nname: R\nkinds: [key_pair]\ncheck: none\nkey: {fields: [{name: f, "+
		"secret: true, handed_out: true, json: {}}]}\n"))
	require.ErrorContains(t, err, `key.fields[0].json: key field "f" is a JSON file of which nothing is read`)
}

// Whatever a file holds, it is refused in words of ours, or it is JSON whose members are those that any parser reads.
func FuzzKeyFile(f *testing.F) {
	f.Add(aKeyFile(""))
	f.Add(aKeyFile(`, "client_email": "x@y"`))
	f.Add(`{"a":{"a":[{}, "", -1.5e3]}}`)
	f.Add(`{"client_email": "a@b", "private_key": "\ud83d\ude00"} `)
	f.Add("{} {}")
	d, err := Decode("robot.yaml", []byte(fileText))
	require.NoError(f, err)
	field, _ := d.KeyField("key_file")
	f.Fuzz(func(t *testing.T, file string) {
		members, err := field.members(file)
		if err != nil {
			if len(file) > 40 && strings.Contains(err.Error(), file[:40]) {
				t.Fatalf("the error holds the file: %v", err)
			}
			return
		}
		var plain map[string]json.RawMessage
		if err := json.Unmarshal([]byte(file), &plain); err != nil {
			t.Fatalf("no parser takes it: %v", err)
		}
		for name, value := range members {
			var text string
			if err := json.Unmarshal(plain[name], &text); err != nil || text != value {
				t.Fatalf("%s: %q is %q elsewhere (%v)", name, value, text, err)
			}
		}
		if members["client_email"] == "" || members["private_key"] == "" {
			t.Fatal("what is required is missing")
		}
	})
}
