# shellcheck shell=bash
# One clear line per event, on standard error; in the journal with its priority.

# Status inside the scripts of a failure whose message is already printed. The operator sees EXIT_FAILED.
readonly REPORTED=99
# shellcheck disable=SC2034 # EXIT_BUSY is lock.sh's
readonly EXIT_FAILED=1 EXIT_USAGE=2 EXIT_BUSY=3

# What the lines are about, e.g. the database being dumped.
LOG_SUBJECT=''

# Wipes the terminal's line of progress, if there is one.
CLEAR_LINE=''

# A file that gets the errors too, for whoever reports on this process.
ERROR_FILE=''

write_line() {
  local priority=$1 text=$2
  if [[ $priority == 3 && -n $ERROR_FILE ]]; then printf '%s\n' "${text#error: }" >>"$ERROR_FILE"; fi
  text=${LOG_SUBJECT:+$LOG_SUBJECT: }$text
  text=${text%"${text##*[![:space:]]}"}
  text=${text//$'\n'/ | }
  if is_journal; then text="<$priority>$text"; fi
  printf '%s%s\n' "$CLEAR_LINE" "$text" >&2
}

is_journal() {
  # Asked of descriptor 2 itself, stat would answer for where its own complaints go.
  [[ -n ${JOURNAL_STREAM:-} && $(stat -L -c '%d:%i' /dev/fd/3 3>&2 2>/dev/null || true) == "$JOURNAL_STREAM" ]]
}

say() { write_line 6 "$*"; }
warn() { write_line 4 "warning: $*"; }

# Says what is wrong (what, value, what is right) and ends this process.
fail() {
  write_line 3 "error: $*"
  exit "$REPORTED"
}

refuse_usage() {
  write_line 3 "error: $* (try --help)"
  exit "$EXIT_USAGE"
}

# Nothing ends without a message: a command that failed where no one looked is named with its place.
report_unexpected() {
  local status=$1 command=$2 place=$3
  if ((status != REPORTED)); then
    write_line 3 "error: unexpected at $place: status $status from: $command"
  fi
  exit "$REPORTED"
}

# The status that the operator and systemd see.
visible_status() {
  local status=$1
  if ((status == REPORTED)); then status=$EXIT_FAILED; fi
  printf '%s' "$status"
}

trap 'report_unexpected "$?" "$BASH_COMMAND" "${BASH_SOURCE[0]##*/}:$LINENO"' ERR

# Bytes for people, e.g. 12.3 MB.
format_size() {
  numfmt --to=si --suffix=B --format='%.1f' -- "$1"
}

# A command as one would type it.
format_command() {
  local word line=''
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then word="'${word//\'/\'\\\'\'}'"; fi
    line+="${line:+ }$word"
  done
  printf '%s\n' "$line"
}
