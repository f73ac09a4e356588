// Package connections owns the state of each connection, in storage and in memory: it is the only one that reads and
// writes connections and the intents to spend their grants.
//
//	repository.go  Get, Update, Keep, Delete, Invalidate
//	slot.go        what is in memory of one connection, and how storage's answers are judged by it
//	held.go        what storage refused: held in memory, served from there, saved by Flush
//	move.go        Move: from one key to another, in two entries of storage that no transaction joins
//	intent.go      Intend and Settle: a grant is being spent, and what came of it is known
//
// Storage has no compare-and-swap, and a write that fails may be made all the same, even later. So:
//
//   - Every write and deletion has a serial above every one that was ever tried for its connection. Whatever landed,
//     the highest serial is the newest.
//   - For a minute after a failed write its connection is read from storage each time. If an older state turns up
//     there, or none where one was made after a deletion that failed, the newest is written again, as it is: its
//     serial stays, or a copy that lands late might undo what came after it. What turns up of a connection that is
//     gone is deleted again. A serial that nobody here tried is another node's, and so is a deletion: that node leads,
//     and nothing is written over it.
//   - What [Repository.Keep] was given is held in memory until storage has it. Held is the credential half alone: laid
//     over the metadata that storage has by then, never under a newer credential.
//   - What [Repository.Update] failed to write is never served from memory, since its caller was told that it failed.
//     It is served if it turns out to be in storage.
//
// Lock order: the lock of a slot, held over storage, and where two are, in the order of their keys; then the mutex of
// the repository; then the mutex of a slot. The last two are held for a few instructions. A reader takes no slot's
// lock.
package connections
