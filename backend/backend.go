package backend

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/connections"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/gate"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/refresh"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/store"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/backend/internal/tasks"
	"github.com/vault-connectors/vault-plugin-secrets-connectors/providers"
)

// Version is the engine's semantic version with its leading v. The build sets it.
var Version = "v0.0.0-dev"

// backend is one mount of the engine.
type backend struct {
	*framework.Backend

	catalog *providers.Registry // immutable
	store   store.Store         // the mount's storage, for work that no single request owns
	now     func() time.Time
	process *Process
	fenced  bool // Options.Paused

	resolver *net.Resolver // nil: the system's

	recovered    atomic.Bool   // what a crash cut off was tried again
	beating      atomic.Bool   // a heartbeat's work is under way
	tidied       atomic.Int64  // when histories were tidied last, in Unix seconds
	lateTrials   atomic.Int64  // how often to look for one that storage refused and may take late
	finishing    atomic.Bool   // imports are being finished
	worked       sync.Map      // by provider: the client secret that it has taken, to be written down
	endedImports sync.Map      // why, by key of a connection, its import under way is to bring nothing
	doubts       sync.Map      // by provider, "" for config: notices of a write that failed and may have been made
	trials       atomic.Int64  // changes when there may be imports to finish, or to forget; 0: there are none
	uncached     atomic.Bool   // Vault was told to cache nothing
	writable     atomic.Bool   // whether this node may write, by Vault's last answer
	paused       atomic.Bool   // all refreshing is paused, or nobody knows whether it is
	following    sync.Mutex    // held while it is noted what config says
	followed     atomic.Uint64 // how often that was written here

	configWrites  sync.Mutex // held over the read and the write of config and of one provider
	configs       cache[store.Config]
	providers     cache[configured]      // holds egress settings too: dropped with configs
	providerNames cache[map[string]bool] // all that are configured, under one name
	decoded       sync.Map               // by provider: its run-time definition, see define

	connections *connections.Repository
	gate        *gate.Gate
	tasks       *tasks.Runner
	refresher   *refresh.Refresher
	directory   *directory
	flows       *flowIndex
	codes       *codeIndex
	checks      checks
	identities  identities
	lifetimes   identities
	saving      saving
	metrics     *metrics
	leavers     leavers
	guard       *restoreGuard
	debugging   debugging
	jobs        *jobs
	devices     *devices
	lookups     *lookups
	hashing     *hashing
	uses        *uses
	notices     *noticeLog
	webhooks    *webhooks
	events      pluginEvents

	connectionTasks []connectionTask // what may fall due for a connection
}

// Options changes what a backend works with. The zero value is what production uses.
type Options struct {
	Process *Process            // shared by all mounts of one process; nil: one of its own
	Catalog *providers.Registry // nil: the built-in one
	Now     func() time.Time    // nil: time.Now
	// Resolver answers for DNS when providers are called; nil: the system's.
	Resolver *net.Resolver
	Paused   bool // refresh nothing, whatever config says: the fence for restored snapshots
}

// Factory makes a mount of the engine with the built-in catalogue.
func Factory(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
	return New(Options{})(ctx, conf)
}

// New gives the factory that makes mounts with these options. The factory touches no storage and starts nothing: Vault
// also calls it to ask for metadata, and before storage is writable.
func New(o Options) logical.Factory {
	if o.Process == nil {
		o.Process = &Process{}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return func(ctx context.Context, conf *logical.BackendConfig) (logical.Backend, error) {
		catalog := o.Catalog
		if catalog == nil {
			var err error
			if catalog, err = providers.Builtin(); err != nil {
				return nil, err
			}
		}
		b := &backend{
			catalog: catalog, store: store.New(conf.StorageView), now: o.Now, process: o.Process, fenced: o.Paused,
			resolver: o.Resolver,
		}
		b.metrics = newMetrics(b)
		b.Backend = &framework.Backend{
			Help:           backendHelp,
			BackendType:    logical.TypeLogical,
			RunningVersion: Version,
			PathsSpecial: &logical.Paths{
				Unauthenticated: []string{"callback/+", "connect"},
				SealWrapStorage: store.SealWrapped(),
			},
			InitializeFunc: b.initialize,
			PeriodicFunc:   b.periodic,
			Invalidate:     b.invalidate,
			Clean:          b.clean,
			// The hottest first: patterns are tried in order.
			Paths: framework.PathAppend(
				b.pathCreds(),
				b.pathRefresh(),
				b.pathCheck(),
				b.pathConnections(),
				b.pathConnectionsShared(),
				b.pathConnectionsList(),
				b.pathShares(),
				b.pathHistory(),
				b.pathTransfer(),
				b.pathAccept(),
				b.pathAuthCodeURL(),
				b.pathExchange(),
				b.pathDeviceCode(),
				b.pathCallback(),
				b.pathConnectLink(),
				b.pathConnect(),
				b.pathProviders(),
				b.pathClientSecret(),
				b.pathReach(),
				b.pathCatalog(),
				b.pathConfig(),
				b.pathInventory(),
				b.pathNotices(),
				b.pathRevoke(),
				b.pathLookup(),
				b.pathWebhooks(),
				b.pathStatus(),
				b.pathMetrics(),
			),
		}
		if err := b.Setup(ctx, conf); err != nil {
			return nil, err
		}
		b.build()
		return b, nil
	}
}

// build joins the rooms of the house. Calls go from the later ones to the earlier.
func (b *backend) build() {
	b.paused.Store(true) // until config was read
	b.saving.b, b.leavers.b, b.guard = b, b, newRestoreGuard(b)
	b.tasks = tasks.New(tasks.Options{Now: b.now, Logger: b.Logger(), Room: b.room})
	b.directory, b.flows, b.codes = newDirectory(b), newFlowIndex(b), newCodeIndex(b)
	b.jobs, b.devices, b.uses = newJobs(b), newDevices(b), newUses(b)
	b.lookups, b.hashing, b.notices = newLookups(b), newHashing(b), newNoticeLog(b)
	b.webhooks = newWebhooks(b, b.notices)
	b.events.b = b
	b.notices.follow(b.webhooks.wake)
	b.notices.follow(b.events.wake)
	b.gate = gate.New(b.now, b.directory.recovered)
	b.connections = connections.New(connections.Options{
		Store: b.store, Logger: b.Logger(), Now: b.now, Uncached: b.uncached.Load, Changed: b.changed,
		Unsettled: b.saving.begin, Hasher: b.hashing.current.Load,
	})
	b.refresher = refresh.New(refresh.Options{
		Connections: b.connections, Gate: b.gate, Tasks: b.tasks, Source: b,
		Writable: b.mayWrite, Now: b.now, Logger: b.Logger(),
		Sooner: func(k store.Key, at time.Time) { b.directory.sooner(k, at) },
	})
	b.connectionTasks = []connectionTask{
		{b.refresher.Due, b.refresher.RunDue},
		{b.deletionDue, b.runDeletion},
		{b.moveDue, b.runMove},
		{b.endDue, b.runEnd},
		{b.erasureDue, b.runErasure},
		{b.checkDue, b.runDailyCheck},
		{b.limitDue, b.runLimit},
		{b.rotationNoticeDue, b.runRotationNotice},
	}
}

const backendHelp = `
The connectors engine keeps the credentials with which applications call other
companies' services. It connects accounts by OAuth 2.0 or holds keys, keeps every
token fresh, and hands out access tokens and keys to whom policy allows. Refresh
tokens and client secrets go to their provider and to nobody else.

  catalog/          what can be connected
  providers/        services as the operator registered them
  auth-code-url/    start to connect an account; exchange finishes it
  device-code/      the same where the person has a browser elsewhere
  connect-link/     the same by a link, for a person without a Vault token
  connections/      masked metadata; write keys and import tokens here
  creds/            the credential, fresh
  check/            ask the service whether it works
  refresh/          replace a token now
  transfer/         offer a connection to another owner, or rename it
  accept/           take what is offered
  inventory         what there is, across owners
  lookup            whose a found token or key is
  notices           what happened, in order
  revoke            end many connections at once
  webhooks/         whom notices are sent to
  status            what is due, fails or needs somebody
  metrics           the same for Prometheus

A connection belongs to the default organization (creds/slack), to another
(creds/org/acme/slack), to a user (creds/user/u1/slack) or to the caller
(creds/self/slack).
`
