package acceptance

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// group makes an identity group, or changes its members, and gives its id.
func (e *engine) group(t *testing.T, name string, members ...*user) (id string) {
	t.Helper()
	entities := []string{}
	for _, m := range members {
		entities = append(entities, m.entity)
	}
	path := "identity/group/name/" + e.path + "-" + name
	e.ask(t, path, map[string]any{"member_entity_ids": entities})
	made, err := e.vault.Client.Logical().ReadWithContext(t.Context(), path)
	require.NoError(t, err)
	id = made.Data["id"].(string)
	t.Cleanup(func() { _, _ = e.vault.Client.Logical().Delete(path) })
	return id
}

func TestShareWithAGroup(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	everybody := recipe(t, "policies/everybody.hcl")
	her := root.logIn(t, "her", recipe(t, "policies/own.hcl"))
	bob, carol := root.logIn(t, "bob", everybody), root.logIn(t, "carol", everybody)
	her.write(t, "connections/self/openai", key(apiKey))
	shared := "user/" + her.entity + "/openai"
	reads := func(u *user) {
		t.Helper()
		assert.Equal(t, apiKey, u.read(t, "creds/shared/"+shared)["api_key"])
		u.write(t, "check/shared/"+shared, nil)
		assert.Equal(t, []any{"openai"}, u.list(t, "connections/shared/user/"+her.entity))
	}
	readsNot := func(u *user) {
		t.Helper()
		u.refusesRead(t, http.StatusForbidden, "is shared with you", "creds/shared/"+shared)
		u.refusesWrite(t, http.StatusForbidden, "is shared with you", "check/shared/"+shared, nil)
		answer, err := u.vault.Client.Logical().ListWithContext(t.Context(), u.path+"/connections/shared/user/"+her.entity)
		assert.NoError(t, err)
		assert.Nil(t, answer)
	}
	support := root.group(t, "support", bob)
	readsNot(bob)
	her.write(t, "shares/self/openai", map[string]any{"groups": support})
	reads(bob)
	readsNot(carol)

	root.group(t, "support", bob, carol)
	reads(carol)
	root.group(t, "support", carol)
	readsNot(bob) // with the token that read a moment ago
	reads(carol)

	// through a group in the group, as long as it is there
	inner := root.group(t, "inner", bob)
	path := "identity/group/id/" + support
	root.ask(t, path, map[string]any{"member_entity_ids": []string{carol.entity}, "member_group_ids": []string{inner}})
	reads(bob)
	root.ask(t, path, map[string]any{"member_entity_ids": []string{carol.entity}, "member_group_ids": []string{}})
	readsNot(bob)

	_, err := root.vault.Client.Logical().DeleteWithContext(t.Context(), path)
	require.NoError(t, err)
	readsNot(carol)
	anew := root.group(t, "support", bob, carol)
	require.NotEqual(t, support, anew)
	readsNot(bob)
	readsNot(carol)
	assert.Len(t, her.read(t, "shares/self/openai")["shares"], 1, "it is shared with a group that is gone")
	her.write(t, "shares/self/openai", map[string]any{"groups": anew})
	reads(bob)
}

// What is shared with an entity that is merged into another is shared with nobody from the next login on: ids are not
// followed. What is shared with a group is: Vault carries the membership over.
func TestShareWithAMergedEntity(t *testing.T) {
	t.Parallel()
	root := newKeys(t)
	home, work := root.newLogins(t, root.path+"-home"), root.newLogins(t, root.path+"-work")
	home.set(t, "bob", "a password")
	work.set(t, "bob", "a password")
	gone, remains := home.in(t, "bob", "a password"), work.in(t, "bob", "a password")
	her := root.logIn(t, "her", everything)
	for _, name := range []string{"by-entity", "by-group"} {
		her.write(t, "connections/self/"+name, key(apiKey))
	}
	her.write(t, "shares/self/by-entity", map[string]any{"entities": gone.entity})
	her.write(t, "shares/self/by-group", map[string]any{"groups": root.group(t, "support", gone)})
	byEntity, byGroup := "creds/shared/user/"+her.entity+"/by-entity", "creds/shared/user/"+her.entity+"/by-group"
	for _, path := range []string{byEntity, byGroup} {
		require.Equal(t, apiKey, gone.read(t, path)["api_key"])
		remains.refusesRead(t, http.StatusForbidden, "is shared with you", path)
	}
	root.ask(t, "identity/entity/merge", map[string]any{
		"from_entity_ids": []string{gone.entity}, "to_entity_id": remains.entity,
	})

	later := home.in(t, "bob", "a password")
	require.Equal(t, remains.entity, later.entity)
	for name, u := range map[string]*user{"later": later, "remains": remains} {
		u.refusesRead(t, http.StatusForbidden, "is shared with you", byEntity)
		assert.Equal(t, apiKey, u.read(t, byGroup)["api_key"], name)
	}
	assert.Equal(t, apiKey, gone.read(t, byEntity)["api_key"], "a token from before, until it ends")
	gone.refusesRead(t, http.StatusForbidden, "is shared with you", byGroup)
	her.write(t, "shares/self/by-entity", map[string]any{"entities": remains.entity})
	assert.Equal(t, apiKey, later.read(t, byEntity)["api_key"])
}
