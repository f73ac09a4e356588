#!/bin/sh
# Runs each fuzz test of the module for so many inputs, or a time such as 10s: go takes only one test of one package at
# once. By time, go itself sometimes reports the end of the time as a failure.
set -eu

cd "$(dirname -- "$0")/.."
grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
	sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file" | while read -r test; do
		echo "fuzzing $(dirname "$file") $test for ${1:-10s}"
		go test -run '^$' -fuzz "^$test\$" -fuzztime "${1:-10s}" "$(dirname "$file")" </dev/null || exit 1
	done || exit 1
done
