package acceptance

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// office is an organization with people in it, and an account that one of them connected.
type office struct {
	*signIn
	owner, admin, other, app *user
	group                    string // with all of them but the owner
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{signIn: newSignIn(t)}
	member, everybody := recipe(t, "policies/member.hcl"), recipe(t, "policies/everybody.hcl")
	o.owner = o.logIn(t, "owner", member)
	o.admin = o.logIn(t, "admin", recipe(t, "policies/org-admin.hcl")+everybody)
	o.other = o.logIn(t, "other", member+everybody)
	o.app = o.logIn(t, "app", everybody)
	for _, u := range []*user{o.owner, o.admin, o.other} {
		o.ask(t, "identity/entity/id/"+u.entity, map[string]any{"metadata": map[string]string{"org": "acme"}})
	}
	o.group = o.engine.group(t, "all-but-the-owner", o.admin, o.other, o.app)
	return o
}

// may tries something, and reports whether it was done. What is not is forbidden, and not something else.
func (u *user) may(t *testing.T, method, path string, data map[string]any) (map[string]any, bool) {
	t.Helper()
	logical, full := u.vault.Client.Logical(), u.path+"/"+path
	var answer *api.Secret
	var err error
	switch method {
	case "read":
		answer, err = logical.ReadWithContext(t.Context(), full)
	case "list":
		answer, err = logical.ListWithContext(t.Context(), full)
	case "delete":
		answer, err = logical.DeleteWithContext(t.Context(), full)
	default:
		answer, err = logical.WriteWithContext(t.Context(), full, data)
	}
	if err != nil {
		assertRefused(t, http.StatusForbidden, "", answer, err)
		return nil, false
	}
	if answer == nil {
		return nil, true
	}
	return answer.Data, true
}

// operations are what somebody does with the owner's connection of that name, act by act.
var operations = map[string]func(t *testing.T, o *office, who *user, name string) map[string]bool{
	"View on Accounts": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		seen, sees := who.may(t, "read", "connections/"+o.full(name), nil)
		if sees {
			assert.Equal(t, person, seen["account"].(map[string]any)["id"])
		}
		return map[string]bool{"see it": sees || o.finds(t, who, name)}
	},
	"Add to a new trigger or step": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		_, reads := who.may(t, "read", "creds/shared/"+o.full(name), nil)
		return map[string]bool{"find it": o.finds(t, who, name), "read the credential": reads}
	},
	"Modify existing steps": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		credential, reads := who.may(t, "read", "creds/shared/"+o.full(name), nil)
		if reads {
			assert.True(t, knows(t, o.server, credential["access_token"]))
		}
		found, checks := who.may(t, "write", "check/shared/"+o.full(name), nil)
		if checks {
			assert.Equal(t, "true", found["token_valid"])
		}
		return map[string]bool{"read the credential": reads, "have it checked": checks}
	},
	"Test existing steps": func(t *testing.T, o *office, _ *user, name string) map[string]bool {
		credential, reads := o.app.may(t, "read", "creds/shared/"+o.full(name), nil)
		if reads {
			assert.True(t, knows(t, o.server, credential["access_token"]))
		}
		return map[string]bool{"what runs with it goes on reading": reads}
	},
	"Manage access": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		done := map[string]bool{}
		const owners = "creds/org/acme/self/"
		for _, field := range []string{"disabled", "archived"} {
			if _, done[field] = who.may(t, "write", "connections/"+o.full(name), map[string]any{field: true}); done[field] {
				o.owner.refusesRead(t, http.StatusForbidden, field, owners+name)
				o.app.refusesRead(t, http.StatusForbidden, "", "creds/shared/"+o.full(name))
				_, done[field] = who.may(t, "write", "connections/"+o.full(name), map[string]any{field: false})
			}
		}
		_, shares := who.may(t, "write", "shares/"+o.full(name), map[string]any{"entities": o.other.entity})
		_, opens := who.may(t, "write", "connections/"+o.full(name), map[string]any{"private": false})
		assert.Equal(t, shares, opens)
		done[widen] = shares || opens
		if _, done["end shares"] = who.may(t, "delete", "shares/"+o.full(name), nil); done["end shares"] {
			o.app.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/shared/"+o.full(name))
		}
		assert.NotEmpty(t, o.owner.read(t, owners+name)["access_token"], "the owner's own use is as it was")
		return done
	},
	"Reconnect": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		before := o.owner.read(t, "creds/org/acme/self/"+name)["access_token"]
		shared := o.owner.read(t, "shares/org/acme/self/"+name)["shares"]
		flow, starts := who.may(t, "write", "auth-code-url/"+o.full(name), nil)
		if starts {
			code := o.arrive(t, person, flow)
			who.write(t, "exchange", map[string]any{"flow_id": flow["flow_id"], "confirmation_code": code})
		}
		after := o.owner.read(t, "creds/org/acme/self/"+name)["access_token"]
		assert.Equal(t, starts, before != after)
		assert.True(t, knows(t, o.server, after))
		assert.Equal(t, shared, o.owner.read(t, "shares/org/acme/self/"+name)["shares"])
		return map[string]bool{"connect the account again": starts}
	},
	"Delete": func(t *testing.T, o *office, who *user, name string) map[string]bool {
		_, deletes := who.may(t, "delete", "connections/"+o.full(name), nil)
		if deletes {
			o.owner.absent(t, "connections/org/acme/self/"+name)
			o.app.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/shared/"+o.full(name))
		} else {
			assert.NotEmpty(t, o.owner.read(t, "creds/org/acme/self/"+name)["access_token"])
		}
		return map[string]bool{"delete it": deletes}
	},
}

// widen is to let more people use what is private.
const widen = "widen"

// full is the path of the owner's connection as others spell it.
func (o *office) full(name string) string { return "org/acme/user/" + o.owner.entity + "/" + name }

func (o *office) finds(t *testing.T, who *user, name string) bool {
	t.Helper()
	listed, ok := who.may(t, "list", "connections/shared/org/acme/user/"+o.owner.entity, nil)
	require.True(t, ok)
	names, _ := listed["keys"].([]any)
	return slices.Contains(names, any(name))
}

// cell says whether somebody may do something.
type cell int

const (
	yes       cell = iota
	no             // which forbids each act
	yesInPart      // each act but to widen, and the row says why
	notHere        // yes elsewhere, no here, and the row says why
)

func TestWhoMayDoWhatWithAConnection(t *testing.T) {
	t.Parallel()
	const (
		onlyTheOwner = "to widen who uses what is private is its owner's alone: an administrator who could would become " +
			"anybody at the service"
		nothingRuns = "nothing runs with what is private and shared with nobody, but its owner's own programs"
	)
	type row struct {
		operation    string
		admin, other cell
		differs      string
	}
	words := map[string]string{ // of the recipes, for each operation
		"View on Accounts":             "see that it is there",
		"Add to a new trigger or step": "put its credential to a new use",
		"Modify existing steps":        "go on using its credential",
		"Test existing steps":          "rely on an application with which it was shared",
		"Manage access":                "disable and archive it, lift that again, end shares",
		"Reconnect":                    "connect the same account again",
		"Delete":                       "delete it",
	}
	private := []row{
		{"View on Accounts", yes, no, ""},
		{"Add to a new trigger or step", no, no, ""},
		{"Modify existing steps", no, no, ""},
		{"Test existing steps", notHere, notHere, nothingRuns},
		{"Manage access", yesInPart, no, onlyTheOwner},
		{"Reconnect", yes, no, ""},
		{"Delete", yes, no, ""},
	}
	shared := []row{
		{"View on Accounts", yes, yes, ""},
		{"Add to a new trigger or step", yes, yes, ""},
		{"Modify existing steps", yes, yes, ""},
		{"Test existing steps", yes, yes, ""},
		{"Manage access", yesInPart, no, onlyTheOwner},
		{"Reconnect", yes, no, ""},
		{"Delete", yes, no, ""},
	}
	page := recipe(t, "README.md")
	for i := range private {
		line := "| " + words[private[i].operation] + " |"
		for _, c := range []cell{private[i].admin, private[i].other, shared[i].admin, shared[i].other} {
			line += map[cell]string{yes: " yes |", yesInPart: " yes |", no: " no |", notHere: " no |"}[c]
		}
		assert.Contains(t, page, line+"\n")
	}
	assert.Contains(t, page, "| share it with more, or open it | no | no | no | no |\n")

	o := newOffice(t)
	for name, table := range map[string]struct {
		rows  []row
		share map[string]any
	}{
		"private":              {private, nil},
		"shared with a group":  {shared, map[string]any{"groups": o.group}},
		"shared with everyone": {shared, map[string]any{"everyone": true}},
	} {
		require.Len(t, table.rows, len(operations))
		for i, r := range table.rows {
			for who, column := range map[string]struct {
				user *user
				cell cell
			}{"admin": {o.admin, r.admin}, "other": {o.other, r.other}} {
				t.Run(name+"/"+r.operation+"/"+who, func(t *testing.T) {
					connection := fmt.Sprintf("%s-%d-%s", strings.ReplaceAll(name, " ", "-"), i, who)
					require.Equal(t, true, o.owner.connect(t, "org/acme/self/"+connection, "idp")["private"])
					if table.share != nil {
						o.owner.write(t, "shares/org/acme/self/"+connection, table.share)
					}
					require.Equal(t, r.differs != "", r.admin > no || r.other > no, "what differs has a reason")
					for act, done := range operations[r.operation](t, o, column.user, connection) {
						want := column.cell == yes || column.cell == yesInPart && act != widen
						assert.Equal(t, want, done, "%s: %s", act, r.differs)
					}
					_, reads := column.user.may(t, "read", "creds/"+o.full(connection), nil)
					assert.False(t, reads, "and nobody reads it as if it were theirs")
				})
			}
		}
	}
}
