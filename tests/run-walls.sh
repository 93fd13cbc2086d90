#!/bin/sh
# The walls of the house: which folder may #include what, and which words it never uses. Prints each
# breach as file:line: text. A folder that holds C but has no row here is a breach as well.
#
# usage: run-walls.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

# folder | public headers (tidewait/...; * all, -x all but x) | folders | system headers | no word of
#
# Pure code includes nothing that could reach the kernel. run.h holds the kernel's counters as plain
# data, so record/ sees that one header of the facts.
base='error.h parse.h address.h clock.h ports.h socket_row.h text.h'
pure='assert.h errno.h inttypes.h limits.h math.h stdalign.h stdarg.h stdbool.h stddef.h stdint.h stdlib.h stdatomic.h string.h'
table="
include/tidewait|*|include/tidewait|*|speak exit
lib/base|$base|lib/base|*|speak exit
lib/ledger|clock.h error.h ledger.h|lib/ledger|$pure|speak exit
lib/lease|$base limits.h lease.h|lib/lease lib/base|*|speak exit
lib/rules|socket_row.h ports.h address.h rules.h|lib/rules|$pure netinet/tcp.h|speak exit
lib/facts|$base blind.h sockets.h unix_sockets.h holders.h process.h namespaces.h trial.h kernel_sockets.h systemd.h counters.h interface.h limits.h|lib/facts lib/base|*|speak exit
lib/verdict|-ledger.h -socket.h -tuple.h -counters.h|lib/verdict lib/base|*|speak exit
lib/socket|$base ledger.h socket.h tuple.h|lib/socket lib/ledger lib/base|*|speak exit
plan|limits.h error.h parse.h ports.h|plan|$pure stdio.h|speak exit
tune|*|tune plan|*|speak exit
fan|*|fan|*|speak
load|*|load record plan|*|
lab|*|lab|*|speak
record|$base counters.h|record|-sys/socket.h|speak
report|-clock.h -socket.h -sockets.h|report record fan lab plan tune|-sys/socket.h -netinet/tcp.h -poll.h -sys/epoll.h|
shim||shim|*|speak exit
steer|error.h process.h|steer shim|*|speak
cmd|*|cmd fan lab load plan record report shim steer tune|*|
"

sources=$(find include lib plan tune fan load record report shim steer lab cmd -name '*.[ch]' 2>/dev/null | sort)

# shellcheck disable=SC2086 # a list of files without blanks
printf '%s' "$table" | awk -v sources="$sources" '
function breach(text) {
  printf "%s:%d: %s\n", file, row, text
  breaches++
}

# Whether name is in a list of names, of "*", or of "-name" (all but these).
function listed(name, list,    i, n, items, negative) {
  n = split(list, items, " ")
  for (i = 1; i <= n; i++) {
    if (items[i] == "*" || items[i] == name) return 1
    if (items[i] == "-" name) return 0
    if (items[i] ~ /^-/) negative = 1
  }
  return negative
}

function tidy(path) {
  while (sub(/\/\.\//, "/", path) || sub(/[^\/]+\/\.\.\//, "", path)) ;
  return path
}

function folder_of(path) {
  sub(/\/[^\/]*$/, "", path)
  return path
}

# The file that an include means: beside the file, in an allowed folder, or anywhere else.
function resolve(name,    i, n, items, path) {
  if ((path = tidy(folder "/" name)) in known) return path
  n = split(folders[home], items, " ")
  for (i = 1; i <= n; i++)
    if ((path = tidy(items[i] "/" name)) in known) return path
  for (i = 1; i <= count; i++) {
    path = list_of_files[i]
    if (path == name || substr(path, length(path) - length(name)) == "/" name) return path
  }
  return ""
}

function check_include(text,    quoted, name, path) {
  sub(/^[ \t]*#[ \t]*include[ \t]*/, "", text)
  quoted = text ~ /^"/
  if (!quoted && text !~ /^</) {
    breach("#include of a macro: nobody can see what it means")
    return
  }
  name = substr(text, 2)
  sub(/[">].*/, "", name)
  if (name ~ /^tidewait\//) {
    if (!("include/" name in known)) breach("there is no public header " name)
    else if (!listed(substr(name, 10), public[home])) breach(home " must not include " name)
  } else if (quoted) {
    path = resolve(name)
    if (path == "") breach("\"" name "\" is nowhere in the tree")
    else if (!listed(home_of(folder_of(path)), folders[home]))
      breach(home " must not include " path)
  } else if (!listed(name, systems[home])) {
    breach(home " must not include <" name ">")
  }
}

# Folders inherit the row of the folder above them.
function home_of(path) {
  while (!(path in public) && path ~ /\//) path = folder_of(path)
  return path
}

# Without comments, string and character constants; `comment` carries over lines.
function code_of(text,    out, at) {
  out = ""
  while (text != "") {
    if (comment) {
      if (!(at = index(text, "*/"))) return out
      text = substr(text, at + 2)
      comment = 0
    } else if (match(text, /^("([^"\\]|\\.)*"|\047([^\047\\]|\\.)*\047)/)) {
      out = out "0"
      text = substr(text, RLENGTH + 1)
    } else if (substr(text, 1, 2) == "/*") {
      comment = 1
      text = substr(text, 3)
    } else if (substr(text, 1, 2) == "//") {
      return out
    } else {
      out = out substr(text, 1, 1)
      text = substr(text, 2)
    }
  }
  return out
}

function check_words(code) {
  if (listed("speak", words[home]) &&
      code ~ /(^|[^A-Za-z0-9_])((v?printf|puts|putchar|perror|v?warnx?)[ \t]*\(|stdout|stderr)/)
    breach(home " must not print")
  if (listed("exit", words[home]) &&
      code ~ /(^|[^A-Za-z0-9_])(_?exit|_Exit|quick_exit|abort|v?errx?)[ \t]*\(/)
    breach(home " must not end the program")
}

BEGIN { FS = "|" }
NF == 5 {
  public[$1] = $2; folders[$1] = $3; systems[$1] = $4; words[$1] = $5
  rows[++row_count] = $1
}

END {
  count = split(sources, list_of_files, "\n")
  for (i = 1; i <= count; i++) known[list_of_files[i]] = 1
  for (i = 1; i <= count; i++) {
    file = list_of_files[i]
    folder = folder_of(file)
    home = home_of(folder)
    row = 0
    comment = 0
    if (!(home in public)) {
      breach(folder " has no row in the table of the walls")
      continue
    }
    looked[home]++
    while ((status = (getline text < file)) > 0) {
      row++
      inside = comment
      code = code_of(text)
      if (!inside && text ~ /^[ \t]*#[ \t]*include[^_a-zA-Z0-9]/) check_include(text)
      else check_words(code)
    }
    if (status < 0) breach("cannot be read")
    close(file)
  }
  for (i = 1; i <= row_count; i++)
    if (!looked[rows[i]]) {
      printf "%s: no C file there; is its row out of date?\n", rows[i]
      breaches++
    }
  printf "walls: %d files in %d folders, %d breaches\n", count, row_count, breaches
  exit count == 0 || breaches > 0
}'
