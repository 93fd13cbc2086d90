# Command lines that are refused. `load refusal` brings it; $bad is empty as long as all was right.
# shellcheck shell=bash disable=SC2034 # $bad is for the tests

# refusal STATUS QUOTE ARGUMENT...: tidewait ends with this status and one line on standard error, with QUOTE
# in it and without control characters; nothing on standard output; and the file $ran, which a command that
# was run would leave, is not there.
refusal() {
  local wanted=$1 quote=$2 out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err status=0
  shift 2
  timeout 20 "$TIDEWAIT" "$@" >"$out" 2>"$err" </dev/null || status=$?
  if [ $status -ne "$wanted" ] || [ -s "$out" ] || [ "$(wc -l <"$err")" -ne 1 ] || ! grep -qF -- "$quote" "$err" ||
    [ -e "${ran-}" ] || LC_ALL=C grep -qP '[\x00-\x1f\x7f]|\xc2[\x80-\x9f]' "$err"; then
    printf 'tidewait'
    printf " '%s'" "$@"
    printf '\n  exit status %s, wanted %s; one line with: %s\n  stdout: %s\n  stderr: %s\n' $status "$wanted" \
      "$quote" "$(cat "$out")" "$(cat -v "$err")"
    bad=1
  fi
}

# table: reads lines "quote | words" and calls row QUOTE WORD... for each.
table() {
  local quote words
  bad=
  while IFS='|' read -r quote words; do
    [ -n "$words" ] || continue
    quote=${quote%"${quote##*[! ]}"}
    # shellcheck disable=SC2086 # words are words
    set -f && set -- $words && set +f
    row "$quote" "$@"
  done
  [ -z "$bad" ]
}
