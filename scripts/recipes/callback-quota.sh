#!/bin/sh
# Limits how often one address may call what anybody on the network can: a mount's callback, and the page of links. Vault
# matches the path of a quota exactly unless it ends in *: one on connectors/callback would limit nothing.
#
#   callback-quota.sh [MOUNT]     RATE requests per INTERVAL; VAULT_ADDR and VAULT_TOKEN as usual
set -eu
mount=${1:-connectors}
vault write "sys/quotas/rate-limit/$mount-callback" \
	path="$mount/callback/*" rate="${RATE:-20}" interval="${INTERVAL:-1s}"
exec vault write "sys/quotas/rate-limit/$mount-connect" \
	path="$mount/connect" rate="${RATE:-20}" interval="${INTERVAL:-1s}"
