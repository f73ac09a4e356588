package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The records are those of a Vault 1.21.0, one to a line. What is told of them is compared as a whole.
func TestRecorded(t *testing.T) {
	log, err := os.Open("testdata/audit.jsonl")
	require.NoError(t, err)
	defer log.Close()
	want, err := os.ReadFile("testdata/alerts.txt")
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, run(log, &out))
	assert.Equal(t, string(want), out.String())
}

func TestAlert(t *testing.T) {
	const (
		plugin = `"mount_point":"in/here/","mount_type":"vault-plugin-secrets-connectors"`
		kv     = `"mount_point":"in/here/","mount_type":"kv"`
	)
	record := func(typ, operation, path, rest string) string {
		return `{"type":"` + typ + `","time":"now","request":{"operation":"` + operation + `","path":"` + path + `",` +
			`"remote_address":"::1"` + rest + `}}` + "\n"
	}
	done := func(operation, path, rest string) string { return record("response", operation, path, rest) }
	const snapshot = "sys/storage/raft/snapshot-force"
	tests := map[string]struct {
		line string
		told string // a part of what is said; nothing if empty
	}{
		"an older name of an alias": {done("update", "identity/persona/id/x", ""), "leads a login"},
		"a group by its name": {
			done("delete", "identity/group/name/x", ""), "done: delete identity/group/name/x",
		},
		"a method deep down":               {done("update", "auth/a/b/c/users/x/password", ""), "sets or removes"},
		"a token with an alias":            {done("update", "auth/token/create", `,"data":{"entity_alias":"h"}`), "alias"},
		"a restore is told when asked for": {record("request", "update", snapshot, ""), "asked for: update sys/"},
		"a namespace": {
			done("update", "identity/entity/merge", `,"namespace":{"path":"team/"}`), "update team/identity/entity/merge",
		},
		"a proxy":          {done("update", "in/here/config", `,"data":{"proxy_url":"h"},`+plugin), "another machine"},
		"certificates":     {done("create", "in/here/providers/x", `,"data":{"ca_pem":"h"},`+plugin), "other certificates"},
		"no line of a log": {"Vault was started\n", "no record"},
		"a cut line":       {`{"type":"resp`, "no record"},

		"the same when asked for":    {record("request", "update", "identity/entity/merge", ""), ""},
		"a restore, once done":       {done("update", snapshot, ""), ""},
		"reading":                    {done("read", "identity/entity-alias/id/x", ""), ""},
		"an entity":                  {done("update", "identity/entity/id/x", ""), ""},
		"a role without an alias":    {done("update", "auth/token/roles/x", `,"data":{"period":1}`), ""},
		"a login":                    {done("update", "auth/a/login/x", ""), ""},
		"a role without a claim":     {done("update", "auth/jwt/role/x", `,"data":{"policies":"h"}`), ""},
		"the same field of others":   {done("update", "in/here/config", `,"data":{"proxy_url":"h"},`+kv), ""},
		"config without a proxy":     {done("update", "in/here/config", `,"data":{"flow_ttl":"h"},`+plugin), ""},
		"a path that looks like one": {done("update", "in/here/identity/entity/merge", ","+kv), ""},
		"a connection of that name":  {done("update", "in/here/creds/config", `,"data":{"proxy_url":"h"},`+plugin), ""},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			require.NoError(t, run(strings.NewReader(tc.line), &out))
			if tc.told == "" {
				assert.Empty(t, out.String())
				return
			}
			assert.Contains(t, out.String(), tc.told)
			assert.Equal(t, 1, strings.Count(out.String(), "\n"))
		})
	}
}
