// Package stack owns the real things that the acceptance tests and make dev run: Vault with the engine in it,
// authorization servers, and a robot that clicks through their pages. All of it listens on loopback only and dies with
// the process that started it.
package stack
