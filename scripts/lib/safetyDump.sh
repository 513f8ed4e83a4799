# shellcheck shell=bash
# What a database held before it was replaced: a labelled dump with its manifest, so that it can itself be restored and
# verified, and goes off-host with the next night. Kept until an operator removes it. Sets SAFETY_DUMP.

SAFETY_DUMP=''

take_safety_dump() {
  local database=$1 name
  SAFETY_DUMP=''
  name=$(choose_name "$database" "$SAFETY_LABEL")
  tell "safety dump of '$database': $BACKUP_DIRECTORY/$name"
  if ((PLAN)); then
    tell "(made in one snapshot with row counts for its manifest, which a dump by hand does not have)"
    format_command "${AS_ACCOUNT[@]}" pg_dump --dbname="$(name_database "$database")" --format=custom \
      --lock-wait-timeout="$LOCK_WAIT" --file="$BACKUP_DIRECTORY/$name"
  else
    write_safety_dump "$database" "$BACKUP_DIRECTORY/$name"
    say "safety dump: $BACKUP_DIRECTORY/$name, verified"
  fi
  # shellcheck disable=SC2034 # named in messages
  SAFETY_DUMP=$BACKUP_DIRECTORY/$name
}

# Errors end the run here: nothing has been restored yet.
write_safety_dump() {
  local database=$1 dump=$2 work started
  # shellcheck disable=SC2153 # set by restore.sh
  work=$WORK/safety
  # shellcheck disable=SC2034 # go into the manifest
  LABEL=$SAFETY_LABEL DUMPABILITY='[]' COUNT_TABLES=()
  # shellcheck disable=SC2034 # goes into the manifest
  SERVER_VERSION=$(query "$database" 'show server_version;')
  # shellcheck disable=SC2034 # goes into the manifest
  CLIENT_VERSION=$(pg_dump --version)
  make_work "$work"
  prepare_facts "$database" "$work"
  PARTIALS=("$(partial_of "$dump")" "$(partial_of "$dump.json")")
  claim "${PARTIALS[@]}"
  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  open_snapshot "$database" "$work"
  begin_facts "$work"
  write_dump "$database" "${PARTIALS[0]}" "$work"
  finish_facts "$work"
  verify_dump "${PARTIALS[0]}"
  write_manifest "$database" "${PARTIALS[0]}" "${dump##*/}" "$work" "$started" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)"
  commit_dump "$dump"
  # As every labelled dump, so that the night can copy it off-host. Not before: a night would take its partials for its own.
  chown --no-dereference "$BACKUP_ROLE:postgres" "$dump" "$dump.json"
}

# Makes the files that root writes to in a directory of others: through nobody's link.
claim() {
  local file
  for file in "$@"; do
    write_new "$file" </dev/null || fail "$file was put there meanwhile by an account that may write in $BACKUP_DIRECTORY"
  done
}

# The session that counts is postgres', the directory is root's: it finds its files there.
make_work() {
  local work=$1 answer
  install -d -m 0750 -g postgres -- "$work"
  for answer in counts registered newest structure keys checksums application properties; do
    install -m 0640 -o postgres -- /dev/null "$work/$answer"
  done
}
