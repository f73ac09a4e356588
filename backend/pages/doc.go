// Package pages owns what a browser shows at the end of a consent: static HTML that repeats nothing a query or a
// provider said.
package pages
