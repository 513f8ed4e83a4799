# shellcheck shell=bash
# What a person at a terminal sees while a dump is written. In the journal: nothing.

PROGRESS_PID=''

# From now on every line, another database's too, wipes that of progress first.
expect_progress() { if [[ -t 2 ]]; then CLEAR_LINE=$'\r\e[K'; fi; }

# FILE, and EXPECTED_SIZE
begin_progress() {
  if [[ ! -t 2 ]]; then return; fi
  show_progress "$1" "$(format_size "$EXPECTED_SIZE")" &
  PROGRESS_PID=$!
}

end_progress() {
  if [[ -z $PROGRESS_PID ]]; then return 0; fi # in a trap, plain return gives the status from before the trap
  kill -TERM "$PROGRESS_PID" 2>/dev/null || true
  wait "$PROGRESS_PID" 2>/dev/null || true
  PROGRESS_PID=''
  printf '%s' "$CLEAR_LINE" >&2
}

show_progress() {
  local file=$1 estimate=$2 size
  trap - ERR                                 # it is killed, and that is its good end
  exec {SESSION_IN}>&- {SESSION_OUT}<&- 9>&- # nothing may outlive the dump because of this: snapshot, lock
  leave_gates ENDED COMMITTED                # and copies
  while :; do
    size=$(size_of_dump "$file" 2>/dev/null || echo 0)
    printf '%s%s: %s written, about %s expected' "$CLEAR_LINE" "$LOG_SUBJECT" "$(format_size "$size")" "$estimate" >&2
    sleep 0.5
  done
}
