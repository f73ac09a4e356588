// Package backend owns the mount: it is the only package that knows Vault's framework, and it says what each path does.
//
// # Paths
//
// O stands for nothing (the mount's default_org), org/<org>, user/<user> or self (the caller's entity).
//
//	config                    path_config.go            settings of the mount
//	catalog/[:definition]     path_catalog.go           what can be connected
//	providers/[:provider]     path_providers.go         definitions as the operator configured them
//	connections/O/            path_connections_list.go  names, at every level
//	connections/O/:name       path_connections.go       masked metadata; keys and imports (connection_write.go)
//	auth-code-url/O/:name     path_auth_code_url.go     start a flow
//	callback/:provider        path_callback.go          where the browser comes back, unauthenticated
//	exchange                  path_exchange.go          finish a flow
//	creds/O/:name             path_creds.go             the credential
//	refresh/O/:name           path_refresh.go           replace the token now
//	status                    path_status.go            counts and health
//	anything else             path_advice.go            what may have been meant
//
// # Where what rests
//
// Storage is described in package store. In memory there are: what of config and providers was read (cache.go), a
// summary of each connection (directory.go), the open flows (flows.go), and with the coordinator (package refresh) the
// connections read last, the flights and what storage refused.
//
// What memory answers is what storage holds, since nothing changes storage unseen: one node writes at a time, and its
// writes replace what it remembers; what another node writes arrives here as an invalidation, and is read again; and a node
// that begins to write, as one whose storage was restored, has its mounts made anew, with nothing in memory.
//
// # Locks
//
// In this order, and none of them is held while a provider is called:
//
//  1. configWrites, over the read and write of config or of one provider
//  2. a flow's lock (flowIndex.lock)
//  3. a connection's lock (inside the coordinator)
//  4. a mirror's filling (directory.go, flows.go), over reads of storage
//  5. the mutexes of caches and mirrors: leaves, held for a map access
//
// # What must hold
//
// The rules of refreshing stand in package refresh. Those of this package:
//
//   - A handler validates everything before it changes anything: bad input leaves no trace.
//   - Whatever spends a code or a grant, or deletes, runs on the coordinator's context, not on the caller's.
//   - Who the caller is comes from the Vault token (caller.go), never from a parameter.
//   - Errors become Vault's in one place (errors.go). Nothing that a provider wrote is in them.
//
// Start reading at backend.go, then path_creds.go, then package refresh.
package backend
