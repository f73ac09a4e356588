// Package acceptance owns the tests that run the engine's own binary in a real Vault, against real authorization
// servers. It has no other code.
package acceptance
