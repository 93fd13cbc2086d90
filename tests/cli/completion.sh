#!/bin/sh
# The completions are well-formed for each shell that is here, and bash completes an option, a choice and
# a command.
#
# usage: TIDEWAIT=path/to/tidewait completion.sh
set -eu
: "${TIDEWAIT:?set it to the path of the program}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

fail() {
  echo "completion: $*"
  failed=1
}

for shell in bash zsh fish; do
  "$TIDEWAIT" completion $shell >"$work/$shell"
  [ -s "$work/$shell" ] || fail "nothing for $shell"
  if ! command -v $shell >/dev/null; then
    echo "completion: skipped the syntax for $shell, which is not installed"
    continue
  fi
  case $shell in
  fish) fish --no-execute "$work/$shell" ;;
  *) $shell -n "$work/$shell" ;;
  esac || fail "$shell does not accept the syntax"
done

# What bash offers for the last of the words.
complete_in_bash() {
  bash -c '
    source "$1"
    shift
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _tidewait
    echo "${COMPREPLY[*]}"' bash "$work/bash" "$@"
}

expect() {
  wanted=$1
  shift
  got=$(complete_in_bash "$@")
  [ "$got" = "$wanted" ] || fail "'$*' gives '$got' instead of '$wanted'"
}

if command -v bash >/dev/null; then
  expect --close tidewait load --cl
  expect --close tidewait serve --cl
  expect "client" tidewait load --close cl
  expect load tidewait lo
  expect "" tidewait load --no-such
else
  echo "completion: skipped completing in bash, which is not installed"
fi
exit "$failed"
