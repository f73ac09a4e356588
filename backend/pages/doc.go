// Package pages owns what a browser shows: at the end of a consent, and to who was sent a link. It is static HTML that
// repeats nothing a query or a provider said.
package pages
