# shellcheck shell=bash
# The ways to bring a dump back. Every command that changes a database goes through perform, which also prints the plan,
# so that what is shown is what is run.

PLAN=0

# What an end from here on must say of the database that is being replaced; empty once it has been said.
HOLDS=''

# The database that is being filled and does not have its name yet.
CREATED_DATABASE=''

# What the command that is performed reads.
PERFORM_INPUT=/dev/null

perform() {
  local status=0
  if ((PLAN)); then
    format_command "$@"
    return
  fi
  "$@" <"$PERFORM_INPUT" &
  RUNNING+=("$!")
  await "$!" || status=$? # a signal is heard at once, not when the command has ended
  return "$status"
}

# One statement.
perform_sql() { perform_psql --command="$*"; }

# FILE: its statements, in one transaction. As input, because arguments have a limit, and there is one for each role.
perform_statements() {
  local PERFORM_INPUT=$1 statements
  if ((PLAN)); then
    mapfile -t statements <"$1"
    printf '%s | ' "$(format_command printf '%s\n' "${statements[@]}")"
  fi
  perform_psql --single-transaction --file=-
}

perform_psql() {
  perform "${AS_ACCOUNT[@]}" psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --output=/dev/null --dbname=postgres "$@"
}

# What happens, for people; in a plan a comment.
tell() {
  if ((PLAN)); then printf '# %s\n' "$*"; else say "$*"; fi
}

# A list in WORK, for pg_restore, where postgres can read it; a plan says how to write it there.
hand_over() {
  local file=$WORK/$1 entries
  if ((!PLAN)); then
    chmod 0644 -- "$file"
    return
  fi
  mapfile -t entries <"$file"
  format_command mkdir -p -m 0711 -- "$WORK"
  printf '%s >%s\n' "$(format_command printf '%s\n' "${entries[@]}")" "$file"
  format_command chmod 0644 -- "$file"
}

# The plan's, that is; a restore removes its own at the end.
take_back_lists() {
  if ((PLAN)); then format_command rm -r -- "$WORK"; fi
}

# Into an existing database, all or nothing.
restore_into() {
  check_lock "$BACKUP_STATE/lock" # again: the night may have begun while a name was typed
  # shellcheck disable=SC2153 # set by restoreOptions.sh
  if ((${#TABLES[@]})); then
    restore_tables "$TARGET"
    prove
    return
  fi
  HOLDS="'$TARGET' is as it was: nothing of the dump is in it"
  close_database "$TARGET"
  take_safety_dump "$TARGET"
  if ((!PLAN)); then note_closed "$TARGET" "$CLOSED_LIMIT" "$SAFETY_DUMP"; fi
  tell "restoring $DUMP into '$TARGET' in one transaction"
  HOLDS="'$TARGET' holds either all of $DUMP or all that it held before, never a mix$(describe_safety_dump)"
  if ! replace_content "$TARGET"; then
    HOLDS=''
    fail "pg_restore failed: database '$TARGET' is as it was before. The safety dump $SAFETY_DUMP is not needed for that"
  fi
  HOLDS="'$TARGET' holds what is in $DUMP, not proved$(describe_safety_dump)"
  prove # before anybody else can change it
}

# How to get back what a restore replaced.
describe_safety_dump() {
  if [[ -z $SAFETY_DUMP ]]; then return; fi
  printf '. What was there before: %s (%s)' "$SAFETY_DUMP" \
    "$(format_command "$(name_command restore)" --file "${SAFETY_DUMP##*/}" --into "$TARGET")"
}

# --clean drops in the reverse order of the table of contents. A partition's key that is part of its table's goes with that
# one and cannot be dropped before it, which pg_dump does not see to.
replace_content() {
  local options=(--clean --if-exists --exit-on-error --single-transaction "${NO_TABLESPACES[@]}")
  "${AS_ACCOUNT[@]}" pg_restore --list --verbose -- "$DUMP" | awk -f "${BASH_SOURCE[0]%/*}/dropOrder.awk" >"$WORK/order.list" || return
  if [[ -s $WORK/order.list ]]; then
    hand_over order.list
    options+=(--use-list="$WORK/order.list")
  fi
  perform "${AS_ACCOUNT[@]}" pg_restore --dbname="$(name_database "$1")" "${options[@]}" "$DUMP" || return
  if [[ -s $WORK/order.list ]]; then take_back_lists; fi
}

# Into a new database. It gets its name when it is whole.
restore_new() {
  local target=$TARGET
  if ((CREATES)); then
    target=$(working_name)
    create_database "$target"
  fi
  if ((${#TABLES[@]})); then restore_tables "$target"; else restore_whole "$target"; fi
  if ((CREATES)); then finish_database "$target"; fi
  prove
}

working_name() { printf '%s.restoring' "${BACKUP_NAME:0:50}"; }

create_database() {
  local database=$1
  read_definition "$database" "$TARGET" "${NO_TABLESPACES[@]}"
  tell "restoring $DUMP into the new database '$TARGET'"
  CREATED_DATABASE=$database
  if ! perform_sql "$(<"$WORK/definition.create")${NEW_OWNER:+ OWNER = $(quote_name "$NEW_OWNER")}" ||
    { [[ -s $WORK/definition.settings ]] && ! perform_statements "$WORK/definition.settings"; }; then
    fail "database '$TARGET' cannot be created: nothing was restored"
  fi
}

# Those on the database itself. The job's own role may connect to databases that are backed up, and to no copy of one: that
# would be drift, which the next pulumi up takes away.
print_grants() {
  local database pattern="^GRANT .* TO \"?$BACKUP_ROLE\"?;\$"
  for database in "${DATABASES[@]}"; do
    if [[ $database == "$TARGET" ]]; then pattern='^$'; fi
  done
  grep -vE -- "$pattern" "$WORK/definition.grants" || true
}

# Gives the database its name, and in the same transaction what else it is.
finish_database() {
  {
    printf 'ALTER DATABASE %s RENAME TO %s;\n' "$(quote_name "$1")" "$(quote_name "$TARGET")"
    cat -- "$WORK/definition.properties"
    if ((!LEAVES_GRANTS)); then print_grants; fi
  } >"$WORK/finish.sql"
  if ! perform_statements "$WORK/finish.sql"; then fail "'$TARGET' cannot be made what the dump says: the new database is removed again"; fi
  CREATED_DATABASE=''
}

restore_whole() {
  local database=$1 options=()
  mapfile -t options < <(list_restore_options)
  if ! perform "${AS_ACCOUNT[@]}" pg_restore --dbname="$(name_database "$database")" "${options[@]}" --exit-on-error "$DUMP"; then
    fail_new
  fi
}

# --jobs and one transaction exclude each other; a database that this run created needs neither to be removed again.
list_restore_options() {
  if [[ $MODE == new ]]; then
    printf '%s\n' --no-owner ${NEW_OWNER:+"--role=$NEW_OWNER"}
    if ((LEAVES_GRANTS)); then printf '%s\n' --no-privileges; fi
  fi
  if ((${#NO_TABLESPACES[@]})); then printf '%s\n' "${NO_TABLESPACES[@]}"; fi
  if [[ -n $JOBS ]]; then printf '%s\n' "--jobs=$JOBS"; elif ((!CREATES)); then printf '%s\n' --single-transaction; fi
}

fail_new() {
  local hint=''
  if [[ $MODE == new ]]; then hint=". If the owner's role may not do what the dump asks for: --as restores as superuser"; fi
  if ((CREATES)); then
    fail "pg_restore failed: the new database '$TARGET' is removed again$hint"
  fi
  fail "pg_restore failed: database '$TARGET' is empty as before$hint"
}

# pg_restore leaves no statistics; without them the application's queries crawl. They are made while the proof is, which
# takes about as long. Not by vacuumdb, which leaves out partitioned tables.
begin_statistics() {
  local table tables=''
  for table in "${TABLES[@]}"; do tables+=${tables:+, }$(quote_table "$table"); done
  set -- "${AS_ACCOUNT[@]}" psql --no-psqlrc --quiet --dbname="$(name_database "$TARGET")" --command="ANALYZE $tables"
  if ((PLAN)); then
    perform "$@"
  else
    "$@" &
    STATISTICS_PID=$!
    RUNNING+=("$STATISTICS_PID")
  fi
}

# What is restored is no worse without, only slower: a foreign partition may be out of reach here.
finish_statistics() {
  await "$STATISTICS_PID" ||
    warn "not all statistics for the planner of '$TARGET' could be made: run ANALYZE in it once that is mended"
}

prove() {
  local kind=nothing manifest=$MANIFEST
  if [[ -n $MANIFEST ]]; then kind=manifest; fi
  begin_statistics
  if ((PLAN)); then
    if [[ -n $MANIFEST ]] && ((!${#TABLES[@]})); then
      format_command env "BACKUP_ENV=$BACKUP_ENV" "$(dirname -- "${BASH_SOURCE[0]}")/../verify.sh" --database "$TARGET" --manifest "$MANIFEST"
    fi
    if [[ -n $CLOSED ]]; then open_database; fi
    return
  fi
  if ((${#TABLES[@]})) && [[ -n $MANIFEST ]]; then manifest=$(narrow_manifest); fi
  verify_database "$TARGET" "$kind" "$manifest" "$SOURCE"
  print_verdict
  finish_statistics
  if ! is_proved; then
    HOLDS=''
    fail "restored, but '$TARGET' is not what it must be: see above$(describe_safety_dump)"
  fi
  if [[ -n $CLOSED ]]; then open_database; fi
  prove_application "$TARGET" "$MANIFEST"
  HOLDS=''
  say "restored and proved: '$TARGET' from $DUMP$(describe_safety_dump)"
}

# Picking a dump, hears of a newer one that is damaged.
pass_over() { warn "passed over: $1"; }

# What a restore that ends early leaves behind: nothing.
clean_up_restore() {
  if ((PLAN)); then return; fi
  if ((${#PARTIALS[@]})); then rm -rf -- "${PARTIALS[@]}"; fi
  if [[ -n $CREATED_DATABASE ]]; then drop_unfinished "$CREATED_DATABASE"; fi
  if [[ -n $CLOSED ]]; then open_database; fi
  if [[ -n $HOLDS ]]; then write_line 3 "error: $HOLDS"; fi
}

drop_unfinished() {
  perform "${AS_ACCOUNT[@]}" dropdb --maintenance-db=postgres --if-exists --force -- "$1" ||
    warn "database '$1', half restored, could not be removed: drop it, or run $(name_command restore) --clean-up"
}

# From off-host into DIRECTORY. Sets FILE, and GLOBALS_FILE if they are wanted.
fetch() {
  check_directory_of_work
  begin_fetching
  # shellcheck disable=SC2153 # of restoreOptions.sh
  fetch_dump "$FILE" "$DATABASE" "$MOMENT"
  FILE=$FETCHED
  if ((WITH_GLOBALS)); then
    fetch_globals "$FILE.json"
    # shellcheck disable=SC2034 # read by roleRestore.sh
    GLOBALS_FILE=$FETCHED
    if [[ -z $FETCHED ]]; then fail "--globals: there is no globals_<time>.sql at $("${FROM}_place" ''), with a manifest that fits"; fi
  fi
  end_fetching
}

check_directory_of_work() {
  if [[ ! -d $DIRECTORY ]]; then fail "--work is '$DIRECTORY': must be a directory that exists"; fi
  if ! "${AS_ACCOUNT[@]}" test -x "$DIRECTORY"; then
    fail "--work is '$DIRECTORY': postgres must be able to enter it, because pg_restore runs as postgres"
  fi
}

check_room_to_fetch() {
  local size=$2 free
  free=$(df --output=avail --block-size=1 -- "$DIRECTORY" | tail -n 1)
  if ((size > free)); then
    fail "not enough space in $DIRECTORY: $(read_manifest "$1" .file) takes $(format_size "$size"), $(format_size "$free") are" \
      "free: give a --work directory"
  fi
}

# For the run after one that was cut off.
note_download() { printf '%s\n' "$WORK" "$@" | write_note "$(work_note)"; }

work_note() { printf '%s/restore.work' "$BACKUP_STATE"; }

remove_work_directory() {
  if [[ -z ${WORK:-} ]]; then return; fi
  rm -rf -- "$WORK"
  rm -f -- "$(work_note)"
  WORK=''
}

# The work directory of a run that was cut off, and what it had fetched by halves. Also by a run that only plans: with the
# note, nothing else would know of them.
remove_noted() {
  local note noted file name
  note=$(work_note)
  if [[ ! -e $note ]]; then return; fi
  check_trusted "$note" 'note'
  mapfile -t noted <"$note"
  for file in "${noted[@]:1}"; do
    # A dump whose manifest is still a partial was about to be kept: see keep_download.
    name=${file##*/.} name=${file%/*}/${name%.download.json}
    if [[ $file == *.download.json && -e $file && -e $name && ! -e $name.json ]]; then rm -rf -- "$name"; fi
    if [[ -e $file ]]; then warn "$file, half fetched by a run that was cut off, is removed"; fi
    rm -rf -- "$file"
  done
  WORK=${noted[0]:-}
  remove_work_directory
}

# What a restore that was killed left behind. No other is active: the lock is ours.
clean_up_interrupted() {
  local file name
  if database_exists "$(working_name)"; then
    warn "database '$(working_name)' is half restored, by a run that was cut off: it is removed"
    drop_unfinished "$(working_name)"
  fi
  reopen_closed
  remove_noted
  for file in "$BACKUP_DIRECTORY/.manual_${SAFETY_LABEL}"_*.partial; do
    if [[ ! -e $file ]]; then continue; fi
    name=${file##*/.} name=${name%.partial}
    # A dump whose manifest is still a partial was about to be committed: see commit_dump.
    if [[ $name == *.json && ! -e $BACKUP_DIRECTORY/$name ]]; then perform rm -f -- "$BACKUP_DIRECTORY/${name%.json}"; fi
    perform rm -f -- "$file"
    warn "$file, half a safety dump of a run that was cut off, is removed"
  done
}
