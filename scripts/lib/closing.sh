# shellcheck shell=bash
# Nobody but superusers connects to a database while it is replaced. That is a property of the database, which outlives
# this process: what it was is written down first, so that the next run can undo it whatever happened to this one.

# The database that is closed now, and its connection limit when it is not.
CLOSED='' CLOSED_LIMIT=''

closed_state() { printf '%s/restore.closed' "$BACKUP_STATE"; }

# Refuses new connections, ends those that are there.
close_database() {
  local database=$1 limit
  limit=$(query postgres "select datconnlimit from pg_database where datname = $(quote_literal "$database");")
  note_closed "$database" "$limit" ''
  CLOSED=$database CLOSED_LIMIT=$limit
  tell "nobody but superusers can connect to '$database' from here on"
  if ! limit_connections "$database" 0 || ! end_connections "$database"; then
    fail "connections to '$database' cannot be refused: nothing was restored"
  fi
}

open_database() {
  if ! limit_connections "$CLOSED" "$CLOSED_LIMIT"; then
    warn "connections to '$CLOSED' are still refused: run $(name_command restore) --clean-up once the server answers"
    return 1
  fi
  if ((!PLAN)); then rm -f -- "$(closed_state)"; fi
  tell "connections to '$CLOSED' are allowed as before"
  CLOSED=''
}

limit_connections() { perform_sql "alter database $(quote_name "$1") connection limit $2"; }

# One that is still there after ten seconds is a superuser's or does not listen; pg_restore waits for its locks.
end_connections() {
  local tries those left
  those="from pg_stat_activity where datname = $(quote_literal "$1") and pid <> pg_backend_pid() and backend_type in ('client backend', 'walsender')"
  perform_sql "select pg_terminate_backend(pid) $those" || return
  if ((PLAN)); then return; fi
  for ((tries = 0; tries < 100; tries++)); do
    left=$(query postgres "select count(*) $those;") || return
    if [[ $left == 0 ]]; then return; fi
    sleep 0.1
  done
}

# DATABASE LIMIT SAFETY-DUMP: for the run after one that was cut off.
note_closed() {
  if ((PLAN)); then return; fi
  jq -n --arg database "$1" --argjson limit "$2" --arg safety "$3" --arg dump "$DUMP" \
    '{database: $database, limit: $limit, dump: $dump, safety: $safety}' | write_note "$(closed_state)"
}

# Writes standard input to a file that is there whole or not at all.
write_note() {
  write_new "$1.new"
  sync -- "$1.new"
  mv -- "$1.new" "$1"
}

# Writes standard input to a new file. The directory is the role's: whatever waits there under that name, a link for
# example, is not written through.
write_new() {
  rm -rf -- "$1"
  (set -o noclobber && cat >"$1")
}

# After a run that was cut off, e.g. by kill -9 or a power cut.
reopen_closed() {
  local file database safety
  file=$(closed_state)
  if [[ ! -e $file ]]; then return; fi
  check_trusted "$file" 'note'
  database=$(jq -r .database -- "$file") safety=$(jq -r .safety -- "$file")
  CLOSED=$database CLOSED_LIMIT=$(jq -r '.limit | numbers' -- "$file")
  warn "a restore of $(jq -r .dump -- "$file") into '$database' was cut off"
  if ! database_exists "$database"; then
    CLOSED=''
    if ((!PLAN)); then rm -f -- "$file"; fi
    warn "database '$database' does not exist any more"
  else
    open_database || fail "database '$database' cannot be opened again: nothing else is done before it is"
    if [[ -n $safety ]]; then
      warn "'$database' holds either all of that dump or all that it held before, never a mix. Should it be the wrong one:" \
        "what it held before is $safety ($(format_command "$(name_command restore)" --file "$safety" --into "$database"))"
    else
      warn "'$database' is as it was: the restore had not begun to change it"
    fi
  fi
}
