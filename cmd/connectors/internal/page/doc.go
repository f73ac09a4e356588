// Package page owns "my accounts": pages on 127.0.0.1 on which a person, in the one browser that was paired with the
// terminal, sees and changes what they connected. It shows no credential and runs no script.
package page
