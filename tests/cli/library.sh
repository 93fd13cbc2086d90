#!/bin/bash
# The library as others see it. What the headers declare, what lib/tidewait.map lists, what libtidewait.so
# exports and what the manual names must be the same; each header compiles alone, as strict C11 and as C++;
# and libtidewait.a has no data that anybody could write to.
#
# usage: LIBRARY=libtidewait.so ARCHIVE=libtidewait.a [SANITIZE=none] library.sh
set -euo pipefail
: "${LIBRARY:?set it to the path of the shared library}" "${ARCHIVE:?and of the static one}"
LIBRARY=$(realpath "$LIBRARY") ARCHIVE=$(realpath "$ARCHIVE")
cd "$(dirname "$0")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

wrong() {
  echo "library: $*"
  failed=1
}

# functions_of HEADER...: the names declared at the left margin, inline ones included.
functions_of() {
  sed -nE '/^(#|typedef|[^a-z])/!s/^[a-z].*[ *](tw_[a-z0-9_]+)\(.*/\1/p' "$@" | sort -u
}

# same A B WHAT: the lists in two files.
same() {
  local name
  while read -r name; do wrong "$name is only among $3"; done < <(comm -23 "$work/$1" "$work/$2")
  while read -r name; do wrong "$name is only among $4"; done < <(comm -13 "$work/$1" "$work/$2")
}

check_symbols() {
  local inline
  functions_of include/tidewait/*.h >"$work/declared"
  inline=$(sed -nE 's/^static inline .*[ *](tw_[a-z0-9_]+)\(.*/\1/p' include/tidewait/*.h)
  grep -vxF "$inline" "$work/declared" >"$work/functions"
  sed -nE 's/^    (tw_[a-z0-9_]+);$/\1/p' lib/tidewait.map | sort >"$work/listed"
  nm -D --defined-only "$LIBRARY" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort >"$work/exported"
  [ "$(wc -l <"$work/functions")" -gt 50 ] || wrong "few functions found in the headers"
  same functions listed "the headers' functions" "the lines of lib/tidewait.map"
  same functions exported "the headers' functions" "the library's symbols"
  ! nm -D --defined-only "$LIBRARY" | grep -E ' tw_' | grep -vE '@@TIDEWAIT_[0-9.]+$' ||
    wrong "symbols without a version"
}

# A function is named where man-db looks for it: under NAME of one page, and its header in the SYNOPSIS there.
check_pages() {
  local page header name count
  for page in man/tidewait-*.3.scd; do
    awk '/^# / { inside = $0 == "# NAME"; next } inside' "$page" | grep -oE '\btw_[a-z0-9_]+' | sort -u
  done | sort >"$work/named"
  uniq -d "$work/named" | while read -r name; do echo "library: $name is under NAME of two pages"; done >"$work/twice"
  if [ -s "$work/twice" ]; then
    cat "$work/twice"
    failed=1
  fi
  same declared named "the headers' functions" "the names of the manual"
  for header in include/tidewait/*.h; do
    header=${header##*/}
    page=$(grep -lxF "#include <tidewait/$header>" man/tidewait-*.3.scd | while read -r page; do
      awk '/^# / { inside = $0 == "# SYNOPSIS"; next } inside' "$page" |
        grep -qxF "#include <tidewait/$header>" && echo "$page"
    done || true)
    count=$(wc -w <<<"$page")
    [ "$count" -eq 1 ] || { wrong "$header is in the synopsis of $count pages"; continue; }
    functions_of "include/tidewait/$header" | while read -r name; do
      awk '/^# / { inside = $0 == "# SYNOPSIS"; next } inside' "$page" | grep -qE "[ *]$name\(" ||
        echo "library: $name is not in the synopsis of $page"
    done >"$work/synopsis"
    if [ -s "$work/synopsis" ]; then
      cat "$work/synopsis"
      failed=1
    fi
    name=${page##*/tidewait-}
    name=${name%.3.scd}
    [ "$name" = "${header%.h}" ] || grep -qE "'${header%.h}': '$name'" man/meson.build ||
      wrong "tidewait-${header%.h}(3) is not an alias of tidewait-$name(3) in man/meson.build"
  done
  for page in man/tidewait-*.3.scd; do
    for name in NAME SYNOPSIS DESCRIPTION 'RETURN VALUE' ERRORS THREADS 'SEE ALSO'; do
      grep -qxF "# $name" "$page" || wrong "$page has no section $name"
    done
  done
}

# Each header says who may call, and what C++ needs.
check_headers() {
  local header name
  for header in include/tidewait/*.h; do
    name=${header##*/}
    sed '/\*\//q' "$header" | tr '\n' ' ' | grep -qi 'thread.*fork()' ||
      wrong "$name says nothing of threads and fork()"
    echo "#include <tidewait/$name>" >"$work/alone.c"
    "${CC:-cc}" -std=c11 -Wall -Wextra -Werror -pedantic -Iinclude -fsyntax-only "$work/alone.c" ||
      wrong "$name does not compile alone as C11"
  done
  sed -n 's|.*/\(.*\.h\)$|#include <tidewait/\1>|p' < <(ls include/tidewait/*.h) >"$work/all.cpp"
  # The smallest object that links when the names are those of C.
  cat >>"$work/all.cpp" <<'CPP'
#include <cstdio>
int main()
{
    tw_endpoint endpoint;
    char text[TW_ENDPOINT_TEXT_MAX];
    if (tw_endpoint_parse(tw_view_of("[::1]:8080"), &endpoint, nullptr) != 0)
        return 1;
    return std::puts(tw_endpoint_format(&endpoint, text)) < 0 || tw_clock_ns() == TW_NEVER;
}
CPP
  if ! command -v "${CXX:-c++}" >/dev/null; then
    echo "library: there is no C++ compiler here; the headers were not tried with it"
  elif ! "${CXX:-c++}" -std=c++11 -Wall -Wextra -Werror -pedantic -Iinclude ${sanitized:+"$sanitized"} -o "$work/all" \
    "$work/all.cpp" "$LIBRARY" || [ "$(LD_LIBRARY_PATH=${LIBRARY%/*} "$work/all")" != '[::1]:8080' ]; then
    wrong "the headers do not go with C++"
  fi
}

# Constants with addresses in them are .data.rel.ro, which nobody can write to once the library is loaded.
check_state() {
  if [ -n "$sanitized" ]; then
    echo "library: sanitizers have data of their own; it was not looked for ours"
    return
  fi
  objdump -t "$ARCHIVE" >"$work/table"
  grep -qE ' \.text.* tw_listen$' "$work/table" || wrong "objdump does not show the archive's functions"
  awk 'NF > 3 && $(NF - 2) ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $(NF - 2) !~ /^\.data\.rel\.ro/ && $NF !~ /^\./ &&
    $(NF - 1) !~ /^0+$/ { print $NF, $(NF - 2) }' "$work/table" >"$work/state"
  while read -r name; do wrong "state of the whole process: $name"; done <"$work/state"
}

sanitized=
[ "${SANITIZE:-none}" = none ] || sanitized=-fsanitize=$SANITIZE
check_symbols
check_pages
check_headers
check_state
[ "$failed" -eq 0 ] && echo "library: $(wc -l <"$work/functions") functions are declared, exported and in the manual"
exit "$failed"
