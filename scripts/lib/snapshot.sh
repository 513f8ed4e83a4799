# shellcheck shell=bash
# One moment of a database, held open: a psql session that exports its snapshot to pg_dump and reads facts in it.

# Opens the session. Sets SNAPSHOT_ID and SNAPSHOT_PID; facts about tables are written to the work directory meanwhile.
open_snapshot() {
  local database=$1 work=$2 answer='' answers questions
  coproc SNAPSHOT {
    exec "${AS_ACCOUNT[@]}" psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 \
      --set=work="$work" --dbname="$(connect_to "$database") client_encoding=UTF8" 2>"$work/session.err"
  }
  # shellcheck disable=SC2153 # SNAPSHOT_PID is the coprocess's
  SESSION_PID=$SNAPSHOT_PID
  RUNNING+=("$SESSION_PID")
  answers=${SNAPSHOT[0]} questions=${SNAPSHOT[1]}
  exec {SESSION_OUT}<&"$answers" {SESSION_IN}>&"$questions"
  exec {answers}<&- {questions}>&- # one writer only, so that closing it ends the session
  tell_session < <(
    print_session_settings
    printf "set local lock_timeout = '%s';\n" "$LOCK_WAIT"
    echo 'set local max_parallel_workers_per_gather = 0;' # the other processors are for pg_dump and the users
    echo 'select pg_export_snapshot();'
    print_table_locks
    printf '%s\n' '\echo ready'
  )
  # shellcheck disable=SC2034 # for pg_dump and the manifest
  read -r SNAPSHOT_ID <&"$SESSION_OUT" || fail "no snapshot: $(<"$work/session.err")"
  read -r answer <&"$SESSION_OUT" || fail "tables cannot be locked for reading: $(<"$work/session.err")"
  if [[ $answer != ready ]]; then fail "unexpected answer of the snapshot session: $answer"; fi
}

# DATABASE WORK: writes the questions for the facts, beside whatever is done until the snapshot is open.
prepare_facts() {
  print_questions "$1" >"$2/questions" 2>"$2/questions.err" &
  QUESTIONS_PID=$!
  RUNNING+=("$QUESTIONS_PID")
}

# WORK: starts to read the facts, beside pg_dump.
begin_facts() {
  await "$QUESTIONS_PID" || fail "the questions about the database cannot be written: $(<"$1/questions.err")"
  tell_session <"$1/questions"
}

# A process of its own; what goes wrong is told by whoever waits for it.
print_questions() {
  local database=$1 checksums
  trap - ERR
  mapfile -t checksums < <(list_tables_of "$database" "${CHECKSUM_TABLES[@]}")
  echo '\o :work/counts'
  print_table_counts "$database"
  echo '\o :work/registered'
  print_registered_counts "$database"
  echo '\o :work/newest'
  print_newest_records "$database"
  echo '\o :work/structure'
  print_structure "$database"
  echo '\o :work/keys'
  print_foreign_keys unproved
  echo '\o :work/checksums'
  print_checksums "${checksums[@]}"
  echo '\o :work/application'
  print_application
  echo '\o :work/properties'
  print_properties
  echo '\o'
  printf '%s\n' '\echo done'
}

# A session that has ended is reported when its answer is read; until then whoever speaks to it is listened to.
tell_session() {
  cat 1>&"$SESSION_IN" 2>/dev/null || cat >/dev/null
}

# What a new database must be created with to hold this one.
print_properties() {
  cat <<'SQL'
select json_build_object('owner', pg_get_userbyid(datdba), 'encoding', pg_encoding_to_char(encoding),
  'collate', datcollate, 'ctype', datctype, 'database_size', pg_database_size(oid))
  from pg_catalog.pg_database where datname = current_database();
SQL
}

# Waits for the facts and lets the snapshot go.
finish_facts() {
  local work=$1 answer=''
  read -r answer <&"$SESSION_OUT" || true
  if [[ $answer != 'done' ]]; then fail "rows cannot be counted: $(<"$work/session.err")"; fi
  exec {SESSION_IN}>&- {SESSION_OUT}<&-
  await "$SESSION_PID" || fail "the snapshot session ended badly: $(<"$work/session.err")"
}
