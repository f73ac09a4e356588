// Package client is the Go client of a connectors mount: typed calls, an [oauth2.TokenSource] and an
// [http.RoundTripper] that show a connection's credential to its service.
//
//	vault, err := api.NewClient(nil) // VAULT_ADDR, VAULT_TOKEN and the rest
//	...
//	mount, err := client.FindMount(ctx, vault)
//	...
//	c := client.New(vault, mount)
//	http.Client{Transport: c.Transport("org/acme/slack")}
//
// Connections are named as in the mount's paths: org/acme/slack, user/u-17/slack, self/slack. What a service is, the
// mount's own catalogue says, so this package knows none and goes on working when the engine learns more. Where to
// start reading: [Client], then [Credential] and [Transport].
package client
