// Package webhook owns one request to a receiver of notices: how it is signed, what its answer means, and how long is
// waited after it failed. It keeps to Standard Webhooks (standardwebhooks.com), so that receivers verify what comes by
// a library of theirs.
//
//	sign.go     secrets, and the headers of a request
//	post.go     the request, and what came of it
//	backoff.go  how long is waited after a failure
//
// It knows no log, no storage and no clock of its own; the HTTP client is handed in.
package webhook
