# shellcheck shell=bash
# What came of the night, as systemd tells it (MONITOR_*, systemd.exec(5)), and the record of it: BACKUP_STATE/night.json.

# Sets EVENT and the facts of the night.
# shellcheck disable=SC2034 # EVENT is read by whoever tells
learn_night() {
  local record
  record=$(read_record)
  RESULT=${MONITOR_SERVICE_RESULT:-unknown}
  STATUS=$(number_status "${MONITOR_EXIT_CODE:-}" "${MONITOR_EXIT_STATUS:-}")
  ENDED=$(date +%s)
  STARTED=$ENDED
  learn_start
  FAILURES=$(jq '.failures // 0' <<<"$record" || echo 0)
  SINCE=$(jq '.failed_since // empty' <<<"$record" || true)
  if [[ $RESULT != success ]]; then
    EVENT=failed
    FAILURES=$((FAILURES + 1))
    SINCE=${SINCE:-$STARTED}
  elif ((FAILURES)); then
    EVENT=recovered
  else
    EVENT=succeeded
  fi
}

# When the run began: systemd knows, unless another one has begun meanwhile.
learn_start() {
  local key value
  local -A unit=()
  while IFS='=' read -r key value; do unit[$key]=$value; done < <(
    systemctl show --timestamp=unix --property=InvocationID,ExecMainStartTimestamp -- "$MONITOR_UNIT" || true
  )
  value=${unit[ExecMainStartTimestamp]:-}
  if [[ ${unit[InvocationID]:-} == "${MONITOR_INVOCATION_ID:-}" && $value == @* ]]; then STARTED=${value#@}; fi
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

read_record() {
  jq -c 'objects' -- "$BACKUP_STATE/night.json" 2>/dev/null || printf '{}'
}

# The record as it is after this night; what was true of the last good one stays.
make_record() {
  jq --arg result "$RESULT" --argjson status "$STATUS" --argjson started "$STARTED" --argjson ended "$ENDED" \
    --argjson failures "$FAILURES" --argjson since "${SINCE:-null}" '
    . + {result: $result, status: $status, started: $started, ended: $ended} +
    if $result == "success" then
      {failures: 0, failed_since: null, last_success: $ended, last_success_seconds: ($ended - $started)}
    else {failures: $failures, failed_since: $since} end' <<<"$(read_record)"
}

write_record() {
  local file=$BACKUP_STATE/night.json record
  record=$(make_record)
  printf '%s\n' "$record" >"$file.new"
  mv -f -- "$file.new" "$file"
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
  case $STATUS in
    3) printf 'another run was active (exit status 3)' ;;
    226) printf 'the container no longer lets systemd mount (226/NAMESPACE): is nesting=1 off? pulumi up adapts the unit' ;;
    *) printf 'exit status %s' "$STATUS" ;;
  esac
}
