# shellcheck shell=bash
# One drill: each database in turn, on a scratch server of its own, in a process of its own.

run_drill() {
  local database status failed=()
  require_commands psql pg_restore vacuumdb jq flock sha256sum awk df numfmt ipcrm tail timeout
  prepare_drill
  for database in "${DATABASES[@]}"; do
    status=0
    drill_database "$database" 9>&- & # what a killed drill leaves running must not hold the lock
    PART=$!
    wait "$PART" || status=$?
    PART=''
    if ((status)); then failed+=("'$database'"); fi
  done
  end_drill ''
  # shellcheck disable=SC2153 # set by end_drill
  if ((AS_JSON)); then jq . "$REPORT"; fi
  if ((${#failed[@]})); then fail "the drill failed for: ${failed[*]}. Report: $REPORT"; fi
  say "the drill succeeded: ${#DATABASES[@]} database(s) restored and proved in $(jq '.seconds' "$REPORT") s. Report: $REPORT"
}

# Sets SCRATCH, DRILL_WORK, where results are gathered, and STARTED.
prepare_drill() {
  find_places
  mkdir -p -- "$DRILL_DIRECTORY" "$REPORT_DIRECTORY"
  take_lock "$BACKUP_STATE/drill.lock"
  remove_left
  mkdir -- "$DRILL_WORK"
  STARTED=$(date -u +%Y-%m-%dT%H:%M:%SZ)
  printf '%s\n' "$STARTED" >"$DRILL_WORK/started"
}

find_places() {
  SCRATCH=$DRILL_DIRECTORY/scratch
  DRILL_WORK=$BACKUP_STATE/drill.work
  REPORT_DIRECTORY=$BACKUP_STATE/drills
}

# Whatever a drill that was killed left, and the report that it could not write any more.
remove_left() {
  if [[ -e $SCRATCH ]]; then
    remove_scratch
    warn "removed $SCRATCH, left by a drill that was cut off"
  fi
  if [[ -e $DRILL_WORK ]]; then
    STARTED=$(cat -- "$DRILL_WORK/started" 2>/dev/null || date -u +%Y-%m-%dT%H:%M:%SZ)
    end_drill 'cut off: it was killed, or the machine went down'
  fi
}

# A drill that is active removes its own.
clean_up_alone() {
  find_places
  if [[ ! -e $SCRATCH && ! -e $DRILL_WORK ]]; then return; fi
  take_lock "$BACKUP_STATE/drill.lock"
  remove_left
}

drill_database() {
  local database=$1
  trap end_part EXIT
  trap 'exit 143' INT TERM HUP
  # shellcheck disable=SC2034 # log.sh
  LOG_SUBJECT=$database
  # shellcheck disable=SC2034 # drillReport.sh
  BEGAN=$EPOCHREALTIME
  WORK=$(mktemp -d "$DRILL_WORK/part.XXXXXX")
  # shellcheck disable=SC2034 # log.sh
  ERROR_FILE=$WORK/error
  jq -n --arg database "$database" '{$database}' >"$WORK/about"
  measure fetch fetch_dump "$database"
  describe_dump_of_drill >"$WORK/about"
  check_scratch_space "$MANIFEST"
  mkdir -- "$SCRATCH"
  measure server start_scratch_server "$(major_of "$MANIFEST")"
  measure roles make_roles
  measure restore restore_into_scratch "$database"
  measure analyze vacuumdb --analyze-only --quiet --dbname="$(name_database "$database")"
  measure verify verify_database "$database" manifest "$MANIFEST" "$database"
  if ! is_proved; then
    print_verdict >&2
    fail "restored from $DUMP, but not what its manifest says: see above"
  fi
  say "restored from ${DUMP##*/} and proved"
}

# NAME COMMAND...: runs it, and notes how many seconds it took.
measure() {
  local name=$1 began=$EPOCHREALTIME
  shift
  "$@"
  note_seconds "$name" "$began"
}

note_seconds() {
  jq -n --arg name "$1" --argjson seconds "$(seconds_since "$2")" '{($name): $seconds}' >>"$WORK/seconds"
}

seconds_since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

# The copy that the drill proves, checked: sets DUMP and MANIFEST. Where it is from is the report's .source.
fetch_dump() {
  pick_dump '' "$1"
  check_dump
  DUMP_SOURCE=local
}

describe_dump_of_drill() {
  jq -c --arg source "$DUMP_SOURCE" '{database, source: $source, dump: .file, dumped: .started, size, sha256,
    database_size, server_version}' -- "$MANIFEST"
}

major_of() { read_manifest "$1" '.server_version | capture("^(?<major>[0-9]+)").major'; }

# Roles of the newest globals, with the attributes that owning some things takes. Without them objects belong to the
# scratch server's superuser, and grants are left out.
make_roles() {
  local globals
  ROLES_FROM=''
  globals=$(list_verified '')
  globals=${globals%%$'\n'*}
  if [[ -z $globals ]]; then
    warn "no verified globals in $BACKUP_DIRECTORY: owners and grants are not restored in this drill"
    return
  fi
  check_content "$BACKUP_DIRECTORY/$globals"
  sed -n -e '/^CREATE ROLE /p' -e '/^ALTER ROLE .* WITH .*SUPERUSER /p' -- "$BACKUP_DIRECTORY/$globals" >"$WORK/roles.sql"
  if ! run_sql postgres <"$WORK/roles.sql" 2>"$WORK/roles.err"; then
    fail "the roles of $globals cannot be made: $(<"$WORK/roles.err")"
  fi
  ROLES_FROM=$globals
}

restore_into_scratch() {
  local database=$1 options=(--exit-on-error --no-tablespaces)
  read_definition "$database" "$database" --no-tablespaces
  if ! { run_sql postgres <"$WORK/definition.create" && run_sql postgres <"$WORK/definition.settings"; } 2>"$WORK/restore.err"; then
    fail "the database cannot be created on the scratch server: $(<"$WORK/restore.err")"
  fi
  if [[ -z $ROLES_FROM ]]; then options+=(--no-owner --no-privileges); fi
  if ! pg_restore --dbname="$(connect_to "$database")" "${options[@]}" "$DUMP" 2>"$WORK/restore.err"; then
    fail "pg_restore failed: $(<"$WORK/restore.err")"
  fi
}

end_part() {
  local status=$?
  trap - ERR
  trap '' INT TERM HUP
  remove_scratch
  write_result "$status"
  exit "$status"
}
