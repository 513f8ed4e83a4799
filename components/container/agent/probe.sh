# What the program asks before it declares anything. Reads only. Texts travel as base64, one fact a line.

report() { # WORD… TEXT
  printf '%s %s\n' "${*:1:$#-1}" "$(printf '%s' "${!#}" | base64 -w0)"
}

report_receipts() {
  local receipt line arguments
  for receipt in "$receipts"/*; do
    [[ -f $receipt && $receipt != *.partial ]] || continue
    arguments=()
    while read -r line; do arguments+=("$(printf '%s' "${line#argument }" | base64 -d)"); done < <(grep '^argument ' "$receipt")
    if declare -F "observe_${arguments[0]:-}" >/dev/null; then
      report receipt "$(base64 -w0 <"$receipt")" "$(observe "${arguments[@]}" 2>&1 || true)"
    fi
  done
}

check_calendar() { # KEY EXPRESSION
  local answer
  answer=$(systemd-analyze calendar -- "$2" 2>&1) || report problem "$1" "$(head -n 1 <<<"$answer")"
}

check_time_span() { # KEY SPAN
  local answer
  answer=$(systemd-analyze timespan -- "$2" 2>&1) || report problem "$1" "$(head -n 1 <<<"$answer")"
}

check_databases() { # DATABASE…
  local answer database
  if ! answer=$(list_databases 2>&1); then
    report problem postgresql "$answer"
    return
  fi
  for database in "$@"; do
    grep -qxF -- "$database" <<<"$answer" || report problem database "$database"
  done
  report databases "$answer"
  report version "$(as_postgres postgres -c 'SHOW server_version_num' </dev/null)"
}

# Whether units may be given a file system view of their own, which systemd's sandboxing is made of. A Proxmox
# container without nesting=1 may not. Tried as systemd begins it, with a detached copy of all mounts (`slave`), in a
# mount namespace that ends with the command.
check_sandbox() {
  if unshare --mount --propagation slave sh -c 'mount -t tmpfs none /mnt' 2>/dev/null; then echo 'sandbox full'; else echo 'sandbox basic'; fi
}

probe() { # CALENDAR DRILL-CALENDAR JITTER TIME-LIMIT DATABASE…; an empty calendar is none
  check_calendar schedule "$1"
  [[ -z $2 ]] || check_calendar drillSchedule "$2"
  check_time_span jitter "$3"
  check_time_span timeLimit "$4"
  check_databases "${@:5}"
  check_sandbox
  report_receipts
  echo complete
}
