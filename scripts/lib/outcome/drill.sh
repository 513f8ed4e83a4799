# shellcheck shell=bash
# What is told of a drill alone: what its report says.

describe_failed_drill() {
  printf 'Its report says:\n%s\n\n' "$(list_findings)"
}

describe_good_drill() {
  printf 'How long a recovery takes, from picking the dump to the proof:\n%s\n' "$(list_findings)"
}

advise_on_drill() {
  printf 'What to do: read what failed, put it right, then do another one:\n'
  list_commands_of_drill
}

list_commands_of_drill() {
  if [[ -n $DRILL_COMMAND ]]; then in_container "$DRILL_COMMAND" --report; fi
  in_container journalctl --no-pager --since yesterday --unit "$MONITOR_UNIT"
  in_container systemctl start "$MONITOR_UNIT"
}

# What the report of this very drill says, a line a database. One that ended early has none: the newest is that of another.
list_findings() {
  local report findings=''
  report=$(find_last_report)
  if [[ -n $report ]]; then
    findings=$(jq -r --argjson began "$STARTED" "$DESCRIBE_RESULT"'
      select((.started | fromdate) >= $began) | (.error | values), (.databases[] |
        "\(describe)\(if .ok then ", from \(.dump)" else "" end)", (.differences[:5][]? | "  differs: \(tojson)")),
        (.kept | values | describe_kept)' \
      -- "$report" || true)
  fi
  findings=${findings:-nothing: no report of this drill was found}
  cut -c 1-400 < <(printf '  %s\n' "${findings//$'\n'/$'\n'  }")
}

add_metrics_of_drill() {
  local report database
  add_runs drill_ drill 'When every database was last restored and proved.'
  report=$(find_last_report)
  if [[ -z $report ]]; then return; fi
  for database in "${DATABASES[@]}"; do
    add_result "$(label database "$database")" \
      "$(jq -c --arg database "$database" '[.databases[] | select(.database == $database)][0] // {}' -- "$report")"
  done
  add_metric drill_damaged_dumps 'Dumps kept here that the newest drill found damaged.' '' \
    "$(jq '.kept | values | .damaged | length' -- "$report")"
}

# LABEL RESULT: of a database in the newest report; one that is not in it was not proved.
add_result() {
  local label=$1 result=$2
  add_metric drill_ok 'Whether the newest drill restored and proved the database: 1, or 0.' "$label" \
    "$(jq 'if .ok then 1 else 0 end' <<<"$result")"
  add_metric drill_recovery_seconds 'How long that took, from picking the dump to the proof.' "$label" \
    "$(jq 'select(.ok) | .seconds' <<<"$result")"
  add_metric drill_rows 'Rows counted in what the newest drill restored.' "$label" "$(jq '.rows // empty' <<<"$result")"
}
