// Package browser hands a person over to their browser and takes what comes back: it decides whether there is one
// here, starts it, and listens on loopback for the one flow that was begun (RFC 8252 section 7.3). What a person
// pastes in its place is read here too.
package browser
