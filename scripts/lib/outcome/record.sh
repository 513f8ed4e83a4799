# shellcheck shell=bash
# What came of a run, a night's or a drill's, as systemd tells it (MONITOR_*, systemd.exec(5)), and the record of it: RECORD.

# Sets EVENT and the facts of the run.
# shellcheck disable=SC2034 # EVENT is read by whoever tells
learn_run() {
  local record
  record=$(read_record)
  RESULT=${MONITOR_SERVICE_RESULT:-unknown}
  STATUS=$(number_status "${MONITOR_EXIT_CODE:-}" "${MONITOR_EXIT_STATUS:-}")
  ENDED=$(date +%s)
  STARTED=$ENDED START_KNOWN=0
  learn_start
  FAILURES=$(jq '.failures // 0' <<<"$record" || echo 0)
  SINCE=$(jq '.failed_since // empty' <<<"$record" || true)
  if is_refused; then
    EVENT=refused
  elif [[ $RESULT != success ]]; then
    EVENT=failed
    FAILURES=$((FAILURES + 1))
    SINCE=${SINCE:-$STARTED}
  elif ((FAILURES)); then
    EVENT=recovered
  else
    EVENT=succeeded
  fi
}

# A drill that another one kept from beginning proves nothing against the dumps: it neither failed nor succeeded.
is_refused() { [[ $SUBJECT == drill && $RESULT == exit-code && $STATUS == 3 ]]; }

# When the run began: systemd knows, unless another one has begun meanwhile.
learn_start() {
  local key value
  local -A unit=()
  while IFS='=' read -r key value; do unit[$key]=$value; done < <(
    systemctl show --timestamp=unix --property=InvocationID,ExecMainStartTimestamp -- "$MONITOR_UNIT" || true
  )
  value=${unit[ExecMainStartTimestamp]:-}
  if [[ ${unit[InvocationID]:-} == "${MONITOR_INVOCATION_ID:-}" && $value == @* ]]; then STARTED=${value#@} START_KNOWN=1; fi
}

# One number, as a shell would give it: 137 where SIGKILL ended it.
number_status() {
  local code=$1 status=$2
  if [[ $code == exited && $status =~ ^[0-9]+$ ]]; then
    printf '%s' "$status"
  elif [[ $status =~ ^[A-Z0-9]+$ ]] && status=$(kill -l "$status" 2>/dev/null); then
    printf '%s' "$((128 + status))"
  else
    printf '255'
  fi
}

# shellcheck disable=SC2153 # RECORD is set by choose_subject
read_record() {
  jq -c 'objects' -- "$RECORD" 2>/dev/null || printf '{}'
}

# The record as it is after this run; what was true of the last good one stays.
make_record() {
  jq --arg result "$RESULT" --argjson status "$STATUS" --argjson started "$STARTED" --argjson ended "$ENDED" \
    --argjson failures "$FAILURES" --argjson since "${SINCE:-null}" '
    . + {result: $result, status: $status, started: $started, ended: $ended} +
    if $result == "success" then
      {failures: 0, failed_since: null, last_success: $ended, last_success_seconds: ($ended - $started)}
    else {failures: $failures, failed_since: $since} end' <<<"$(read_record)"
}

write_record() {
  local record
  record=$(make_record)
  printf '%s\n' "$record" >"$RECORD.new"
  mv -f -- "$RECORD.new" "$RECORD"
}

describe_reason() {
  case $RESULT in
    exit-code) describe_status ;;
    signal | core-dump) printf 'its process was ended by SIG%s' "${MONITOR_EXIT_STATUS:-?}" ;;
    timeout) printf 'it took longer than its time limit (TimeoutStartSec) and was stopped' ;;
    oom-kill) printf 'the kernel ended it because memory ran out' ;;
    *) printf "systemd could not run it (result '%s')" "$RESULT" ;;
  esac
}

describe_status() {
  local directory
  case $STATUS in
    3) printf 'another run was active (exit status 3)' ;;
    226)
      # What the unit may write is mounted for it.
      for directory in "$BACKUP_DIRECTORY" "$BACKUP_STATE"; do
        if [[ -z $directory || -d $directory ]]; then continue; fi
        printf '%s is gone (226/NAMESPACE): pulumi up makes it anew' "$directory"
        return
      done
      printf 'the container no longer lets systemd mount (226/NAMESPACE): is nesting=1 off? pulumi up adapts the unit'
      ;;
    *) printf 'exit status %s' "$STATUS" ;;
  esac
}
