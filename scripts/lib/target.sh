# shellcheck shell=bash
# Whether the dump may go where it is to go. Everything is asked before anything is touched.

# Sets CREATES: whether this restore creates the database.
check_target() {
  CREATES=0
  check_source
  case $MODE in
    into) check_existing ;;
    new) if database_exists "$TARGET"; then check_empty; else CREATES=1; fi ;;
    as)
      if database_exists "$TARGET"; then
        fail "database '$TARGET' exists: --as needs a name that is free, --into restores into an existing one"
      fi
      CREATES=1
      ;;
  esac
  if [[ -n $JOBS ]] && ((!CREATES)); then
    fail "database '$TARGET' exists, so it is filled in one transaction, which --jobs excludes: drop it, or leave --jobs out"
  fi
  check_server
  check_extensions
  check_roles
  check_tablespaces
  choose_tables
  check_room
  check_locks
}

check_source() {
  if [[ -n $DATABASE && $DATABASE != "$SOURCE" ]]; then
    fail "$DUMP is of database '$SOURCE', not of '$DATABASE': if that is what you want, say --database '$SOURCE'"
  fi
}

check_existing() {
  local prepared size
  if ! database_exists "$TARGET"; then
    fail "database '$TARGET' does not exist: --into needs an existing one, --new and --as create one"
  fi
  check_writable
  check_lock "$BACKUP_STATE/lock"
  prepared=$(query postgres "select string_agg(quote_literal(gid), ', ') from pg_prepared_xacts
    where database = $(quote_literal "$TARGET");")
  if [[ -n $prepared ]]; then
    fail "database '$TARGET' has prepared transactions, for whose locks the restore would wait for ever: $prepared." \
      "commit prepared or rollback prepared each"
  fi
  if ((!${#TABLES[@]})); then # for the safety dump
    choose_compression
    size=$(query "$TARGET" "$SQL_DATABASE_SIZE;")
    check_space "$TARGET" "$size"
  fi
}

check_writable() {
  local closed
  closed=$(query "$TARGET" 'show default_transaction_read_only;')
  if [[ $closed == on ]]; then
    fail "database '$TARGET' takes no changes, by a setting of its own: alter database $(quote_name "$TARGET") reset" \
      "default_transaction_read_only, and set it again afterwards"
  fi
}

check_empty() {
  local found
  check_writable
  found=$(query "$TARGET" "$(print_content)")
  if [[ -n $found ]]; then
    fail "database '$TARGET' exists and is not empty, it holds e.g. ${found//$'\n'/, }: --new needs an empty one or a free" \
      "name, --into restores into an existing one"
  fi
}

# A few things that a new database does not have.
print_content() {
  cat <<'SQL'
select format('%s %s', kind, name) from (
  select 'schema' as kind, nspname::text as name from pg_catalog.pg_namespace
    where nspname <> all (array['public', 'information_schema']) and nspname !~ '^pg_'
  union all select 'relation', oid::regclass::text from pg_catalog.pg_class where oid >= 16384
    and relnamespace <> 'pg_toast'::regnamespace
  union all select 'function', oid::regprocedure::text from pg_catalog.pg_proc where oid >= 16384
  union all select 'type', oid::regtype::text from pg_catalog.pg_type where oid >= 16384 and typrelid = 0 and typelem = 0
  union all select 'extension', extname from pg_catalog.pg_extension where oid >= 16384
  union all select 'large object', oid::text from pg_catalog.pg_largeobject_metadata
) as content order by kind, name limit 5;
SQL
}

check_server() {
  local version
  version=$(query postgres "select current_setting('server_version_num')::int / 10000, pg_is_in_recovery();")
  if [[ $version == *'|t' ]]; then fail "this server is a standby, which takes no changes: restore on its primary"; fi
  # shellcheck disable=SC2153 # set by pick.sh
  if ((DUMPED_BY > ${version%|*})); then
    fail "$DUMP comes from PostgreSQL $DUMPED_BY, this server is ${version%|*}: must be $DUMPED_BY or newer"
  fi
}

check_extensions() {
  local wanted missing
  wanted=$(list_entries EXTENSION | sed -n 's/^.* EXTENSION - \(.*\) $/\1/p')
  missing=$(query postgres "select string_agg(name, ', ' order by name) from unnest(string_to_array($(quote_literal "$wanted"), E'\n')) as name
    where name not in (select name from pg_available_extensions);")
  if [[ -n $missing ]]; then
    fail "extensions that the dump needs are not installed on this machine: $missing. Install their packages first," \
      "e.g. postgresql-contrib or postgresql-<version>-<extension>"
  fi
}

# Sets NO_TABLESPACES, options of pg_restore: a server without them takes everything all the same.
check_tablespaces() {
  local missing
  NO_TABLESPACES=()
  missing=$(query postgres "select string_agg(name, ', ' order by name) from unnest(string_to_array($(quote_literal \
    "$(list_tablespaces)"), E'\n')) as name
    where name not in (select spcname from pg_tablespace);")
  if [[ -n $missing ]]; then
    warn "everything goes into the default tablespace, because those of the dump are not on this server: $missing"
    # shellcheck disable=SC2034 # read by restore.sh
    NO_TABLESPACES=(--no-tablespaces)
  fi
}

list_tablespaces() {
  {
    sed -n 's/^-- Name: .*; Tablespace: //p' "$WORK/statements"
    if ((CREATES)); then sed -nE "s/^CREATE DATABASE .* TABLESPACE = ($NAME_PATTERN);\$/\1/p" "$WORK/statements" | unquote_lines; fi
  } | sort -u
}

# The restored rows and indexes take about what they took where they came from, beside what is there until the end; their
# write-ahead log, as much as is kept; and a safety dump (check_existing), where that is on the same disk.
check_room() {
  local directory needed free log what='the restored database and its log'
  directory=$(query postgres 'show data_directory;')
  if ((${#TABLES[@]})) || [[ ! -d $directory ]]; then return; fi # no telling how much of it a table is
  if [[ -n $MANIFEST ]]; then needed=$(read_manifest "$MANIFEST" '.database_size // .size'); else needed=$(size_of_dump "$DUMP"); fi
  log=$(query postgres "select pg_size_bytes(current_setting('max_wal_size'));")
  needed=$((needed + (log < needed ? log : needed)))
  if [[ $MODE == into && $(stat -c %d -- "$directory") == "$(stat -c %d -- "$BACKUP_DIRECTORY")" ]]; then
    needed=$((needed + EXPECTED_SIZE)) what+=', with the safety dump,'
  fi
  free=$(df --output=avail --block-size=1 -- "$directory" | tail -n 1)
  if ((needed > free)); then
    fail "not enough space in $directory: $what take about $(format_size "$needed") ($needed bytes)," \
      "$(format_size "$free") ($free bytes) are free"
  fi
}

# What is replaced in one transaction is locked until its end, what is dropped and what takes its place. If that turns out
# to be too much, everything is as before, but nobody could use it meanwhile: who confirms should know.
check_locks() {
  local locks most
  if [[ $MODE != into ]] || ((${#TABLES[@]})); then return; fi
  locks=$((2 * $(count_locks)))
  most=$(query postgres "select current_setting('max_locks_per_transaction')::int *
    (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int);")
  if ((locks > most)); then
    warn "this takes up to $locks locks, and the server is sure to have $most: should it fail with 'out of shared memory'," \
      "raise max_locks_per_transaction and restart PostgreSQL, or restore --as another database and rename it"
  fi
}

# Only a restore over something that is there asks.
confirm() {
  local answer=''
  if ((PLAN || YES)) || [[ $MODE != into ]]; then return; fi
  if ((${#TABLES[@]})); then
    printf "%s\n  adds to database '%s': %s. Type the name of that database to go on: " "$DUMP" "$TARGET" "${TABLES[*]}" >&2
  else
    printf "%s, of database '%s',\n  replaces what is in database '%s'. Nobody can use it meanwhile. Type its name to go on: " \
      "$DUMP" "$SOURCE" "$TARGET" >&2
  fi
  read -r answer || true
  if [[ $answer != "$TARGET" ]]; then fail "not confirmed ('$answer' is not '$TARGET'): nothing was touched"; fi
}
