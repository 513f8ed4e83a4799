# shellcheck shell=bash
# One run at a time.

# Held on descriptor 9 until this process and every child of it are gone, so a killed run's pg_dump still counts. Who merely
# looks (check_lock) holds it for a moment, and is no other run.
take_lock() {
  local file=$1
  if [[ -L $file ]]; then fail "lock $file is a link, to $(readlink -- "$file"): must be a file: remove it"; fi
  if ! exec 9>>"$file"; then fail "lock $file cannot be opened by $(id -un): its directory must be writable"; fi
  if ! flock --wait 1 9; then refuse_busy "$file"; fi
  printf '%s\n' "$$" >"$file"
}

# Stops if a run is active; takes and writes nothing, so that it is in nobody's way.
check_lock() {
  local file=$1
  if [[ -e $file ]] && ! flock --nonblock "$file" true; then refuse_busy "$file"; fi
}

refuse_busy() {
  local file=$1 holder
  holder=$(<"$file")
  write_line 3 "error: another run is active (pid ${holder:-unknown}, lock $file): wait for it to end"
  exit "$EXIT_BUSY"
}
