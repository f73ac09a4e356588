package testenv

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	goplugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/helper/testhelpers/schema"
	"github.com/hashicorp/vault/sdk/logical"
	sdkplugin "github.com/hashicorp/vault/sdk/plugin"
	"github.com/stretchr/testify/require"
)

// Mount is where the engine is mounted in tests.
const Mount = "connectors/"

// Env is one mount of the engine under test.
type Env struct {
	tb      testing.TB
	Backend logical.Backend
	Storage *Storage
	System  *System
	Logs    *Logs
	Events  *Events

	inProcess logical.Backend // nil behind gRPC
}

// Each runs test with the engine in process, and again with it behind a gRPC pipe, as Vault runs it.
func Each(t *testing.T, factory logical.Factory, test func(*testing.T, *Env)) {
	t.Helper()
	t.Run("in process", func(t *testing.T) { test(t, InProcess(t, factory, &Storage{})) })
	t.Run("over gRPC", func(t *testing.T) { test(t, OverGRPC(t, factory, &Storage{})) })
}

// InProcess mounts the engine in the test's own process. Answers are checked against their path's response schema.
func InProcess(tb testing.TB, factory logical.Factory, storage *Storage) *Env {
	tb.Helper()
	e := newEnv(tb, storage)
	b, err := factory(context.Background(), e.config())
	require.NoError(tb, err)
	e.Backend, e.inProcess = b, b
	e.start()
	return e
}

// OverGRPC mounts the engine behind a gRPC pipe: contexts end, errors flatten and data become JSON as in Vault.
func OverGRPC(tb testing.TB, factory logical.Factory, storage *Storage) *Env {
	tb.Helper()
	e := newEnv(tb, storage)
	client, _ := goplugin.TestPluginGRPCConn(tb, false, map[string]goplugin.Plugin{
		"backend": &sdkplugin.GRPCBackendPlugin{Factory: factory, Logger: e.config().Logger},
	})
	raw, err := client.Dispense("backend")
	require.NoError(tb, err)
	b := raw.(logical.Backend)
	require.NoError(tb, b.Setup(context.Background(), e.config()))
	e.Backend = b
	tb.Cleanup(func() { _ = client.Close() })
	e.start()
	return e
}

func newEnv(tb testing.TB, storage *Storage) *Env {
	return &Env{tb: tb, Storage: storage, System: &System{}, Logs: &Logs{}, Events: &Events{}}
}

func (e *Env) config() *logical.BackendConfig {
	return &logical.BackendConfig{
		Logger:      hclog.New(&hclog.LoggerOptions{Output: e.Logs, Level: hclog.Trace}),
		System:      e.System,
		StorageView: e.Storage,
		BackendUUID: "test",

		EventsSender: e.Events,
	}
}

func (e *Env) start() {
	require.NoError(e.tb, e.Backend.Initialize(context.Background(),
		&logical.InitializationRequest{Storage: e.Storage}))
	e.tb.Cleanup(e.Stop)
}

// Stop runs the mount's clean-up.
func (e *Env) Stop() { e.Backend.Cleanup(context.Background()) }

// Caller changes who a request comes from.
type Caller func(*logical.Request)

// Entity is a caller with an identity.
func Entity(id string) Caller {
	return func(r *logical.Request) {
		r.EntityID, r.DisplayName, r.ClientTokenAccessor = id, "userpass-"+id, "accessor-of-"+id
	}
}

// Root is a caller without an entity.
func Root(r *logical.Request) {
	r.EntityID, r.DisplayName, r.ClientTokenAccessor = "", "root", "accessor-of-root"
}

// Batch is a caller with neither an entity nor an accessor.
func Batch(r *logical.Request) {
	r.EntityID, r.DisplayName, r.ClientTokenAccessor = "", "batch", ""
}

// Nobody sends no token.
func Nobody(r *logical.Request) {
	r.EntityID, r.DisplayName, r.ClientTokenAccessor, r.Unauthenticated = "", "", "", true
}

// errInternal is all that core tells of an existence check that failed.
var errInternal = errors.New("internal error")

// Result is an answer as a client of Vault's would get it.
type Result struct {
	*logical.Response
	Err    error
	Status int
	Text   string // of errors
}

// Read, Write, List and Delete send one request as root unless a caller is given.
func (e *Env) Read(path string, data map[string]any, as ...Caller) Result {
	return e.send(context.Background(), logical.ReadOperation, path, data, as)
}

// Write sends an update, or a create if the existence check says so.
func (e *Env) Write(path string, data map[string]any, as ...Caller) Result {
	return e.send(context.Background(), logical.UpdateOperation, path, data, as)
}

// WriteCtx is Write with a caller who may hang up.
func (e *Env) WriteCtx(ctx context.Context, path string, data map[string]any, as ...Caller) Result {
	return e.send(ctx, logical.UpdateOperation, path, data, as)
}

// ReadCtx is Read with a caller who may hang up.
func (e *Env) ReadCtx(ctx context.Context, path string, data map[string]any, as ...Caller) Result {
	return e.send(ctx, logical.ReadOperation, path, data, as)
}

// List sends a list request.
func (e *Env) List(path string, as ...Caller) Result {
	return e.send(context.Background(), logical.ListOperation, path, nil, as)
}

// Page sends a list request that asks for a part of the list.
func (e *Env) Page(path string, data map[string]any, as ...Caller) Result {
	return e.send(context.Background(), logical.ListOperation, path, data, as)
}

// Delete sends a delete request.
func (e *Env) Delete(path string, data map[string]any, as ...Caller) Result {
	return e.send(context.Background(), logical.DeleteOperation, path, data, as)
}

// DeleteCtx is Delete with a caller who may hang up.
func (e *Env) DeleteCtx(ctx context.Context, path string, data map[string]any, as ...Caller) Result {
	return e.send(ctx, logical.DeleteOperation, path, data, as)
}

func (e *Env) send(ctx context.Context, op logical.Operation, path string, data map[string]any, as []Caller) Result {
	req := &logical.Request{
		ID: "test", Operation: op, Path: path, Data: data, Storage: e.Storage, MountPoint: Mount,
		Connection: &logical.Connection{},
	}
	Root(req)
	for _, who := range as {
		who(req)
	}
	if op == logical.UpdateOperation { // as core does, before it knows who asks
		check := *req
		check.Operation, check.EntityID = logical.CreateOperation, ""
		found, exists, err := e.Backend.HandleExistenceCheck(ctx, &check)
		if err != nil && !errors.Is(err, logical.ErrUnsupportedPath) {
			return result(req, nil, errInternal)
		}
		if found && !exists {
			req.Operation = logical.CreateOperation
		}
	}
	resp, err := e.Backend.HandleRequest(ctx, req)
	if t, ok := e.tb.(*testing.T); ok && err == nil && e.inProcess != nil && resp != nil && !resp.IsError() {
		e.validate(t, req, resp)
	}
	return result(req, resp, err)
}

// validate holds an answer against its path's response schema. A key's credential has fields that only its definition
// knows, so there unknown ones pass.
func (e *Env) validate(t *testing.T, req *logical.Request, resp *logical.Response) {
	t.Helper()
	router, ok := e.inProcess.(interface{ Route(string) *framework.Path })
	require.True(t, ok)
	strict := !strings.HasPrefix(req.Path, "creds/")
	schema.ValidateResponse(t, schema.GetResponseSchema(t, router.Route(req.Path), req.Operation), resp, strict)
}

func result(req *logical.Request, resp *logical.Response, err error) Result {
	r := Result{Response: resp, Err: err, Status: http.StatusOK}
	switch {
	case err != nil || resp.IsError():
		var status int
		status, err = logical.RespondErrorCommon(req, resp, err)
		logical.AdjustErrorStatusCode(&status, err) // as core does after it
		r.Status = status
		if err != nil {
			r.Text = err.Error()
		}
	case resp == nil && (req.Operation == logical.ReadOperation || req.Operation == logical.ListOperation):
		r.Status = http.StatusNotFound
	case resp == nil:
		r.Status = http.StatusNoContent
	}
	return r
}

// OK fails the test unless the request succeeded, and gives the answer's data.
func (r Result) OK(tb testing.TB) map[string]any {
	tb.Helper()
	require.Less(tb, r.Status, 300, "the request failed: %s", r.Text)
	if r.Response == nil {
		return nil
	}
	return r.Data
}

// Refused fails the test unless the request failed with this status and a text that holds all of these.
func (r Result) Refused(tb testing.TB, status int, texts ...string) {
	tb.Helper()
	require.Equal(tb, status, r.Status, "%s", r.Text)
	for _, text := range texts {
		require.Contains(tb, r.Text, text)
	}
}

// System is what the engine sees of Vault.
type System struct {
	logical.StaticSystemView

	mu       sync.Mutex
	entities map[string]*logical.Entity
	groups   map[string][]*logical.Group // by entity
	lookups  int                         // of entities
	asked    int                         // for groups
	fails    error                       // what looking an entity up gives, or its groups
	state    consts.ReplicationState
	tainted  func() bool
	edition  string
}

// SetEdition makes this Vault another than the community edition, such as ent.
func (s *System) SetEdition(edition string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edition = edition
}

// Taint has Tainted answer what told does, which may take its time.
func (s *System) Taint(told func() bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tainted = told
}

// Tainted implements [logical.SystemView].
func (s *System) Tainted() bool {
	s.mu.Lock()
	told := s.tainted
	s.mu.Unlock()
	return told != nil && told()
}

// AddEntity makes id a live entity.
func (s *System) AddEntity(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.entities == nil {
		s.entities = map[string]*logical.Entity{}
	}
	s.entities[id] = &logical.Entity{ID: id, Name: "entity-" + id}
}

// DisableEntity disables the entity id, or enables it again.
func (s *System) DisableEntity(id string, disabled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.entities[id] = &logical.Entity{ID: id, Name: "entity-" + id, Disabled: disabled}
}

// SetGroups says which groups an entity is in, by their ids. The name of one is its id in capitals.
func (s *System) SetGroups(entity string, ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups == nil {
		s.groups = map[string][]*logical.Group{}
	}
	s.groups[entity] = nil
	for _, id := range ids {
		s.groups[entity] = append(s.groups[entity], &logical.Group{ID: id, Name: strings.ToUpper(id)})
	}
}

// GroupLookups counts the calls of GroupsForEntity.
func (s *System) GroupLookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

// RemoveEntity deletes the entity id.
func (s *System) RemoveEntity(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.entities, id)
}

// FailEntities lets EntityInfo and GroupsForEntity fail; nil ends that.
func (s *System) FailEntities(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

// EntityLookups counts the calls of EntityInfo.
func (s *System) EntityLookups() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookups
}

// SetReplication makes this node what state says, such as a standby.
func (s *System) SetReplication(state consts.ReplicationState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state
}

// EntityInfo implements [logical.SystemView].
func (s *System) EntityInfo(id string) (*logical.Entity, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lookups++
	switch {
	case s.fails != nil:
		return nil, s.fails
	case s.entities[id] == nil:
		return nil, nil
	}
	return s.entities[id], nil
}

// GroupsForEntity implements [logical.SystemView].
func (s *System) GroupsForEntity(id string) ([]*logical.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return s.groups[id], s.fails
}

// ReplicationState implements [logical.SystemView].
func (s *System) ReplicationState() consts.ReplicationState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// PluginEnv implements [logical.SystemView]; help needs it.
func (s *System) PluginEnv(context.Context) (*logical.PluginEnvironment, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &logical.PluginEnvironment{VaultVersion: "1.21.0", VaultVersionMetadata: s.edition}, nil
}

// DefaultLeaseTTL implements [logical.SystemView].
func (s *System) DefaultLeaseTTL() time.Duration { return time.Hour }

// MaxLeaseTTL implements [logical.SystemView].
func (s *System) MaxLeaseTTL() time.Duration { return 24 * time.Hour }

// Events collects what the engine has Vault deliver.
type Events struct {
	mu      sync.Mutex
	all     []logical.MockEvent
	fails   error
	refused int
}

// SendEvent implements [logical.EventSender].
func (e *Events) SendEvent(_ context.Context, kind logical.EventType, event *logical.EventData) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.fails != nil {
		e.refused++
		return e.fails
	}
	e.all = append(e.all, logical.MockEvent{Type: kind, Event: event})
	return nil
}

// Fail has Vault take none; nil ends that.
func (e *Events) Fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.fails = err
}

// Refused counts those that it did not take.
func (e *Events) Refused() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.refused
}

// All gives those that it took.
func (e *Events) All() []logical.MockEvent {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]logical.MockEvent(nil), e.all...)
}

// Logs collects what the engine logs.
type Logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *Logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Contains reports whether a line was logged that holds s.
func (l *Logs) Contains(s string) bool { return strings.Contains(l.String(), s) }
