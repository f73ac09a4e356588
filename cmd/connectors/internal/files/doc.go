// Package files is what a file of a mount's providers and connections says, and what would have to change for the
// mount to be so. It calls nobody and knows no service: what fields there are, the mount tells.
//
// Where to start reading: [Parse] makes a [File] of text, [Spec.Plan] compares one [Entry] of it with what the mount
// answers and gives a [Change], [Write] makes the text of a file.
package files
