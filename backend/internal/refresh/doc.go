// Package refresh owns the renewal of credentials: it decides when one is renewed, spends grants for it, and judges
// what came of that.
//
//	refresher.go  what callers ask: the credential, or a renewal now
//	verdict.go    what a reader found, judged: serve it, renew it, or say why not
//	renew.go      one renewal, from the first look to the last write; read this first
//	due.go        the background: what falls due, and what a crash cut off
//	schedule.go   when: margins, due times, backoff, ttl; pure
//	errors.go     why a credential cannot be given, in terms of what helps
//
// What must hold:
//
//   - There is at most one renewal of a connection at a time, on the engine's own context. A caller may hang up at any
//     time; the renewal goes on and what it brings is saved. Whoever waited for a renewal of another generation asks
//     again for that of the present one.
//   - Before a grant that may rotate is spent, an intent is stored. A node that may no longer write cannot store it,
//     so it cannot spend. An intent that a process finds at its start tells that an answer may have been lost.
//   - What the provider answered is saved, or held in memory and saved later; the intent ends after that.
//   - A reader of a living token waits for nobody, unless it would die before the reader comes again.
//   - What a ttl promises is there then: the background was due before, or the read waits for it.
//   - What a renewal brings is judged as what a reader found: it may be dead, or disabled meanwhile.
//
// If the plugin is killed between two lines of renew: before the intent, nothing was sent and nothing is known of it.
// Between intent and answer, the intent tells the next process, which asks again at once, since many providers take a
// spent token for a short while. Between answer and save likewise, and the answer is lost. Between save and the end of
// the intent, the next process finds a newer generation than the intent's, and removes it.
//
// Calls go one way: paths ask refresh, refresh asks tasks, gate and connections.
// No lock is held while one of them waits.
package refresh
