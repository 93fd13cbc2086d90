#!/bin/sh
# Compares the options of every command, as --help prints them from the option table, with its man page
# and with the bash completion: each must be in all three, and in the page in the table's order.
#
# usage: TIDEWAIT=path/to/tidewait man.sh
set -eu
: "${TIDEWAIT:?set it to the path of the program}"
TIDEWAIT=$(realpath "$TIDEWAIT")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

missing() {
  echo "man: $*"
  failed=1
}

# "-c, --connections N" for each option of a command's table.
options_of_help() {
  "$TIDEWAIT" "$1" --help | awk '
    /^Options:$/ { inside = 1; next }
    inside && /^$/ { exit }
    inside && /^  (-., |    )--[a-z0-9-]+/ {
      sub(/^ +/, "")
      sub(/  .*/, "")
      print
    }'
}

# The same from the section OPTIONS of a page, where they stand as *-c*, *--connections* _N_.
options_of_page() {
  awk '
    /^# / { inside = $0 == "# OPTIONS"; next }
    inside && /^\*-/ {
      gsub(/[*_]/, "")
      print
    }' "$1"
}

# The words that the bash completion offers behind a command.
words_of_completion() {
  "$TIDEWAIT" completion bash |
    sed -n "s/^    $1) mapfile .*compgen -W \"\\([^\"]*\\)\".*/\\1/p" | tr ' ' '\n'
}

check_page() {
  command=$1
  page=man/tidewait-$command.1.scd
  options_of_page "$page" >"$work/page"
  while IFS= read -r option; do
    grep -qxF -e "$option" "$work/page" || missing "$page lacks '$option'"
  done <"$work/help"
  while IFS= read -r option; do
    grep -qxF -e "$option" "$work/help" || missing "$page has '$option', which 'tidewait $command' has not"
  done <"$work/page"
  if [ "$failed" -eq 0 ] && ! cmp -s "$work/help" "$work/page"; then
    missing "$page has the options in another order than 'tidewait $command --help'"
  fi
  grep -qF "*tidewait-$command*(1)" man/tidewait.1.scd || missing "man/tidewait.1.scd does not name tidewait-$command(1)"
}

check_completion() {
  command=$1
  words_of_completion "$command" >"$work/words"
  sed 's/^-., //; s/ .*//' "$work/help" >"$work/names"
  while IFS= read -r name; do
    grep -qxF -e "$name" "$work/words" || missing "the bash completion of $command lacks $name"
  done <"$work/names"
  while IFS= read -r word; do
    [ -z "$word" ] || grep -qxF -e "$word" "$work/names" ||
      missing "the bash completion of $command has $word, which is no option"
  done <"$work/words"
}

"$TIDEWAIT" --help | awk '
  /^Commands:$/ { inside = 1; next }
  inside && /^$/ { exit }
  inside { print $1 }' >"$work/commands"
[ -s "$work/commands" ] || missing "'tidewait --help' names no command"

count=0
while IFS= read -r command; do
  options_of_help "$command" >"$work/help"
  [ -s "$work/help" ] || missing "'tidewait $command --help' shows no option"
  # A command with no option of its own is told in tidewait(1).
  if [ -e "man/tidewait-$command.1.scd" ] || [ "$(wc -l <"$work/help")" -gt 1 ]; then
    if [ -e "man/tidewait-$command.1.scd" ]; then
      check_page "$command"
    else
      missing "there is no man/tidewait-$command.1.scd"
    fi
  fi
  grep -qE "^\\*$command\\*( |$)" man/tidewait.1.scd || missing "man/tidewait.1.scd does not tell of $command"
  check_completion "$command"
  count=$((count + $(wc -l <"$work/help")))
done <"$work/commands"

for page in man/tidewait-*.1.scd; do
  command=${page#man/tidewait-}
  grep -qxF -e "${command%.1.scd}" "$work/commands" || missing "$page is about no command"
done

[ "$failed" -eq 0 ] && echo "man: $count options of $(wc -l <"$work/commands") commands are in the pages and the completion"
exit "$failed"
