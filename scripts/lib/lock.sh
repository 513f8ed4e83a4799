# shellcheck shell=bash
# One run at a time.

# Held on descriptor 9 until this process and every child of it are gone, so a killed run's pg_dump still counts.
take_lock() {
  local file=$1 holder
  if ! exec 9>>"$file"; then fail "lock $file cannot be opened by $(id -un): its directory must be writable"; fi
  if ! flock --nonblock 9; then
    holder=$(<"$file")
    write_line 3 "error: another run is active (pid ${holder:-unknown}, lock $file): wait for it to end"
    exit "$EXIT_BUSY"
  fi
  printf '%s\n' "$$" >"$file"
}
