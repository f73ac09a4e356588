// Package refresh owns the spending of grants: it decides when a token is replaced, makes every call to a token endpoint
// happen at most once at a time, and never lets go of what a provider answered.
//
// Where to look:
//
//	coordinator.go  what callers ask: the credential, a refresh now, a deletion, a recovery
//	fly.go          one refresh, from the first look to the last write
//	save.go         every write of a connection, and what storage refused
//	schedule.go     when: margins, due times, backoff, ttl; no state
//	index.go        what falls due next
//	worker.go       the background: bounded, fair between providers, asleep while nothing is due
//	circuit.go      providers that are down or asked to be left alone
//	cached.go       connections read last
//	flights.go      work that outlives its caller; the only place where goroutines start
//	locks.go        a lock for each connection
//	errors.go       why a credential cannot be given, in terms of what helps
//
// What must hold:
//
//   - At most one flight for a connection, on the backend's own context. A caller may hang up at any time; the flight
//     goes on and its result is saved.
//   - Before a token that may rotate is spent, an intent is stored. A node that may no longer write cannot store it, so
//     it cannot spend. An intent found later tells that an answer may have been lost; so it ends with the write that says
//     what came of it, and stands while that lives in memory only.
//   - After the provider answered, the answer is saved or held in memory and saved later. What is held is the changes
//     that made it: should storage turn out to hold something newer, they are made again of that. Reads are served from
//     what is held, and say so.
//   - A reader of a living token takes no lock that is held over storage or the network.
//   - An idle engine does nothing: the worker sleeps until the earliest due time.
//
// The tests stage these one by one on a clock of their own; TestModel lets all of them happen at random.
//
// Lock order: the lock of one connection; then the mutexes of coordinator and worker; then those of flights, index,
// circuits and cache, which are leaves. None is held while a provider is called; only the connection's lock is held while storage is.
package refresh
