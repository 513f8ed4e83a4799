# shellcheck shell=bash
# What a drill found: one JSON file a drill, kept 90 days.
#
#   {format, ok, started, ended, seconds, machine, error, databases: [{database, ok, error, source, dump, dumped, size,
#    sha256, database_size, server_version, roles, seconds, took: {fetch, server, roles, restore, verify,
#    application}, rows, facts: {tables, newest, foreign_keys, structure, checksums: {good, of}}, differences: [what verify.sh found]}],
#    kept: {of, damaged: [file]}}
#
# A database's .seconds is the measured recovery time: from picking the dump to the proof. .error is null if all is well.
# .kept, how many dumps of this machine were read through, is null if the drill did not get there.

readonly REPORT_DAYS=90

# For jq: what came of one database, and of the dumps that are kept, in words.
readonly DESCRIBE_RESULT='def describe: "\(.database): \(if .ok then "restored and proved in \(.seconds) s"
  else "FAILED after \(.seconds) s: \(.error | gsub("\n"; " | "))" end)";
def describe_kept: if .damaged == [] then "\(.of) dump(s) kept here are whole"
  else "\(.damaged | length) of \(.of) dump(s) kept here DAMAGED: \(.damaged | join(", "))" end;'

# Sets REPORT_DIRECTORY.
find_reports() { REPORT_DIRECTORY=$BACKUP_STATE/drills; }

# STATUS: what is known of one database at the end of its part, into WORK/result.
write_result() {
  local status=$1
  touch -- "$WORK/seconds" "$WORK/error" "$WORK/verdict.json"
  jq -n --argjson status "$status" --argjson seconds "$(seconds_since "$BEGAN")" --arg roles "${ROLES_FROM:-}" \
    --slurpfile about "$WORK/about" --slurpfile took "$WORK/seconds" --rawfile error "$WORK/error" \
    --slurpfile verdict "$WORK/verdict.json" '
    ["tables", "newest", "foreign_keys", "structure", "checksums"] as $facts |
    $about[0] + {ok: ($status == 0), error: (if $status == 0 then null elif $error == "" then "stopped"
        else $error | rtrimstr("\n") end), roles: (if $roles == "" then null else $roles end), seconds: $seconds,
      took: ($took | add // {})} +
    ($verdict[0] // {} | if .tables then {rows: ([.tables[].found // 0] | add // 0),
      facts: (. as $v | $facts | map({(.): {good: ($v[.] | map(select(.ok)) | length), of: ($v[.] | length)}}) | add),
      differences: (. as $v | [$facts[] | . as $fact | $v[.][] | select(.ok | not) | {fact: $fact} + . | del(.newest)])}
      else {} end)' >"$WORK/result.partial"
  mv -- "$WORK/result.partial" "$WORK/result"
}

# ERROR: writes the report, lets old ones go and removes what the drill worked with. Sets REPORT.
end_drill() {
  local error=$1 results
  if [[ ! -d ${DRILL_WORK:-} ]]; then return 0; fi
  REPORT=$REPORT_DIRECTORY/drill_${STARTED//[-:]/}.json
  results=$(find "$DRILL_WORK" -mindepth 2 -maxdepth 2 -name result -exec cat -- {} +)
  jq -n --arg error "$error" --arg started "$STARTED" --arg ended "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \
    --arg machine "$(uname -n)" --argjson wanted "${#DATABASES[@]}" --slurpfile results <(printf '%s' "$results") \
    --slurpfile kept <(cat -- "$DRILL_WORK/kept" 2>/dev/null || true) '
    {format: 1, ok: ($error == "" and ($results | length == $wanted and all(.ok)) and $kept[0].damaged == []), started: $started, ended: $ended,
     seconds: ([$results[].seconds] | add // 0), machine: $machine, error: (if $error == "" then null else $error end),
     databases: ($results | sort_by(.database)), kept: $kept[0]}' >"$REPORT.partial"
  sync -- "$REPORT.partial"
  mv -- "$REPORT.partial" "$REPORT"
  rm -rf -- "$DRILL_WORK"
  find "$REPORT_DIRECTORY" -mindepth 1 -maxdepth 1 -name 'drill_*' -mtime "+$REPORT_DAYS" -delete
}

# Path of the newest report; nothing before the first drill.
find_last_report() {
  local files
  files=$(find "$REPORT_DIRECTORY" -mindepth 1 -maxdepth 1 -name 'drill_*.json' -printf '%f\n' 2>/dev/null | sort -r || true)
  if [[ -n $files ]]; then printf '%s' "$REPORT_DIRECTORY/${files%%$'\n'*}"; fi
}

report_last() {
  find_reports
  REPORT=$(find_last_report)
  if [[ -z $REPORT ]]; then fail "no drill has been done yet: there is no report in $REPORT_DIRECTORY"; fi
  if ((AS_JSON)); then jq . "$REPORT"; else print_report "$REPORT"; fi
  jq -e .ok "$REPORT" >/dev/null || exit "$EXIT_FAILED"
}

print_report() {
  jq -r "$DESCRIBE_RESULT"'
    "Drill of \(.started): \(if .ok then "every database was restored and proved" else "FAILED" end)",
    (.error | values | "  \(.)"), (.kept | values | describe_kept),
    (.databases[] | "", describe,
      (select(.dump) | "  dump           \(.dump), \(.source), of \(.dumped)"),
      (select(.took | length > 0) | "  took           \(.took | to_entries | map("\(.key) \(.value) s") | join(", "))"),
      (select(.facts) | "  rows           \(.rows)",
        "  proved         \(.facts | to_entries | map("\(.key) \(.value.good) of \(.value.of)") | join(", "))"),
      (.differences[]? | "  differs        \(tojson)"))' "$1"
}
