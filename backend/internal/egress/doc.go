// Package egress owns every connection that leaves the engine: it is the only maker of HTTP clients, and of
// connections for other protocols, and it decides which hosts they may reach.
package egress
