package store

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/testenv"
)

func TestAbsentIsNothing(t *testing.T) {
	s := New(&logical.InmemStorage{})
	config, err := s.Config(t.Context())
	require.NoError(t, err)
	assert.Equal(t, DefaultConfig(), config)
	p, err := s.Provider(t.Context(), "acme")
	require.NoError(t, err)
	assert.Nil(t, p)
	c, err := s.Connection(t.Context(), slack)
	require.NoError(t, err)
	assert.Nil(t, c)
	f, err := s.Flow(t.Context(), "id")
	require.NoError(t, err)
	assert.Nil(t, f)
	for _, read := range []func() (*Intent, error){
		func() (*Intent, error) { return s.Intent(t.Context(), slack) },
		func() (*Intent, error) { return s.IntentByID(t.Context(), slack.hash()) },
	} {
		i, err := read()
		require.NoError(t, err)
		assert.Nil(t, i)
	}
	for _, list := range []func() ([]string, error){
		func() ([]string, error) { return s.Providers(t.Context()) },
		func() ([]string, error) { return s.Orgs(t.Context()) },
		func() ([]string, error) { return s.Users(t.Context(), "") },
		func() ([]string, error) { return s.Users(t.Context(), "acme") },
		func() ([]string, error) {
			names, members, err := s.Connections(t.Context(), slack.Owner)
			assert.False(t, members)
			return names, err
		},
		func() ([]string, error) { return s.Flows(t.Context()) },
		func() ([]string, error) { return s.Intents(t.Context()) },
	} {
		ids, err := list()
		require.NoError(t, err)
		assert.Empty(t, ids)
	}
	for _, del := range []error{
		s.DeleteProvider(t.Context(), "acme"), s.DeleteConnection(t.Context(), slack), s.DeleteFlow(t.Context(), "id"),
		s.DeleteIntent(t.Context(), slack),
	} {
		assert.NoError(t, del)
	}
}

// A setting that an older entry does not name has its default.
func TestConfigDefaultsUnderAnOlderEntry(t *testing.T) {
	c, err := New(holding(t, configKey, []byte(`{"version":1,"default_org":"acme"}`))).Config(t.Context())
	require.NoError(t, err)
	want := DefaultConfig()
	want.DefaultOrg = "acme"
	assert.Equal(t, want, c)
}

func TestSerials(t *testing.T) {
	t.Run("a connection is written with the serial it has", func(t *testing.T) {
		storage := &logical.InmemStorage{}
		s := New(storage)
		for _, serial := range []uint64{7, 7, 3} {
			c := &Connection{Provider: "acme", Serial: serial}
			require.NoError(t, s.PutConnection(t.Context(), slack, c))
			assert.Equal(t, serial, c.Serial)
			got, err := s.Connection(t.Context(), slack)
			require.NoError(t, err)
			assert.Equal(t, serial, got.Serial)
		}
		storage.Underlying().FailPut(true)
		c := &Connection{Provider: "acme", Serial: 8}
		require.Error(t, s.PutConnection(t.Context(), slack, c))
		assert.Equal(t, uint64(8), c.Serial)
	})
	t.Run("each write of a provider raises its serial", func(t *testing.T) {
		s := New(&logical.InmemStorage{})
		p := &Provider{Definition: "oauth2"}
		for want := range uint64(3) {
			require.NoError(t, s.PutProvider(t.Context(), "acme", p))
			got, err := s.Provider(t.Context(), "acme")
			require.NoError(t, err)
			assert.Equal(t, want+1, got.Serial)
		}
	})
}

func TestEachKey(t *testing.T) {
	storage := &testenv.Storage{}
	s := New(storage)
	paths := []string{"org/acme/a", "org/acme/b", "org/acme/user/U2/a", "org/other/a", "user/U1/a"}
	for _, path := range paths {
		k, err := ParseKey(path)
		require.NoError(t, err)
		require.NoError(t, s.PutConnection(t.Context(), k, &Connection{Provider: path}))
	}
	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{
		Key: "connection/user/U1/damaged", Value: []byte("{"),
	}))
	walk := func() (found []string, err error) {
		err = s.EachKey(t.Context(), func(k Key) { found = append(found, k.String()) })
		return found, err
	}
	t.Run("it names every connection once, owner by owner, and reads none", func(t *testing.T) {
		storage.Forget()
		found, err := walk()
		require.NoError(t, err)
		assert.Equal(t, append(paths, "user/U1/damaged"), found)
		for _, a := range storage.History() {
			assert.Equal(t, "list", a.Op)
		}
	})
	for list, named := range map[string][]string{
		"connection/org/": nil, "connection/org/acme/": nil, "connection/org/other/": paths[:3],
		"connection/org/acme/user/": paths[:2], "connection/org/acme/user/U2/": paths[:2],
		"connection/user/": paths[:4], "connection/user/U1/": paths[:4],
	} {
		t.Run("it ends at the list "+list+", which storage refuses", func(t *testing.T) {
			storage.Judge(func(a testenv.Access) error {
				if a.Key == list {
					return testenv.ErrStorage
				}
				return nil
			})
			defer storage.Judge(nil)
			found, err := walk()
			assert.Equal(t, testenv.ErrStorage, err, "as it is")
			assert.Equal(t, named, found)
		})
	}
}

func TestOwnersAndNames(t *testing.T) {
	s := New(&logical.InmemStorage{})
	paths := []string{"org/a/user/U/x", "org/a/x", "org/a/y", "org/b/x", "org/c/user/V/z", "user/U/x"}
	for i, path := range paths {
		k, err := ParseKey(path)
		require.NoError(t, err)
		require.NoError(t, s.PutConnection(t.Context(), k, &Connection{Label: fmt.Sprint(i)}))
	}
	list := func(names []string, err error) []string {
		require.NoError(t, err)
		return names
	}
	assert.Equal(t, []string{"a", "b", "c"}, list(s.Orgs(t.Context())), "one with members alone too")
	assert.Equal(t, []string{"U"}, list(s.Users(t.Context(), "")))
	assert.Equal(t, []string{"U"}, list(s.Users(t.Context(), "a")))
	assert.Empty(t, list(s.Users(t.Context(), "b")))
	for owner, want := range map[Owner]struct {
		names   []string
		members bool
	}{
		{Org: "a"}:            {[]string{"x", "y"}, true},
		{Org: "b"}:            {[]string{"x"}, false},
		{Org: "c"}:            {nil, true},
		{Org: "a", User: "U"}: {[]string{"x"}, false},
		{User: "a"}:           {nil, false}, // an organization and a user of one name share nothing
	} {
		names, members, err := s.Connections(t.Context(), owner)
		require.NoError(t, err)
		assert.ElementsMatch(t, want.names, names, owner)
		assert.Equal(t, want.members, members, owner)
	}
	var all []string
	require.NoError(t, s.EachKey(t.Context(), func(k Key) { all = append(all, k.String()) }))
	slices.Sort(all)
	assert.Equal(t, paths, all)
	for i, path := range paths {
		k, _ := ParseKey(path)
		c, err := s.Connection(t.Context(), k)
		require.NoError(t, err)
		assert.Equal(t, fmt.Sprint(i), c.Label)
	}
}

func TestIntents(t *testing.T) {
	storage := &logical.InmemStorage{}
	s := New(storage)
	require.NoError(t, s.PutIntent(t.Context(), slack, &Intent{Key: slack.String(), Generation: 1}))
	require.NoError(t, s.PutIntent(t.Context(), slack, &Intent{Key: slack.String(), Generation: 2}))
	ids, err := s.Intents(t.Context())
	require.NoError(t, err)
	require.Len(t, ids, 1, "at most one for a connection")
	listed, err := s.IntentByID(t.Context(), ids[0])
	require.NoError(t, err)
	assert.Equal(t, &Intent{Key: slack.String(), Generation: 2}, listed)
	named, err := s.Intent(t.Context(), slack)
	require.NoError(t, err)
	assert.Equal(t, listed, named)

	require.NoError(t, storage.Put(t.Context(), &logical.StorageEntry{Key: intentPrefix + "broken", Value: []byte("{")}))
	ids, err = s.Intents(t.Context())
	require.NoError(t, err)
	assert.Len(t, ids, 2, "one that cannot be read does not hide the others")
	_, err = s.IntentByID(t.Context(), "broken")
	assert.True(t, Damaged(err))

	require.NoError(t, s.DeleteIntent(t.Context(), slack))
	listed, err = s.IntentByID(t.Context(), slack.hash())
	require.NoError(t, err)
	assert.Nil(t, listed)
}

// hanging is storage that answers nothing. It gives up when the caller does.
type hanging struct{}

func (hanging) hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (h hanging) List(ctx context.Context, _ string) ([]string, error) { return nil, h.hang(ctx) }

func (h hanging) Get(ctx context.Context, _ string) (*logical.StorageEntry, error) {
	return nil, h.hang(ctx)
}

func (h hanging) Put(ctx context.Context, _ *logical.StorageEntry) error { return h.hang(ctx) }

func (h hanging) Delete(ctx context.Context, _ string) error { return h.hang(ctx) }

// Whoever calls may hold a lock that others wait for.
func TestStorageThatHangs(t *testing.T) {
	s := New(hanging{})
	acme := slack.Owner
	calls := map[string]struct {
		limit time.Duration
		call  func(context.Context) error
	}{
		"Config":         {callTime, func(ctx context.Context) error { _, err := s.Config(ctx); return err }},
		"PutConfig":      {callTime, func(ctx context.Context) error { return s.PutConfig(ctx, DefaultConfig()) }},
		"Provider":       {callTime, func(ctx context.Context) error { _, err := s.Provider(ctx, "acme"); return err }},
		"PutProvider":    {callTime, func(ctx context.Context) error { return s.PutProvider(ctx, "acme", &Provider{}) }},
		"DeleteProvider": {callTime, func(ctx context.Context) error { return s.DeleteProvider(ctx, "acme") }},
		"Providers":      {listTime, func(ctx context.Context) error { _, err := s.Providers(ctx); return err }},
		"Connection":     {callTime, func(ctx context.Context) error { _, err := s.Connection(ctx, slack); return err }},
		"PutConnection": {callTime, func(ctx context.Context) error {
			return s.PutConnection(ctx, slack, &Connection{})
		}},
		"DeleteConnection": {callTime, func(ctx context.Context) error { return s.DeleteConnection(ctx, slack) }},
		"Orgs":             {listTime, func(ctx context.Context) error { _, err := s.Orgs(ctx); return err }},
		"Users":            {listTime, func(ctx context.Context) error { _, err := s.Users(ctx, "acme"); return err }},
		"Connections":      {listTime, func(ctx context.Context) error { _, _, err := s.Connections(ctx, acme); return err }},
		"EachKey":          {listTime, func(ctx context.Context) error { return s.EachKey(ctx, func(Key) {}) }},
		"Flow":             {callTime, func(ctx context.Context) error { _, err := s.Flow(ctx, "id"); return err }},
		"PutFlow":          {callTime, func(ctx context.Context) error { return s.PutFlow(ctx, &Flow{ID: "id"}) }},
		"DeleteFlow":       {callTime, func(ctx context.Context) error { return s.DeleteFlow(ctx, "id") }},
		"Flows":            {listTime, func(ctx context.Context) error { _, err := s.Flows(ctx); return err }},
		"Code":             {callTime, func(ctx context.Context) error { _, err := s.Code(ctx, "id"); return err }},
		"PutCode":          {callTime, func(ctx context.Context) error { return s.PutCode(ctx, "id", &Code{}) }},
		"DeleteCode":       {callTime, func(ctx context.Context) error { return s.DeleteCode(ctx, "id") }},
		"Codes":            {listTime, func(ctx context.Context) error { _, err := s.Codes(ctx); return err }},
		"History":          {callTime, func(ctx context.Context) error { _, err := s.History(ctx, slack); return err }},
		"HistoryByID":      {callTime, func(ctx context.Context) error { _, err := s.HistoryByID(ctx, "id"); return err }},
		"AppendHistory":    {callTime, func(ctx context.Context) error { return s.AppendHistory(ctx, slack, Record{}) }},
		"TakeHistory":      {callTime, func(ctx context.Context) error { return s.TakeHistory(ctx, slack, slack, "id") }},
		"LeaveHistory":     {callTime, func(ctx context.Context) error { return s.LeaveHistory(ctx, slack, Record{}) }},
		"Bury":             {callTime, func(ctx context.Context) error { return s.Bury(ctx, slack, nil, Buried{}) }},
		"Lookup":           {callTime, func(ctx context.Context) error { _, err := s.Lookup(ctx, "id"); return err }},
		"PutLookup":        {callTime, func(ctx context.Context) error { return s.PutLookup(ctx, &Lookup{ID: "id"}) }},
		"DeleteLookup":     {callTime, func(ctx context.Context) error { return s.DeleteLookup(ctx, "id") }},
		"Lookups":          {listTime, func(ctx context.Context) error { _, err := s.Lookups(ctx); return err }},
		"Hasher":           {callTime, func(ctx context.Context) error { _, err := s.Hasher(ctx); return err }},
		"PutHasher":        {callTime, func(ctx context.Context) error { return s.PutHasher(ctx, NewHasher()) }},
		"Histories":        {listTime, func(ctx context.Context) error { _, err := s.Histories(ctx); return err }},
		"DeleteHistory":    {callTime, func(ctx context.Context) error { return s.DeleteHistory(ctx, "id") }},
		"Leavers":          {callTime, func(ctx context.Context) error { _, err := s.Leavers(ctx); return err }},
		"PutLeavers":       {callTime, func(ctx context.Context) error { return s.PutLeavers(ctx, &Leavers{}) }},
		"Heartbeat":        {callTime, func(ctx context.Context) error { _, err := s.Heartbeat(ctx); return err }},
		"PutHeartbeat":     {callTime, func(ctx context.Context) error { return s.PutHeartbeat(ctx, &Heartbeat{}) }},
		"Use":              {callTime, func(ctx context.Context) error { _, err := s.Use(ctx, 15); return err }},
		"PutUse": {callTime, func(ctx context.Context) error {
			return s.PutUse(ctx, 15, &UseShard{Connections: map[string]Use{"id": {}}})
		}},
		"Uses":         {listTime, func(ctx context.Context) error { _, err := s.Uses(ctx); return err }},
		"UseBegan":     {callTime, func(ctx context.Context) error { _, err := s.UseBegan(ctx); return err }},
		"PutUseBegan":  {callTime, func(ctx context.Context) error { return s.PutUseBegan(ctx, &UseBegan{}) }},
		"PutIntent":    {callTime, func(ctx context.Context) error { return s.PutIntent(ctx, slack, &Intent{}) }},
		"Intent":       {callTime, func(ctx context.Context) error { _, err := s.Intent(ctx, slack); return err }},
		"DeleteIntent": {callTime, func(ctx context.Context) error { return s.DeleteIntent(ctx, slack) }},
		"Trial": {callTime, func(ctx context.Context) error {
			_, err := s.Trial(ctx, slack, grantOf("", "r"))
			return err
		}},
		"PutTrial": {callTime, func(ctx context.Context) error {
			return s.PutTrial(ctx, slack, TrialOf(slack, grantOf("", "r")))
		}},
		"DeleteTrial": {callTime, func(ctx context.Context) error {
			return s.DeleteTrial(ctx, slack, TrialOf(slack, grantOf("", "r")))
		}},
		"DeleteTrials": {listTime, func(ctx context.Context) error { return s.DeleteTrials(ctx, slack) }},
		"CountTrials": {listTime, func(ctx context.Context) error {
			_, _, err := s.CountTrials(ctx, slack)
			return err
		}},
		"PutFreeze":    {callTime, func(ctx context.Context) error { return s.PutFreeze(ctx, "acme", &Provider{}) }},
		"Job":          {callTime, func(ctx context.Context) error { _, err := s.Job(ctx, "id"); return err }},
		"PutJob":       {callTime, func(ctx context.Context) error { return s.PutJob(ctx, &Job{ID: "id"}) }},
		"Chunk":        {callTime, func(ctx context.Context) error { _, err := s.Chunk(ctx, "id", 0); return err }},
		"PutChunk":     {callTime, func(ctx context.Context) error { return s.PutChunk(ctx, "id", 0, &Chunk{}) }},
		"DeleteJob":    {listTime, func(ctx context.Context) error { return s.DeleteJob(ctx, "id") }},
		"Jobs":         {listTime, func(ctx context.Context) error { _, _, err := s.Jobs(ctx); return err }},
		"NoticeChunks": {listTime, func(ctx context.Context) error { _, _, err := s.NoticeChunks(ctx); return err }},
		"NoticeChunk": {callTime, func(ctx context.Context) error {
			_, err := s.NoticeChunk(ctx, NoticeChunkName{})
			return err
		}},
		"PutNoticeChunk": {callTime, func(ctx context.Context) error {
			return s.PutNoticeChunk(ctx, NoticeChunkName{}, &NoticeChunk{})
		}},
		"DeleteNoticeChunk": {callTime, func(ctx context.Context) error {
			return s.DeleteNoticeChunk(ctx, NoticeChunkName{})
		}},
		"Webhook":       {callTime, func(ctx context.Context) error { _, err := s.Webhook(ctx, "siem"); return err }},
		"PutWebhook":    {callTime, func(ctx context.Context) error { return s.PutWebhook(ctx, "siem", &Webhook{}) }},
		"DeleteWebhook": {callTime, func(ctx context.Context) error { return s.DeleteWebhook(ctx, "siem") }},
		"Webhooks":      {listTime, func(ctx context.Context) error { _, err := s.Webhooks(ctx); return err }},
		"Cursor":        {callTime, func(ctx context.Context) error { _, err := s.Cursor(ctx, "siem"); return err }},
		"PutCursor":     {callTime, func(ctx context.Context) error { return s.PutCursor(ctx, "siem", &Cursor{}) }},
		"DeleteCursor":  {callTime, func(ctx context.Context) error { return s.DeleteCursor(ctx, "siem") }},
		"Cursors":       {listTime, func(ctx context.Context) error { _, err := s.Cursors(ctx); return err }},
		"NoteProof":     {callTime, func(ctx context.Context) error { return s.NoteProof(ctx, "acme", &Provider{}) }},
		"EachTrial":     {listTime, func(ctx context.Context) error { return s.EachTrial(ctx, func(*Trial, error) {}) }},
		"Intents":       {listTime, func(ctx context.Context) error { _, err := s.Intents(ctx); return err }},
		"IntentByID":    {callTime, func(ctx context.Context) error { _, err := s.IntentByID(ctx, "id"); return err }},
	}
	for m := range reflect.TypeFor[Store]().Methods() {
		assert.Contains(t, calls, m.Name, "a method that may hang for ever")
	}
	for name, c := range calls {
		t.Run(name+" gives up by itself", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// A caller without a deadline, whom a time-out that is missing would let wait.
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				start := time.Now()
				err := c.call(ctx)
				assert.Equal(t, context.DeadlineExceeded, err)
				assert.Equal(t, c.limit, time.Since(start))
			})
		})
		t.Run(name+" gives up when its caller does", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				assert.Error(t, c.call(ctx))
				assert.Equal(t, time.Second, time.Since(start))
			})
		})
	}
}

func TestIsReadOnly(t *testing.T) {
	assert.True(t, IsReadOnly(logical.ErrReadOnly))
	assert.True(t, IsReadOnly(fmt.Errorf("rpc error: %s", logical.ErrReadOnly)), "gRPC leaves the text alone")
	assert.True(t, IsReadOnly(fmt.Errorf("wrapped: %w", logical.ErrReadOnly)))
	assert.False(t, IsReadOnly(testenv.ErrStorage))
	assert.False(t, IsReadOnly(nil))
}
