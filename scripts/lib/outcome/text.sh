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
    recovered) compose_recovery ;;
    test) compose_test ;;
    succeeded) TITLE='' TEXT='' ;;
  esac
}

compose_failure() {
  JOURNAL=$(read_journal)
  TITLE="Backup FAILED: $BACKUP_NAME, $PLACE"
  TEXT=$(
    printf 'The backup of %s failed: %s.\n\n' "$PLACE" "$(describe_reason)"
    printf 'Databases: %s\n' "$(list_names)"
    printf 'When: %s to %s; failure %s in a row, since %s\n' \
      "$(format_time "$STARTED")" "$(format_time "$ENDED")" "$FAILURES" "$(format_time "$SINCE")"
    if [[ -n $SETTINGS_PROBLEM ]]; then printf 'Settings: %s\n' "$SETTINGS_PROBLEM"; fi
    printf 'Earlier dumps are untouched; the newest verified ones:\n%s\n\n' "$(list_newest)"
    printf 'Last lines of its journal:\n%s\n\n' "$JOURNAL"
    printf 'What to do: read what failed, put it right, check, then back up now:\n'
    in_container journalctl --no-pager --since yesterday --unit "$MONITOR_UNIT"
    if [[ -n $BACKUP_COMMAND ]]; then in_container "$BACKUP_COMMAND" --dry-run; fi
    in_container systemctl start "$MONITOR_UNIT"
  )
}

compose_recovery() {
  TITLE="Backup works again: $BACKUP_NAME, $PLACE"
  TEXT=$(
    printf 'The backup of %s succeeded, after %s failed since %s.\n\n' "$PLACE" "$FAILURES" "$(format_time "$SINCE")"
    printf 'The newest verified dumps:\n%s\n' "$(list_newest)"
  )
}

# shellcheck disable=SC2034 # channels.sh
compose_test() {
  TITLE="Backup test message: $BACKUP_NAME, $PLACE"
  TEXT="This is a test: nothing failed. When a backup of $PLACE fails, you are told this way."
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

list_newest() {
  local database newest
  if [[ -z $BACKUP_DIRECTORY ]]; then printf '  unknown'; fi
  for database in "${DATABASES[@]}"; do
    newest=$(list_verified "$database" || true)
    newest=${newest%%$'\n'*}
    printf '  %s: %s\n' "$database" "${newest:-none}"
  done
}

format_time() { date -u -d "@$1" '+%Y-%m-%d %H:%M:%S UTC'; }

# The lines of this very run, its own and systemd's of it. systemd's verdict is waited for: it comes last, and it may
# come after we were started.
read_journal() {
  local id=${MONITOR_INVOCATION_ID:-} tries lines
  for ((tries = 0; tries < 25; tries++)); do
    if journalctl --quiet --output=cat "INVOCATION_ID=$id" 2>/dev/null | grep -q 'Failed with result'; then break; fi
    sleep 0.2
  done
  lines=$(journalctl --quiet --no-pager --no-hostname --utc --output=short-iso --lines="$JOURNAL_LINES" \
    "_SYSTEMD_INVOCATION_ID=$id" + "INVOCATION_ID=$id" 2>&1 || true)
  lines=${lines:-(nothing: is $(id -un) in the group systemd-journal?)}
  cut -c 1-400 < <(printf '  %s\n' "${lines//$'\n'/$'\n'  }")
}
