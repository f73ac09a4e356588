// Package providertest owns the test double of a provider: an OAuth 2.0 and OpenID Connect server on loopback that
// keeps real state, records every call and misbehaves on request.
package providertest
