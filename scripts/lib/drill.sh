# shellcheck shell=bash
# One drill: each database in turn, on a scratch server of its own, in a process of its own; then a look through all dumps.

# Locks that a scratch server has room for at most, with some 300 bytes of shared memory each.
readonly DRILL_MOST_LOCKS=200000

run_drill() {
  local database status failed=()
  require_commands psql pg_restore jq flock openssl awk df numfmt ipcrm tail timeout
  check_source
  prepare_drill
  for database in "${DATABASES[@]}"; do
    status=0
    drill_database "$database" 9>&- & # what a killed drill leaves running must not hold the lock
    PART=$!
    wait "$PART" || status=$?
    PART=''
    if ((status)); then failed+=("'$database'"); fi
  done
  status=0
  check_kept 9>&- &
  PART=$!
  wait "$PART" || status=$?
  PART=''
  if ((status)); then failed+=("${failed[0]:+and }dumps kept here"); fi
  end_drill ''
  # shellcheck disable=SC2153 # set by end_drill
  if ((AS_JSON)); then jq . "$REPORT"; fi
  if ((${#failed[@]})); then fail "the drill failed for: ${failed[*]}. Report: $REPORT"; fi
  say "the drill succeeded: ${#DATABASES[@]} database(s) restored and proved in $(jq '.seconds' "$REPORT") s," \
    "$(jq '.kept.of' "$REPORT") dump(s) kept here are whole. Report: $REPORT"
}

# Reads every dump of this machine that has a manifest, globals, labelled ones and those of other databases too: a disk may
# have lost bits of an older one since its night. A process of its own.
check_kept() {
  local files file dump trouble of=0 damaged=()
  files=$({ list_directory "$BACKUP_DIRECTORY" dump && list_directory "$BACKUP_DIRECTORY" sql; } | sort) ||
    fail "the dumps in $BACKUP_DIRECTORY cannot be listed, so none of them counts as whole"
  while IFS= read -r file; do
    dump=$BACKUP_DIRECTORY/$file
    if [[ -z $file || ! -e $dump.json ]]; then continue; fi # made by hand, or of a night that tells of it
    trouble=$(find_trouble "$dump")
    if [[ ! -e $dump.json ]]; then continue; fi # retention has removed it meanwhile
    of=$((of + 1))
    if [[ -z $trouble ]]; then continue; fi
    damaged+=("$file")
    write_line 3 "error: $dump $trouble"
  done <<<"$files"
  jq -n --argjson of "$of" '{$of, damaged: $ARGS.positional}' --args -- "${damaged[@]}" >"$DRILL_WORK/kept"
  if ((${#damaged[@]})); then exit "$REPORTED"; fi
}

# What is wrong with a dump, for people; nothing if it is what its manifest says.
find_trouble() {
  local dump=$1 found right advice
  advice="put the right one there, or remove both: $(format_command rm -r "$dump" "$dump.json")"
  if ! is_verified "$dump"; then
    printf 'is damaged, or its manifest is: that speaks of another file, or of another size: %s' "$advice"
  elif ! found=$(hash_dump "$dump" 2>&1) || [[ ! $found =~ ^[0-9a-f]{64}$ ]]; then
    printf 'cannot be read: %s' "$found"
  else
    right=$(read_manifest "$dump.json" .sha256)
    if [[ $found == "$right" ]]; then return; fi
    printf 'is damaged: its SHA-256 is %s, its manifest says %s: %s' "$found" "$right" "$advice"
  fi
}

# FROM is the operator's word, else the settings'. What cannot be read is no reason to look elsewhere.
check_source() {
  : "${FROM:=$DRILL_FROM}"
  if [[ $FROM != local ]] && ((${#AGE_RECIPIENTS[@]})); then
    fail "the drill is to be from $FROM, where copies are encrypted (AGE_RECIPIENTS), and no private key is on this machine:" \
      "must be from local. $(name_command restore) --from $FROM --identity proves such a copy"
  fi
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
  find_reports
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
  end_when_told
  # shellcheck disable=SC2034 # log.sh
  LOG_SUBJECT=$database
  # shellcheck disable=SC2034 # drillReport.sh
  BEGAN=$EPOCHREALTIME
  WORK=$(mktemp -d "$DRILL_WORK/part.XXXXXX")
  # shellcheck disable=SC2034 # log.sh
  ERROR_FILE=$WORK/error
  jq -n --arg database "$database" --arg source "$FROM" '{$database, $source}' >"$WORK/about"
  mkdir -- "$SCRATCH"
  measure fetch take_copy "$database"
  describe_dump_of_drill >"$WORK/about"
  check_scratch_space "$MANIFEST"
  LOCKS=$(count_locks)
  measure server start_scratch_server "$(major_of "$MANIFEST")" "$((LOCKS < DRILL_MOST_LOCKS ? LOCKS : DRILL_MOST_LOCKS))"
  measure roles make_roles
  measure restore restore_into_scratch "$database"
  measure verify prove_scratch "$database"
  if ! is_proved; then
    print_verdict >&2
    fail "restored from $DUMP, but not what its manifest says: see above"
  fi
  if [[ -n $ROLES_FROM ]]; then measure application prove_application "$database" "$MANIFEST"; fi
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

# The copy that the drill proves, checked: sets DUMP, MANIFEST and GLOBALS_FILE. Where it is from is the report's .source.
take_copy() {
  DUMP=''
  if [[ $FROM != local ]]; then fetch "$1"; fi
  pick_dump "$DUMP" "$1"
  check_dump
  if [[ $FROM == local ]]; then find_globals; fi
}

# An older one that can be restored is no proof of the newest.
pass_over() { fail "$1. No older one is proved in its place"; }

# From off-host, below SCRATCH, with which it goes.
fetch() {
  DIRECTORY=$SCRATCH/copy
  mkdir -- "$DIRECTORY"
  if [[ $FROM == s3 ]]; then load_reader; fi
  begin_fetching
  fetch_dump '' "$1" ''
  DUMP=$FETCHED
  fetch_globals "$DUMP.json"
  # shellcheck disable=SC2034 # read by make_roles
  GLOBALS_FILE=$FETCHED
  end_fetching
}

# The key that was made for drills, unless the operator gave one. There is nobody to ask.
load_reader() {
  if [[ -z ${S3_READER_ACCESS_KEY_ID:-} && -n $DRILL_SECRETS ]]; then source_secrets "$DRILL_SECRETS"; fi
  if [[ -z ${S3_READER_ACCESS_KEY_ID:-} || -z ${S3_READER_SECRET_ACCESS_KEY:-} ]]; then
    fail "no reader's key: S3_READER_ACCESS_KEY_ID and S3_READER_SECRET_ACCESS_KEY must be in DRILL_SECRETS, which is" \
      "'$DRILL_SECRETS' (drillFrom: s3), or in the environment"
  fi
}

# Before anything is fetched: the copy, and what is made of it.
check_room_to_fetch() { check_scratch_space "$@"; }

note_download() { :; } # whatever a killed drill left goes with SCRATCH

describe_dump_of_drill() {
  jq -c --arg source "$FROM" '{database, source: $source, dump: .file, dumped: .started, size, sha256,
    database_size, server_version}' -- "$MANIFEST"
}

major_of() { read_manifest "$1" '.server_version | capture("^(?<major>[0-9]+)").major'; }

# Roles of GLOBALS_FILE, with the attributes that owning some things takes, and their memberships. Without them objects
# belong to the scratch server's superuser, and grants are left out.
make_roles() {
  ROLES_FROM=''
  if [[ -z $GLOBALS_FILE ]]; then
    warn "no verified globals in $(name_source): owners and grants are not restored in this drill"
    return
  fi
  check_content "$GLOBALS_FILE"
  print_statements "$GLOBALS_FILE" | sed -z -n -e '/^CREATE ROLE /p' -e '/^ALTER ROLE .* WITH .*SUPERUSER /p' -e '/^GRANT .* ON \(TABLESPACE\|PARAMETER\) /d' \
    -e '/^GRANT /{s/ GRANTED BY .*;$/;/;p}' | tr '\0' '\n' >"$WORK/roles.sql"
  if ! run_sql postgres <"$WORK/roles.sql" 2>"$WORK/roles.err"; then
    fail "the roles of $GLOBALS_FILE cannot be made: $(<"$WORK/roles.err")"
  fi
  ROLES_FROM=${GLOBALS_FILE##*/}
}

name_source() { if [[ $FROM == local ]]; then printf '%s' "$BACKUP_DIRECTORY"; else "${FROM}_place" ''; fi; }

# In one transaction, if it has the locks, so that what it writes needs no log: the server has wal_level minimal.
restore_into_scratch() {
  local database=$1 owner='' options=(--exit-on-error --no-tablespaces)
  if ((LOCKS <= DRILL_MOST_LOCKS)); then options+=(--single-transaction); fi
  read_definition "$database" "$database" --no-tablespaces
  if [[ -n $ROLES_FROM ]]; then owner=$(read_manifest "$MANIFEST" '.owner // ""'); fi
  if ! { run_sql postgres <<<"$(<"$WORK/definition.create")${owner:+ OWNER = $(quote_name "$owner")};" && run_sql postgres <"$WORK/definition.settings"; } 2>"$WORK/restore.err"; then
    fail "the database cannot be created on the scratch server: $(<"$WORK/restore.err")"
  fi
  if [[ -z $ROLES_FROM ]]; then options+=(--no-owner --no-privileges); fi
  if ! pg_restore --dbname="$(connect_to "$database")" "${options[@]}" "$DUMP" 2>"$WORK/restore.err"; then
    fail "pg_restore failed: $(<"$WORK/restore.err")"
  fi
}

# As after a restore, the planner's statistics are made meanwhile.
prove_scratch() {
  local database=$1 statistics
  run_sql "$database" <<<'ANALYZE;' &
  statistics=$!
  RUNNING+=("$statistics")
  verify_database "$database" manifest "$MANIFEST" "$database"
  await "$statistics" || warn "not all statistics for the planner of '$database' could be made"
}

end_part() {
  local status=$?
  trap - ERR
  be_deaf
  stop_running
  remove_scratch
  write_result "$status"
  exit "$status"
}
