// Package providers owns what a service is: the catalogue of definitions, and every call that OAuth and API keys make
// to one.
package providers
