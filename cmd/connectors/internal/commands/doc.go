// Package commands is the command line: one file for each command, and what they share.
//
// Data goes to stdout and all else to stderr. A command answers one table, or with -o json one document with the
// field names of the mount's paths. Nothing is asked without a terminal. Where to start reading: root.go, exit.go,
// then any command.
package commands
