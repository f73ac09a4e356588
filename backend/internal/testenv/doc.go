// Package testenv owns the surroundings in which tests run the engine: a mount in process or behind a real gRPC pipe,
// storage that fails on demand, and a Vault that knows entities and replication states.
package testenv
