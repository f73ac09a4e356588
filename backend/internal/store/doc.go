// Package store owns the persisted truth: which entries exist, under which keys, how they are encoded and how they may
// change.
//
//	config                        the mount's settings
//	provider/<name>               a definition as the operator configured it, with its client secret
//	connection/org/<org>/<name>   one connection, metadata and grant in one entry: one write is one truth
//	connection/user/<user>/<name>
//	connection/org/<org>/user/<user>/<name>
//	flow/<hash of state>          one attempt to connect
//	code/<hash of app and code>   which flow brought an authorization code first
//	wal/<hash of key>             an intent: this grant is being spent
//	import/<hash of key>/<digest> a grant that was obtained elsewhere, while it is tried
//	history/<hash of key>         the last records of the connections of one name
//	notice/<first>-<writer>       the log of notices, in chunks
//	job/<id>, job/<id>/<n>        the end of many connections, and its targets in chunks
//	use/<shard>                   when connections were read last, and by whom; use/began: since when that is noted
//	webhook/<name>                where notices are sent, with the secret that signs them
//	webhook-cursor/<name>         how far it has come in the log, and how its receiver fares
//	leavers                       the entities that the daily look missed, of those that own connections
//	heartbeat                     when a node that may write was last at work here
//
// Every entry carries the version of its encoding. A version newer than the code is refused and never rewritten, so
// that a downgrade cannot lose what it does not know. Entries are read into fresh values each time; nothing here is
// cached, and what a caller changes reaches storage only through a Put.
package store
