// Package backend owns the mount: it is the only package that knows Vault's framework,
// and it says what each path does.
//
// # Paths
//
// O stands for nothing (the mount's default_org), org/<org>, user/<user> or self (the caller's entity), or for a member
// of an organization: org/<org>/user/<user>, org/<org>/self.
//
//	config                    path_config.go            settings of the mount
//	catalog/[:definition]     path_catalog.go           what can be connected
//	providers/[:provider]     path_providers.go         definitions as the operator configured them; writes:
//	                                                    provider_write.go; where their secrets may go: ca_pem.go,
//	                                                    redirects.go; definitions of their own:
//	                                                    runtime_definitions.go
//	providers/:p/client-secret path_client_secret.go    the app's secret, apart from the rest
//	providers/:p/reach         path_reach.go            where the app itself was let in
//	connections/O/            path_connections_list.go  names, at every level; pages of all lists: lists.go
//	connections/O/:name       path_connections.go       masked metadata; writes (connection_write.go,
//	                                                    connection_apply.go, key_check.go), imports
//	                                                    (connection_import.go, import_*.go), sites.go,
//	                                                    deletion.go
//	auth-code-url/O/:name     path_auth_code_url.go     start a flow
//	callback/:provider        path_callback.go          where the browser comes back, unauthenticated
//	exchange                  path_exchange.go          finish a flow: claim it (flow_claim.go), spend
//	                                                    its code and connect (flow_connect.go)
//	device-code/O/:name       path_device_code.go       the same on another device, polled: devices.go
//	connect-link/O/:name      path_connect_link.go      a link for a person without a token
//	connect                   path_connect.go           where they use it, unauthenticated: what a use does
//	                                                    (connect_try.go), and the end of a key (flow_key.go)
//	creds/O/:name             path_creds.go             the credential; what goes along with it: companions.go
//	refresh/O/:name           path_refresh.go           replace the token now
//	check/O/:name             path_check.go             ask the service whether it works (checks.go); by
//	                                                    itself: daily_check.go
//	shares/O/:name            path_shares.go            with whom a private connection is shared (shared.go); what is
//	connections/shared/       path_connections_shared.go  shared with the caller (grantees.go)
//	transfer/O/:name          path_transfer.go          offer to another owner, or rename
//	accept/O/:name            path_accept.go            take what is offered; the move itself: transfer.go
//	history/O/:name           path_history.go           what changed, and by whom
//	inventory                 path_inventory.go         what there is, across owners (inventory.go)
//	lookup, lookup/:job       path_lookup.go            whose a found secret is: who waits for it (lookups.go), the
//	                                                    pass over all entries (lookup_pass.go), and the key of the
//	                                                    hashes (hashing.go)
//	notices                   path_notices.go           what happened, in order: where notices come from
//	                                                    (notice_sources.go), how they wait (notice_queue.go) and
//	                                                    are kept (notice_log.go), and what a start makes up for
//	                                                    (notice_start.go)
//	revoke, revoke/:job       path_revoke.go            the end of many: a plan and its run (jobs.go), each
//	                                                    connection's end (ending.go), and how its provider is
//	                                                    asked (revocation.go)
//	webhooks/[:name[/test]]   path_webhooks.go          whom notices are sent to: webhooks.go, webhook_delivery.go;
//	                                                    what of them: webhook_notices.go; to Vault: plugin_events.go
//	status                    path_status.go            counts and health; whose owners left: leavers.go; what is to be
//	                                                    rotated: rotation.go; whose scopes drifted: drift.go
//	metrics                   path_metrics.go           the same for Prometheus: metrics.go
//	(of creds)                use.go, use_shards.go     who read what, for metadata and the filter unused_for
//	anything else             path_advice.go            what may have been meant
//
// # Rooms
//
// Each concern has one, and calls go from the upper ones to the lower, never back. What is told upwards is told by a
// function that was handed in, and whoever is told neither waits nor calls back.
//
//	backend               what a request may do; joins the rooms (build in backend.go, background.go, lifecycle.go)
//	internal/refresh      when a credential is renewed, how a grant is spent for it, what came of that
//	internal/tasks        what falls due, and every goroutine
//	internal/gate         who may call a provider now
//	internal/connections  the state of each connection, in storage and in memory; the only writer of
//	                      connections and intents
//	internal/store        entries, keys and encodings
//	internal/webhook      one request to a receiver of notices: its signature, and what its answer means
//	internal/egress       the HTTP client, and what connects without HTTP
//	providers             what a service is, and how it is spoken to
//
// # Where what rests
//
// Storage is described in package store. In memory there are:
//
//	what of config and providers was read                    cache.go
//	a record of each connection: a summary, and what is due  directory.go, in order: ordered.go
//	with whom which connections are shared                   grantees.go
//	a summary of each flow                                   flows.go
//	until when each code is remembered                       codes.go
//	connections read last, and what storage refused          package connections
//	checks made lately                                       checks.go
//	when it was asked whose a credential is                  identify_again.go
//	notices that are yet to be stored                        notice_queue.go
//	how providers fare                                       package gate
//	how old storage was when this node began to write        restore_guard.go
//	what is under way                                        package tasks
//	a task for each job, and what it was told here           jobs.go
//	a task for each device flow, and what came of it         devices.go
//	look-ups that wait for an answer, and the key of hashes  lookups.go, hashing.go
//	who read what within the last hour                       use.go, use_shards.go
//	a task for each webhook, and how far it has come         webhooks.go
//
// What memory answers is what storage holds, since nothing changes storage unseen: one node writes at a time, and its
// writes replace what it remembers; what another node writes arrives here as an invalidation, and is read again; and a
// node that begins to write, as one whose storage was restored, has its mounts made anew, with nothing in memory.
// Where a write failed, storage is asked (package connections).
//
// # Locks
//
// In this order, and with none of them held anybody waits for the gate, for a task, for a provider or for Vault's
// system view. Every call to storage has a time-out of its own.
//
//  0. restoreGuard.turn, over the read and write of the heartbeat
//  1. configWrites, over the read and write of config or of one provider; jobs.writes, over those of one job; the lock
//     of a delivery, over those of its webhook
//  2. a flow's lock (flowIndex.lock)
//  3. a code's lock (codeIndex.bring)
//  4. a connection's lock (inside package connections), and two of them in the order of their keys
//  5. a mirror's filling (directory.go, flows.go, codes.go), over reads of storage
//  6. the mutexes of caches, mirrors, gate, tasks and slots: leaves, held for a few instructions
//
// # To add background work
//
// What falls due follows from a stored entry. For connections, write its pure due function and what to do, and enter
// both in connectionTasks (build in backend.go); a refresh, the end of a deletion and the erasure of a refused token
// are there. What concerns the mount is one task of its own: saving (background.go), leavers (leavers.go), lookups
// (lookups.go), uses (use_shards.go). For entries of another kind, keep a record of each with a [tasks.Place] embedded,
// as directory does, and Set it whenever the entry changes.
//
// # What must hold
//
// The rules of refreshing stand in package refresh. Those of this package:
//
//   - A handler validates everything before it changes anything: bad input leaves no trace.
//   - Nothing that was begun is carried on before restore_guard.go has judged how old storage is, nor while it may be a
//     restored snapshot, or behind the fence (standsStill).
//   - Whatever spends a code or a grant, or deletes, runs as a task, not on the caller's context.
//   - Every call to a provider has passed the gate, before anything is claimed or counted for it.
//   - Who the caller is comes from the Vault token (caller.go), never from a parameter.
//   - Label, tags and inputs hold no credential that can be told by its shape (misplaced.go).
//   - What anybody can make the engine keep is bounded: by fields (limits.go), by callers (flow_limits.go), by owners
//     (owner_limit.go), and by what a grant may bring (package providers).
//   - What debug mode tells of a call (debug.go) has no value of either side.
//   - Errors become Vault's in one place (errors.go). Nothing that a provider wrote is in them.
//
// Start reading at backend.go, then path_creds.go, then package refresh.
package backend
