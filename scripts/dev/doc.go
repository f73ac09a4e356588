// Command dev owns the way from a fresh clone to a credential read through the vault command: it starts Vault with the
// engine mounted and emulated services to connect, connects one account, and says what to try next.
package main
