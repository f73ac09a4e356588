// Package gate owns the question who may call a provider now: every call to one passes here, whoever makes it.
//
//	gate.go     Enter and Leave: how many are inside, who waits, who goes next
//	health.go   what a provider's answers say about it: rests, circuits, probes
//
// There are places for a bounded number of calls in all and for each provider, some of them for people only. People go
// before readers, and readers before the background. A provider that asked for it, that fails for several accounts, or
// that refuses the app for several, is left alone for a while; then one call probes it, and others follow when that
// succeeds.
//
// The gate knows no connections, no storage and no clock of its own; it starts nothing. Its keys are texts, so that
// other targets than providers may have one.
package gate
