package backend

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers/providertest"
)

// whose looks a secret up, and tells each place in which it is: what has it, the path or provider, the field, and
// whether it lives.
func whose(t *testing.T, e *testenv.Env, path, secret string) []string {
	t.Helper()
	data := asClient(t, e.Write(path, map[string]any{"token": secret}).OK(t))
	places := placesOf(t, data)
	if len(places) == 0 {
		assert.Equal(t, "unknown", data["state"])
	} else {
		assert.Equal(t, "found", data["state"])
	}
	assert.Zero(t, data["unreadable"])
	return places
}

func placesOf(t *testing.T, data map[string]any) (places []string) {
	t.Helper()
	for _, m := range asClient(t, data)["matches"].([]any) {
		row := m.(map[string]any)
		at := row["path"]
		if at == "" {
			at = row["provider"]
		}
		places = append(places, fmt.Sprint(row["of"], " ", at, " ", row["field"], " ", row["standing"]))
	}
	return places
}

// stored gives a connection as storage has it.
func storedAt(t *testing.T, s *testenv.Storage, path string) *store.Connection {
	t.Helper()
	k, err := store.ParseKey(path)
	require.NoError(t, err)
	c, err := store.New(s).Connection(t.Context(), k)
	require.NoError(t, err)
	require.NotNil(t, c)
	return c
}

func (f *fixture) tokens(t *testing.T, path string) (access, refresh string) {
	t.Helper()
	g := storedAt(t, f.Storage, path).Grant
	return g.AccessToken.Reveal(), g.RefreshToken.Reveal()
}

const (
	secondKey = "sk-proj-the-second-key-of-openai-5678"
	thirdKey  = "sk-proj-the-third-key-of-openai-9012"
	appSecret = "the-client-secret-of-the-app"
	nobodys   = "a-secret-that-nobody-ever-stored-here"
)

// Each kind of secret is found where it lives, and where it was when something took its place.
func TestLookup(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.connect(t, "org/acme/slack")
		firstAccess, firstRefresh := f.tokens(t, "org/acme/slack")
		is := func(secret string, places ...string) {
			t.Helper()
			assert.Equal(t, places, whose(t, f.Env, "lookup", secret))
		}
		at := "connection org/acme/slack "
		is(firstAccess, at+"access_token living")
		is(firstRefresh, at+"refresh_token living")
		f.Advance(time.Minute)
		f.Write("refresh/org/acme/slack", nil).OK(t)
		secondAccess, secondRefresh := f.tokens(t, "org/acme/slack")
		require.NotEqual(t, firstAccess, secondAccess)
		require.NotEqual(t, firstRefresh, secondRefresh)
		is(firstAccess, at+"access_token former")
		is(firstRefresh, at+"refresh_token former")
		is(secondAccess, at+"access_token living")
		f.connect(t, "org/acme/slack")
		is(secondAccess, at+"access_token former")
		is(secondRefresh, at+"refresh_token former")

		f.key(t, "org/acme/self/key", alice)
		at = "connection org/acme/user/e-alice/key "
		is(openaiKey, at+"api_key living")
		f.Write("connections/org/acme/self/key", map[string]any{"api_key": secondKey}, alice).OK(t)
		is(openaiKey, at+"api_key former")
		f.Write("connections/org/acme/self/key", map[string]any{"api_key": thirdKey}, alice).OK(t)
		is(openaiKey, at+"api_key former")
		is(secondKey, at+"api_key former")
		f.Write("connections/org/acme/self/key", map[string]any{"api_key": openaiKey}, alice).OK(t)
		is(openaiKey, at+"api_key living")

		for _, secret := range []string{appSecret, "a-newer-client-secret-of-the-app"} {
			f.Write("providers/acme/client-secret", map[string]any{"client_secret": secret}).OK(t)
			is(secret, "provider acme client_secret living")
		}
		is(appSecret, "provider acme client_secret former")
		f.Write("providers/acme/client-secret", map[string]any{"drop_former": true}).OK(t)
		is(appSecret)
		is(nobodys)
	})
}

// What was there of connections that were deleted, moved or ended is known for a while.
func TestLookupOfWhatIsGone(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		is := func(secret string, places ...string) {
			t.Helper()
			assert.ElementsMatch(t, places, whose(t, f.Env, "lookup", secret))
		}
		f.connect(t, "slack")
		first, _ := f.tokens(t, "org/default/slack")
		f.Advance(time.Minute)
		f.Write("refresh/slack", nil).OK(t)
		access, refresh := f.tokens(t, "org/default/slack")
		id := f.Read("connections/slack", nil).OK(t)["connection_id"]
		f.Delete("connections/slack", nil).OK(t)
		for secret, field := range map[string]string{
			first: "access_token", access: "access_token", refresh: "refresh_token",
		} {
			is(secret, "deleted org/default/slack "+field+" former")
		}
		row := asClient(t, f.Write("lookup", map[string]any{"token": access}).OK(t))["matches"].([]any)[0].(map[string]any)
		assert.Equal(t, []any{id, rfc3339(f.Now()), "org/default", "acme"},
			[]any{row["connection_id"], row["deleted_time"], row["owner"], row["provider"]})
		f.connect(t, "slack")
		is(access, "deleted org/default/slack access_token former")

		f.key(t, "org/acme/key")
		f.Write("connections/org/acme/key", map[string]any{"api_key": secondKey}).OK(t)
		f.Write("transfer/org/acme/key", map[string]any{"to": "org/acme/renamed"}).OK(t)
		is(openaiKey, "connection org/acme/renamed api_key former")
		is(secondKey, "connection org/acme/renamed api_key living")
		f.Write("transfer/org/acme/renamed", map[string]any{"to": "org/beta/key"}).OK(t)
		f.Write("accept/org/beta/key", map[string]any{"from": "org/acme/renamed"}).OK(t)
		is(openaiKey, "connection org/beta/key api_key former")
		is(secondKey, "connection org/beta/key api_key living")
		assert.Empty(t, whose(t, f.Env, "lookup/org/acme", secondKey))

		f.connect(t, "self/slack", alice)
		access, _ = f.tokens(t, "user/e-alice/slack")
		f.Write("transfer/user/e-alice/slack", map[string]any{"to": "org/acme/bare"}).OK(t)
		f.Write("accept/org/acme/bare", map[string]any{"from": "user/e-alice/slack"}).OK(t)
		is(access, "deleted user/e-alice/slack access_token former")
		assert.Empty(t, whose(t, f.Env, "lookup/org/acme", access), "it never had the credential")

		f.Advance(31 * 24 * time.Hour)
		f.periodic(t)
		is(access)
		is(first)
	})
}

// An organization sees its own connections, and its members'; whatever else there is, is unknown to it.
func TestLookupOfAnOrganization(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		is := func(path, secret string, places ...string) {
			t.Helper()
			assert.ElementsMatch(t, places, whose(t, f.Env, path, secret))
		}
		is("lookup", openaiKey, "connection org/acme/zkey api_key living",
			"connection org/acme/user/e-alice/key api_key living", "connection org/beta/key api_key living",
			"connection user/u-1/key api_key living")
		is("lookup/org/acme", openaiKey, "connection org/acme/zkey api_key living",
			"connection org/acme/user/e-alice/key api_key living")
		is("lookup/org/beta", openaiKey, "connection org/beta/key api_key living")
		is("lookup/org/gamma", openaiKey)
		f.Write("providers/acme/client-secret", map[string]any{"client_secret": appSecret}).OK(t)
		is("lookup/org/acme", appSecret)
		is("lookup", appSecret, "provider acme client_secret living")
		access, _ := f.tokens(t, "user/e-alice/slack")
		is("lookup/org/acme", access)
		is("lookup", access, "connection user/e-alice/slack access_token living")
		for _, org := range []string{"acme", "gamma"} { // both look alike
			data := f.Write("lookup/org/"+org, map[string]any{"token": nobodys}).OK(t)
			delete(data, "examined")
			delete(data, "total")
			assert.Equal(t, map[string]any{
				"state": "unknown", "job": "", "matches": []any{}, "unreadable": 0.0, "good_until": "",
			}, asClient(t, data))
		}
		f.Write("lookup/org/Acme", map[string]any{"token": nobodys}).Refused(t, http.StatusBadRequest, "org")

		narrow := func(provider string) []string {
			return placesOf(t, f.Write("lookup", map[string]any{"token": access, "provider": provider}).OK(t))
		}
		assert.Empty(t, narrow("openai"))
		assert.Len(t, narrow("openai,acme"), 1)
		f.Write("lookup", map[string]any{"token": access, "provider": "nope"}).Refused(t, http.StatusBadRequest, "nope")
		f.Write("lookup", map[string]any{"token": access, "provider": "No"}).Refused(t, http.StatusBadRequest)
	})
}

// By whom a private connection was read is told to its owner alone, whoever looks a secret up.
func TestLookupOfAPrivateConnection(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.System.AddEntity("e-alice")
		f.key(t, "self/key", alice)
		f.Read("creds/self/key", nil, alice).OK(t)
		require.Eventually(t, func() bool { return len(f.readersOf(t, "self/key", alice)) == 1 }, time.Minute,
			time.Millisecond)
		readers := func(as ...testenv.Caller) any {
			data := asClient(t, f.Write("lookup", map[string]any{"token": openaiKey}, as...).OK(t))
			return data["matches"].([]any)[0].(map[string]any)["readers"]
		}
		assert.Empty(t, readers())
		assert.Empty(t, readers(bob))
		assert.Len(t, readers(alice), 1)
	})
}

// A row tells what the inventory does of the connection, and how the harm is ended.
func TestLookupRow(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.stocked(t)
		access, _ := f.tokens(t, "org/acme/slack")
		f.Read("creds/org/acme/slack", nil, alice).OK(t)
		require.Eventually(t, func() bool {
			return f.Read("connections/org/acme/slack", nil).OK(t)["last_used"] != ""
		}, time.Minute, time.Millisecond)
		today := f.Now().UTC().Format(time.DateOnly)
		data := asClient(t, f.Write("lookup", map[string]any{"token": access}).OK(t))
		row := data["matches"].([]any)[0].(map[string]any)
		of := f.Read("connections/org/acme/slack", nil).OK(t)
		for name, want := range map[string]any{
			"connection_id": of["connection_id"], "owner": "org/acme", "provider": "acme", "kind": "authorization_code",
			"label": "Sales Team", "status": "active", "private": false, "created_by": "root", "deleted_time": "",
			"replaced_time": "", "last_used": today,
			"readers": []any{map[string]any{
				"entity_id": "e-alice", "display_name": "userpass-e-alice", "last_used": today,
			}},
			"next_step": "vault delete connectors/connections/org/acme/slack, which revokes the grant where its provider can " +
				"be asked; then connect the account again",
		} {
			assert.Equal(t, want, row[name], name)
		}
		assert.Equal(t, []any{6.0, 6.0, ""}, []any{data["examined"], data["total"], data["job"]})
		f.Write("connections/org/acme/zkey", map[string]any{"api_key": secondKey}).OK(t)
		former := asClient(t, f.Write("lookup/org/acme", map[string]any{"token": openaiKey}).OK(t))["matches"].([]any)
		for _, m := range former {
			if row := m.(map[string]any); row["path"] == "org/acme/zkey" {
				assert.Equal(t, rfc3339(f.Now()), row["replaced_time"])
				assert.Contains(t, row["next_step"], "not handed out any more")
			}
		}
		require.Len(t, former, 2)
	})
}

// A secret is taken as people find it, and one that is not is never told again.
func TestLookupTakesWhatPeopleFind(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		for _, text := range []string{
			openaiKey, openaiKey + "\n", "\r\n  " + openaiKey + "\t", "Bearer " + openaiKey, "bearer   " + openaiKey + "\n",
		} {
			assert.Len(t, whose(t, f.Env, "lookup", text), 1, "%q", text)
		}
		for _, text := range []string{
			"", "planted-in-lookup", "   planted-in-lookup        ", "Bearer planted-in-lookup", strings.Repeat(" ", 100),
		} {
			r := f.Write("lookup", map[string]any{"token": text})
			r.Refused(t, http.StatusBadRequest, "shorter than 20 characters")
			assert.NotContains(t, r.Text, "planted")
		}
		f.Write("lookup", nil).Refused(t, http.StatusBadRequest, "20 characters")
		f.Write("lookup", map[string]any{"token": openaiKey, "tokens": openaiKey}).
			Refused(t, http.StatusBadRequest, "unknown field", "tokens")
		r := f.Write("lookup", map[string]any{"token": strings.Repeat("planted", 10_000)})
		r.Refused(t, http.StatusBadRequest, "longer")
		assert.NotContains(t, r.Text, "planted")
		assert.Equal(t, http.StatusNotFound, f.Read("lookup/nothing", nil).Status)
		assert.Equal(t, http.StatusNotFound, f.Read("lookup/"+store.NewJobID(), nil).Status)
		assert.NotContains(t, f.Logs.String(), "planted")
		assert.Empty(t, f.stored(t, "lookup/"), "what ends at once leaves nothing")
	})
}

// Public fields of a key are others' too: they name nobody.
func TestLookupOfAPublicField(t *testing.T) {
	f := newFixture(t, sited(t, pair), testenv.InProcess)
	f.Write("providers/pair", map[string]any{"endpoints": map[string]any{"identity": f.provider.URL + "/userinfo"}}).OK(t)
	write := func(id, key string) {
		f.provider.Next("identity", providertest.Respond(http.StatusOK, `{"sub":"one"}`))
		f.Write("connections/x", map[string]any{"provider": "pair", "key_id": id, "api_key": key}).OK(t)
	}
	write("a-public-id-of-more-than-twenty", "a-secret-of-more-than-twenty")
	assert.Empty(t, whose(t, f.Env, "lookup", "a-public-id-of-more-than-twenty"))
	assert.Len(t, whose(t, f.Env, "lookup", "a-secret-of-more-than-twenty"), 1)
	write("another-public-id-of-more-than-twenty", "another-secret-of-more-than-twenty")
	assert.Empty(t, whose(t, f.Env, "lookup", "a-public-id-of-more-than-twenty"))
	assert.Len(t, whose(t, f.Env, "lookup", "a-secret-of-more-than-twenty"), 1)
	f.Delete("connections/x", nil).OK(t)
	assert.Empty(t, whose(t, f.Env, "lookup", "another-public-id-of-more-than-twenty"))
	assert.Len(t, whose(t, f.Env, "lookup", "another-secret-of-more-than-twenty"), 1)
}

// A credential that storage refuses is found while it is held, and what it replaced is remembered once it is saved.
func TestLookupWhileStorageRefuses(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.connect(t, "slack")
	access, refresh := f.tokens(t, "org/default/slack")
	f.Advance(time.Minute)
	refuseConnections(f.Storage)
	f.Write("refresh/slack", nil)
	f.Storage.Judge(nil)
	held := f.token(t, "slack").(string)
	require.NotEqual(t, access, held)
	check := func() {
		t.Helper()
		assert.Equal(t, []string{"connection org/default/slack access_token living"}, whose(t, f.Env, "lookup", held))
		assert.Equal(t, []string{"connection org/default/slack access_token former"}, whose(t, f.Env, "lookup", access))
		assert.Equal(t, []string{"connection org/default/slack refresh_token former"}, whose(t, f.Env, "lookup", refresh))
	}
	check()
	f.saved(t)
	f.restart(t)
	check()
}

// An import that is not finished holds a token that lives.
func TestLookupOfAnImport(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	token := f.elsewhere(t)
	f.silent(t, "x", map[string]any{"provider": "acme", "refresh_token": token})
	places := whose(t, f.Env, "lookup", token)
	require.Len(t, places, 1)
	assert.Equal(t, "import org/default/x refresh_token living", places[0])
	assert.Len(t, whose(t, f.Env, "lookup/org/default", token), 1)
	assert.Empty(t, whose(t, f.Env, "lookup/org/acme", token))
}

// A node that may not write answers so before it looks at anything, and a caller of no use neither.
func TestLookupOnAStandby(t *testing.T) {
	each(t, func(t *testing.T, f *fixture) {
		f.key(t, "key")
		f.System.SetReplication(consts.ReplicationPerformanceStandby)
		f.Storage.Forget()
		for _, path := range []string{"lookup", "lookup/org/acme"} {
			assert.EqualError(t, f.Write(path, map[string]any{"token": openaiKey}).Err, logical.ErrReadOnly.Error())
		}
		assert.Empty(t, f.Storage.History())
	})
}

// Whose a replaced secret was is known as long as the key of the hashes is there; whose a living one is, always.
func TestLookupKeyIsLost(t *testing.T) {
	for what, lose := range map[string]func(*testing.T, *fixture){
		"deleted": func(t *testing.T, f *fixture) { require.NoError(t, f.Storage.Delete(t.Context(), "lookup-key")) },
		"damaged": func(t *testing.T, f *fixture) { f.undecodable(t, "lookup-key") },
	} {
		t.Run(what, func(t *testing.T) {
			f := newFixture(t, Options{}, testenv.InProcess)
			f.key(t, "key")
			f.Write("connections/key", map[string]any{"api_key": secondKey}).OK(t)
			f.Write("connections/key", map[string]any{"api_key": thirdKey}).OK(t)
			assert.Len(t, whose(t, f.Env, "lookup", openaiKey), 1)
			lose(t, f)
			f.restart(t)
			assert.Empty(t, whose(t, f.Env, "lookup", openaiKey))
			assert.Len(t, whose(t, f.Env, "lookup", thirdKey), 1)
			f.Write("connections/key", map[string]any{"api_key": openaiKey}).OK(t)
			f.Write("connections/key", map[string]any{"api_key": secondKey}).OK(t)
			assert.Len(t, whose(t, f.Env, "lookup", thirdKey), 1, "from now on it is as before")
			f.restart(t)
			assert.Len(t, whose(t, f.Env, "lookup", thirdKey), 1)
		})
	}
	t.Run("of a newer release, it is left alone", func(t *testing.T) {
		f := newFixture(t, Options{}, testenv.InProcess)
		f.key(t, "key")
		newer := &logical.StorageEntry{Key: "lookup-key", Value: []byte(`{"version":99}`)}
		require.NoError(t, f.Storage.Put(t.Context(), newer))
		f.restart(t)
		assert.Equal(t, http.StatusInternalServerError, f.Write("lookup", map[string]any{"token": openaiKey}).Status)
		f.Write("connections/key", map[string]any{"api_key": secondKey}).OK(t)
		entry, err := f.Storage.Get(t.Context(), "lookup-key")
		require.NoError(t, err)
		assert.Equal(t, newer.Value, entry.Value)
	})
}

// keys makes connections of the provider "openai", each with a key of its own.
func keys(t *testing.T, e *testenv.Env, n int) {
	t.Helper()
	for i := range n {
		e.Write(fmt.Sprintf("connections/org/acme/k%02d", i), map[string]any{
			"provider": "openai", "api_key": keyNumber(i),
		}).OK(t)
	}
}

func keyNumber(i int) string { return fmt.Sprintf("sk-proj-key-number-%02d-of-openai-abcdef", i) }

// slow lets each read of a connection take some time.
func slow(e *testenv.Env, by time.Duration) {
	e.Storage.Delay(func(a testenv.Access) bool { return a.Op == "get" && a.Under("connection/") }, func(testenv.Access) {
		time.Sleep(by)
	})
}

// cold forgets what memory has of connections.
func cold(t *testing.T, e *testenv.Env) {
	t.Helper()
	b := e.Backend.(*backend)
	require.NoError(t, b.directory.each(t.Context(), func(k store.Key, _ *record) {}))
	b.directory.mirror.each(func(k store.Key, _ *record) { b.connections.Invalidate(k) })
}

// What takes longer is a job that is read later, by whom it is for alone, and is forgotten after a day.
func TestLookupJob(t *testing.T) {
	bubbled(t, "is read later", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Second)
		begun := time.Now()
		r := e.Write("lookup/org/acme", map[string]any{"token": keyNumber(7)})
		open := r.OK(t)
		assert.Equal(t, lookupWait, time.Since(begun))
		assert.Equal(t, []any{"running", 10}, []any{open["state"], open["total"]})
		assert.Less(t, open["examined"], 10)
		path := "lookup/org/acme/" + open["job"].(string)
		assert.Contains(t, r.Warnings[0], "connectors/"+path)
		assert.Equal(t, "running", e.Read(path, nil).OK(t)["state"])
		for _, other := range []string{"lookup/org/beta/", "lookup/org/default/"} {
			assert.Equal(t, http.StatusNotFound, e.Read(other+open["job"].(string), nil).Status)
		}
		time.Sleep(20 * time.Second)
		for _, by := range []string{path, "lookup/" + open["job"].(string)} {
			done := e.Read(by, nil).OK(t)
			assert.Equal(t, []string{"connection org/acme/k07 api_key living"}, placesOf(t, done))
			assert.Equal(t, []any{"found", 10, open["good_until"]}, []any{done["state"], done["examined"], done["good_until"]})
		}
		e.Storage.Delay(nil, nil)
		entry, err := e.Storage.Get(t.Context(), "lookup/"+open["job"].(string))
		require.NoError(t, err)
		assert.NotContains(t, string(entry.Value), keyNumber(7)[:12])
		time.Sleep(keepLookups - 30*time.Second)
		e.Read(path, nil).OK(t)
		time.Sleep(time.Minute)
		assert.Equal(t, http.StatusNotFound, e.Read(path, nil).Status)
		names, err := e.Storage.List(t.Context(), "lookup/")
		require.NoError(t, err)
		assert.Empty(t, names, "nothing is left of it")
	})
	bubbled(t, "goes on after its process died", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Second)
		open := e.Write("lookup", map[string]any{"token": keyNumber(3)}).OK(t)
		require.Equal(t, "running", open["state"])
		e.System.SetReplication(consts.ReplicationPerformanceStandby)
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		time.Sleep(time.Minute)
		done := next.Read("lookup/"+open["job"].(string), nil).OK(t)
		assert.Equal(t, []string{"connection org/acme/k03 api_key living"}, placesOf(t, done))
	})
	bubbled(t, "is void once the key is another", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Second)
		open := e.Write("lookup", map[string]any{"token": keyNumber(3)}).OK(t)
		e.System.SetReplication(consts.ReplicationPerformanceStandby)
		require.NoError(t, e.Storage.Delete(t.Context(), "lookup-key"))
		next := testenv.InProcess(t, New(Options{}), e.Storage)
		time.Sleep(time.Minute)
		next.Read("lookup/"+open["job"].(string), nil).Refused(t, http.StatusConflict, "send the found secret again")
	})
	bubbled(t, "is none for who hung up", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		e.WriteCtx(ctx, "lookup", map[string]any{"token": keyNumber(3)}).Refused(t, http.StatusServiceUnavailable)
		time.Sleep(time.Minute)
		assert.Empty(t, e.Backend.(*backend).lookups.batch())
		e.Storage.Delay(nil, nil)
		names, err := e.Storage.List(t.Context(), "lookup/")
		require.NoError(t, err)
		assert.Empty(t, names)
	})
	bubbled(t, "takes the place of the oldest of the same caller alone", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		slow(e, time.Second)
		asks := func(who testenv.Caller) string {
			cold(t, e)
			open := e.Write("lookup", map[string]any{"token": keyNumber(3)}, who).OK(t)
			require.Equal(t, "running", open["state"])
			time.Sleep(time.Minute)
			return open["job"].(string)
		}
		ofBob := asks(bob)
		ofAlice := []string{asks(alice)}
		for range maxLookupsOfOne {
			ofAlice = append(ofAlice, asks(alice))
		}
		assert.Equal(t, http.StatusNotFound, e.Read("lookup/"+ofAlice[0], nil).Status)
		for _, job := range append(ofAlice[1:], ofBob) {
			assert.Equal(t, "found", e.Read("lookup/"+job, nil).OK(t)["state"])
		}
		names, err := e.Storage.List(t.Context(), "lookup/")
		require.NoError(t, err)
		assert.Len(t, names, maxLookupsOfOne+1)
	})
	bubbled(t, "waits until there is room", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Minute)
		asks := func() testenv.Result { return e.Write("lookup", map[string]any{"token": keyNumber(3)}, alice) }
		for range maxLookupsOfOne {
			asks().OK(t)
		}
		asks().Refused(t, http.StatusConflict, "of yours wait", "try again")
		e.Write("lookup", map[string]any{"token": keyNumber(3)}, bob).OK(t)
		time.Sleep(time.Hour)
		asks().OK(t)
	})
	bubbled(t, "finds what moved to where it had been", func(t *testing.T, e *testenv.Env) {
		keys(t, e, 10)
		cold(t, e)
		slow(e, time.Second)
		open := e.Write("lookup", map[string]any{"token": keyNumber(9)}).OK(t)
		e.Write("transfer/org/acme/k09", map[string]any{"to": "org/acme/a"}).OK(t)
		time.Sleep(time.Minute)
		done := e.Read("lookup/"+open["job"].(string), nil).OK(t)
		assert.Equal(t, []string{"connection org/acme/a api_key living"}, placesOf(t, done))
	})
}

// Who has no entity is told apart by the name of the token, and all together have no more than there is room for.
func TestLookupsThatAreKept(t *testing.T) {
	for want, by := range map[string]store.Actor{
		"e-1": {EntityID: "e-1", DisplayName: "alice"}, "token-ci": {DisplayName: "token-ci"},
	} {
		assert.Equal(t, want, keptOf(by).of)
	}
	f := newFixture(t, Options{}, testenv.InProcess)
	require.NoError(t, f.Storage.Put(t.Context(), &logical.StorageEntry{Key: "lookup/odd", Value: []byte("{damaged")}))
	after := newLookups(f.engine())
	require.NoError(t, after.load(t.Context()))
	assert.True(t, after.keeps("odd"), "another release may read it")
	assert.WithinDuration(t, f.engine().now().Add(keepLookups), after.kept["odd"].until, time.Hour)

	x := newLookups(nil)
	for n := range maxLookups {
		x.kept[fmt.Sprint("job-", n)] = keptLookup{of: fmt.Sprint("caller-", n)}
	}
	one := &aLookup{entry: store.Lookup{ID: "one", By: store.Actor{EntityID: "another"}}}
	x.open["one"] = one
	_, err := x.keep(t.Context(), one)
	assert.ErrorContains(t, err, "500 look-ups are kept already")
	assert.Empty(t, x.open, "nobody waits for it")
	assert.NotContains(t, x.kept, "one")
}

// Whichever access storage refuses, or hangs at, the answer is right, is open, or says that it may be wrong.
func TestLookupFaults(t *testing.T) {
	secrets := map[string]string{
		keyNumber(1):                    "connection org/acme/k01 api_key living",
		"sk-proj-the-former-key-of-k02": "connection org/acme/k02 api_key former",
		keyNumber(0):                    "deleted org/acme/k00 api_key former",
	}
	fill := func(t *testing.T, e *testenv.Env) {
		keys(t, e, 3)
		for _, key := range []string{"sk-proj-the-former-key-of-k02", "sk-proj-another", keyNumber(2)} {
			e.Write("connections/org/acme/k02", map[string]any{"api_key": key}).OK(t)
		}
		e.Delete("connections/org/acme/k00", nil).OK(t)
		cold(t, e)
	}
	for how, break_ := range map[string]func(*testenv.Env, func(testenv.Access) bool){
		"refuses": func(e *testenv.Env, picked func(testenv.Access) bool) {
			e.Storage.Judge(func(a testenv.Access) error {
				if picked(a) {
					return testenv.ErrStorage
				}
				return nil
			})
		},
		"hangs": func(e *testenv.Env, picked func(testenv.Access) bool) {
			e.Storage.Hang(picked, func(testenv.Access) { time.Sleep(10 * time.Second) })
		},
	} {
		for n := 1; ; n++ {
			reached := false
			bubbled(t, fmt.Sprint("storage ", how, " at access ", n), func(t *testing.T, e *testenv.Env) {
				fill(t, e)
				for secret, place := range secrets {
					var met atomic.Bool
					nth := testenv.Nth(n, func(testenv.Access) bool { return true })
					break_(e, func(a testenv.Access) bool {
						yes := nth(a)
						if yes {
							met.Store(true)
						}
						return yes
					})
					r := e.Write("lookup", map[string]any{"token": secret})
					if r.Status < 300 && r.Data["state"] == "running" {
						time.Sleep(10 * time.Minute)
						r = e.Read("lookup/"+r.Data["job"].(string), nil)
					}
					e.Storage.Judge(nil)
					e.Storage.Hang(nil, nil)
					reached = reached || met.Load()
					switch {
					case r.Status >= 500:
						continue
					case number(r.OK(t)["unreadable"]) > 0:
						assert.NotEmpty(t, r.Warnings)
						continue
					}
					assert.Equal(t, []string{place}, placesOf(t, r.Data))
				}
				time.Sleep(time.Hour)
				for secret, place := range secrets {
					assert.Equal(t, []string{place}, whose(t, e, "lookup", secret), "nothing stays wrong")
				}
			})
			if !reached {
				assert.Greater(t, n, 7, "it asks storage more often than that")
				break
			}
		}
	}
}

// A job whose entry storage refuses at any write is either told to nobody, or carried through.
func TestLookupJobFaults(t *testing.T) {
	for n := 1; n <= 3; n++ {
		bubbled(t, fmt.Sprint("storage refuses write ", n), func(t *testing.T, e *testenv.Env) {
			keys(t, e, 10)
			cold(t, e)
			slow(e, time.Second)
			e.Storage.FailWrite(n)
			r := e.Write("lookup", map[string]any{"token": keyNumber(3)})
			if r.Status >= 300 {
				assert.Equal(t, 1, n)
				time.Sleep(time.Minute)
				assert.Empty(t, e.Backend.(*backend).lookups.batch())
				return
			}
			time.Sleep(5 * time.Minute)
			done := e.Read("lookup/"+r.Data["job"].(string), nil).OK(t)
			assert.Equal(t, []string{"connection org/acme/k03 api_key living"}, placesOf(t, done))
		})
	}
}

// A crowd shares passes, everybody is answered rightly, and whoever is too many is told so.
func TestLookupCrowd(t *testing.T) {
	f := newFixture(t, Options{}, testenv.InProcess)
	f.Write("providers/openai", nil).OK(t)
	keys(t, f.Env, 20)
	cold(t, f.Env)
	f.Storage.Forget()
	const crowd = 1000
	var wg sync.WaitGroup
	var served, refused atomic.Int32
	for n := range crowd {
		wg.Go(func() {
			secret, want := keyNumber(n%40), []string{fmt.Sprintf("connection org/acme/k%02d api_key living", n%40)}
			if n%40 >= 20 {
				want = nil
			}
			r := f.Write("lookup", map[string]any{"token": secret})
			if r.Status == http.StatusConflict {
				assert.Contains(t, r.Text, "try again")
				refused.Add(1)
				return
			}
			served.Add(1)
			var data map[string]any
			encoded, err := json.Marshal(r.OK(t))
			if assert.NoError(t, err) && assert.NoError(t, json.Unmarshal(encoded, &data)) {
				assert.Equal(t, want, placesOf(t, data))
			}
		})
	}
	wg.Wait()
	assert.EqualValues(t, crowd, served.Load()+refused.Load())
	assert.GreaterOrEqual(t, served.Load(), int32(maxOpenLookups))
	reads := 0
	for _, a := range f.Storage.History() {
		if a.Op == "get" && a.Under("connection/") {
			reads++
		}
	}
	assert.Less(t, reads, 20*crowd/4, "they share passes")
	assert.Empty(t, f.engine().lookups.batch())
}
