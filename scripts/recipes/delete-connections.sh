#!/bin/sh
# Deletes every connection of a mount, which revokes its grant at the provider, as far as the provider can do that: what
# to run before 'vault secrets disable', which revokes nothing. Fails when some connection is left. What could not be
# revoked is told by a warning, and is to be revoked at the service.
#
#   delete-connections.sh [MOUNT]     VAULT_ADDR and VAULT_TOKEN as usual
set -eu
mount=${1:-connectors}
names() {
	vault list -format=json "$mount/connections/$1" | sed -n 's/^ *"\(.*\)",\{0,1\}$/\1/p'
}
below() {
	names "$1" | while read -r name; do
		case $name in
		*/) below "$1$name" ;;
		*) vault delete "$mount/connections/$1$name" </dev/null ;;
		esac
	done
}
below org/
below user/
left=$(vault read -field=connections "$mount/status")
unreadable=$(vault read -field=unreadable "$mount/status")
if [ "$left $unreadable" != "0 0" ]; then
	echo "$left connections are left, and $unreadable entries that cannot be read: see $mount/connections/" >&2
	exit 1
fi
