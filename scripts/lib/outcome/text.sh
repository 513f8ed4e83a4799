# shellcheck shell=bash
# What people read. Never a secret: it leaves this machine.

readonly JOURNAL_LINES=20

# Sets TITLE, TEXT and JOURNAL. Of settings that cannot be read, less is known.
compose_text() {
  local machine
  JOURNAL=''
  machine=$(uname -n)
  PLACE=$machine
  if [[ -n $BACKUP_VMID ]]; then PLACE="container $BACKUP_VMID ($machine${BACKUP_HOST:+ on $BACKUP_HOST})"; fi
  case $EVENT in
    failed) compose_failure ;;
    refused) compose_refusal ;;
    recovered) compose_recovery ;;
    test) compose_test ;;
    succeeded) TITLE='' TEXT='' ;;
  esac
}

compose_failure() {
  JOURNAL=$(read_journal)
  TITLE="$HEADING FAILED: $BACKUP_NAME, $PLACE"
  TEXT=$(
    printf 'The %s of %s failed: %s.\n\n' "$SUBJECT" "$PLACE" "$(describe_reason)"
    printf 'Databases: %s\n' "$(list_names)"
    printf 'When: %s to %s; failure %s in a row, since %s\n' \
      "$(format_time "$STARTED")" "$(format_time "$ENDED")" "$FAILURES" "$(format_time "$SINCE")"
    if [[ -n $SETTINGS_PROBLEM ]]; then printf 'Settings: %s\n' "$SETTINGS_PROBLEM"; fi
    "describe_failed_$SUBJECT"
    printf 'Last lines of its journal:\n%s\n\n' "$JOURNAL"
    "advise_on_$SUBJECT"
  )
}

compose_refusal() {
  JOURNAL=$(read_journal)
  TITLE="$HEADING NOT DONE: $BACKUP_NAME, $PLACE"
  TEXT=$(
    printf 'The %s of %s was not done: %s. Nothing failed.\n\n' "$SUBJECT" "$PLACE" "$(describe_reason)"
    printf 'When: %s\n' "$(format_time "$STARTED")"
    printf 'Last lines of its journal:\n%s\n\n' "$JOURNAL"
    printf 'What to do: let the other one end, read what it says, or do another one:\n'
    list_commands_of_drill
  )
}

compose_recovery() {
  TITLE="$HEADING works again: $BACKUP_NAME, $PLACE"
  TEXT=$(
    printf 'The %s of %s succeeded, after %s failed since %s.\n\n' \
      "$SUBJECT" "$PLACE" "$FAILURES" "$(format_time "$SINCE")"
    "describe_good_$SUBJECT"
  )
}

# shellcheck disable=SC2034 # channels.sh
compose_test() {
  TITLE="$HEADING test message: $BACKUP_NAME, $PLACE"
  TEXT="This is a test: nothing failed. When a $SUBJECT of $PLACE fails, you are told this way."
}

# A command as an operator types it on the host, or in the container where the host is not known.
in_container() {
  if [[ -n $BACKUP_VMID ]]; then set -- pct exec "$BACKUP_VMID" -- "$@"; fi
  printf '  %s\n' "$(format_command "$@")"
}

list_names() {
  local names
  names=$(printf '%s, ' "${DATABASES[@]:-unknown}")
  printf '%s' "${names%, }"
}

format_time() { date -u -d "@$1" '+%Y-%m-%d %H:%M:%S UTC'; }

# The lines of this very run, its own and systemd's of it. systemd's verdict is waited for: it comes last, and it may
# come after we were started. Of a run that lived for moments, journald may know no more than the unit. (Where the clock was set back meanwhile, its start is no bound.)
read_journal() {
  local id=${MONITOR_INVOCATION_ID:-} tries lines
  local wanted=("_SYSTEMD_INVOCATION_ID=$id" + "INVOCATION_ID=$id")
  if ((START_KNOWN && STARTED <= ENDED)); then wanted+=(+ "_SYSTEMD_UNIT=$MONITOR_UNIT" --since="@$STARTED"); fi
  for ((tries = 0; tries < 25; tries++)); do
    if journalctl --quiet --output=cat "INVOCATION_ID=$id" 2>/dev/null | grep -q 'Failed with result'; then break; fi
    sleep 0.2
  done
  lines=$(journalctl --quiet --no-pager --no-hostname --utc --output=short-iso --lines="$JOURNAL_LINES" \
    "${wanted[@]}" 2>&1 || true)
  lines=${lines:-(nothing: is $(id -un) in the group systemd-journal?)}
  cut -c 1-400 < <(printf '  %s\n' "${lines//$'\n'/$'\n'  }")
}
