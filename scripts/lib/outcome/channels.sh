# shellcheck shell=bash
# The ways to tell people and receivers. Text goes through pipes, never through files: the disk may be full. URLs are
# secrets: they go to curl through a pipe too.

tell_everybody() {
  export_facts
  if [[ -n $NOTIFY_COMMAND ]]; then run_part NOTIFY_COMMAND tell_by_command; fi
  if [[ -n $NOTIFY_MAIL ]]; then run_part NOTIFY_MAIL tell_by_mail; fi
  if [[ -n $NOTIFY_WEBHOOK ]]; then run_part NOTIFY_WEBHOOK tell_by_webhook; fi
  if [[ -z $NOTIFY_COMMAND$NOTIFY_MAIL$NOTIFY_WEBHOOK ]]; then
    warn 'nobody is told: none of NOTIFY_COMMAND, NOTIFY_MAIL and NOTIFY_WEBHOOK is set'
  fi
}

# What a command of the user's can go by.
# shellcheck disable=SC2153 # BACKUP_HOST and BACKUP_VMID are settings
export_facts() {
  export PGBACKUP_SUBJECT=$SUBJECT PGBACKUP_EVENT=$EVENT PGBACKUP_TITLE=$TITLE PGBACKUP_NAME=$BACKUP_NAME PGBACKUP_HOST=$BACKUP_HOST
  export PGBACKUP_VMID=$BACKUP_VMID PGBACKUP_UNIT=${MONITOR_UNIT:-} PGBACKUP_RESULT=${RESULT:-}
  export PGBACKUP_STATUS=${STATUS:-} PGBACKUP_FAILURES=${FAILURES:-} PGBACKUP_SINCE=${SINCE:-} PGBACKUP_MACHINE
  PGBACKUP_MACHINE=$(uname -n)
  PGBACKUP_DATABASES=$(printf '%s\n' "${DATABASES[@]}")
  export PGBACKUP_DATABASES
}

tell_by_command() {
  run_limited 'NOTIFY_COMMAND' bash -c "$NOTIFY_COMMAND" < <(printf '%s\n' "$TEXT")
  say "told by NOTIFY_COMMAND: $TITLE"
}

tell_by_mail() {
  local program
  program=$(find_sendmail)
  run_limited 'sendmail' "$program" -i -- "$NOTIFY_MAIL" < <(print_mail)
  say "told by mail to $NOTIFY_MAIL: $TITLE"
}

print_mail() {
  printf 'To: %s\nSubject: %s\nDate: %s\nAuto-Submitted: auto-generated\nMIME-Version: 1.0\n' \
    "$NOTIFY_MAIL" "$TITLE" "$(date -R)"
  printf 'Content-Type: text/plain; charset=UTF-8\nContent-Transfer-Encoding: 8bit\n\n%s\n' "$TEXT"
}

tell_by_webhook() {
  local code
  code=$(send_to "$NOTIFY_WEBHOOK" application/json < <(print_json) 2>&1) || fail "NOTIFY_WEBHOOK: $code"
  say "told by NOTIFY_WEBHOOK: $TITLE"
}

# "text" is what Slack, Mattermost and their like show; the rest is for programs.
print_json() {
  jq -n --arg title "$TITLE" --arg text "$TITLE"$'\n\n'"$TEXT" --arg journal "$JOURNAL" '
    env | def number(key): .[key] | if . == "" then null else tonumber end;
    {text: $text, title: $title, subject: .PGBACKUP_SUBJECT, event: .PGBACKUP_EVENT, name: .PGBACKUP_NAME,
     host: .PGBACKUP_HOST, vmid: number("PGBACKUP_VMID"), machine: .PGBACKUP_MACHINE, databases: (.PGBACKUP_DATABASES | split("\n")),
     unit: .PGBACKUP_UNIT, result: .PGBACKUP_RESULT, status: number("PGBACKUP_STATUS"),
     failures: number("PGBACKUP_FAILURES"), since: number("PGBACKUP_SINCE"), journal: $journal}'
}

# SUFFIX: of a receiver that misses us (healthchecks.io and its like), put before its query, if it has one. Not being heard
# there is the receiver's to notice.
ping_receiver() {
  local suffix=$1 answer path=${PING_URL%%\?*}
  if [[ -z $PING_URL ]]; then return; fi
  if answer=$(send_to "${path%/}$suffix${PING_URL#"$path"}" text/plain < <(printf '%s\n' "${TEXT:-}") 2>&1); then
    say "pinged PING_URL$suffix"
  else
    warn "PING_URL$suffix: $answer"
  fi
}

# URL TYPE: posts standard input. Its messages name no URL.
send_to() {
  local url=$1 type=$2 code status=0
  code=$(curl -q --silent --globoff --max-time "$NOTIFY_SECONDS" --connect-timeout "$NOTIFY_SECONDS" \
    --header "content-type: $type" --data-binary @- --output /dev/null --write-out '%{http_code}' \
    --config <(printf 'url = "%s"\n' "$url")) || status=$?
  if ((status == 28)); then
    printf 'no answer within %s s' "$NOTIFY_SECONDS"
  elif ((status)); then
    printf 'cannot be reached (curl ended with %s)' "$status"
  elif [[ $code != 2?? ]]; then
    printf 'refused with HTTP %s' "$code"
  else
    return 0
  fi
  return 1
}

# TITLE COMMAND...: with a time limit. Of its output, a failure shows the last line.
run_limited() {
  local title=$1 output status=0
  shift
  output=$(timeout --kill-after=5 "$NOTIFY_SECONDS" "$@" 2>&1) || status=$?
  if ((status == 124 || status == 137)); then fail "$title took longer than $NOTIFY_SECONDS s and was stopped"; fi
  if ((status)); then fail "$title ended with status $status: ${output##*$'\n'}"; fi
}
