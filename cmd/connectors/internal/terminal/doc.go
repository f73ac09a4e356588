// Package terminal is what a person sees and types: tables, questions, and text of others that is made harmless
// first. It knows nothing of Vault.
package terminal
