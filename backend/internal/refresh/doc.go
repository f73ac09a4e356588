// Package refresh owns the spending of grants: it decides when a token is replaced, makes every call to a token endpoint
// happen at most once at a time, and never lets go of what a provider answered.
//
// What must hold, and where:
//
//   - At most one flight for a connection, on the backend's own context (flights.go). A caller may hang up at any time;
//     the flight goes on and its result is saved.
//   - Before a token that may rotate is spent, an intent is stored (coordinator.go, fly). A node that may no longer write
//     cannot store it, so it cannot spend. An intent found later tells that an answer may have been lost.
//   - After the provider answered, the answer is saved or kept in memory and saved later (save.go). Reads are served from
//     what is kept, and say so.
//   - A reader of a living token takes no lock and waits for nobody: one storage read, and a look into a map.
//
// Lock order: the lock of one connection, then Coordinator.mu. Neither is held while a provider is called; only the
// connection's lock is held while storage is.
package refresh
