# shellcheck shell=bash
# Which dump to restore, and whether it is whole. Sets DUMP, MANIFEST (empty if it has none) and SOURCE, the database
# it was made from.

pick_dump() {
  local file=$1 database=$2 files
  if [[ -n $file ]]; then
    DUMP=$file
    if [[ $DUMP != */* ]]; then DUMP=$BACKUP_DIRECTORY/$DUMP; fi
    DUMP=$(readlink -m -- "$DUMP")
  else
    files=$(list_verified "$database")
    if [[ -z $files ]]; then fail "no verified dump of database '$database' in $BACKUP_DIRECTORY"; fi
    DUMP=$BACKUP_DIRECTORY/${files%%$'\n'*}
  fi
  if [[ ! -f $DUMP ]]; then fail "$DUMP does not exist: must be a dump, see ls $BACKUP_DIRECTORY"; fi
  if ! "${AS_ACCOUNT[@]}" test -r "$DUMP"; then
    fail "${AS_ACCOUNT[2]:-$(id -un)} cannot read $DUMP: put it into $BACKUP_DIRECTORY and let the group postgres read it"
  fi
}

# Nothing is touched before this has passed.
check_dump() {
  MANIFEST=''
  if [[ ${DUMP##*/} == manual_* && ! -e $DUMP.json ]]; then
    read_through
  else
    check_against_manifest
    MANIFEST=$DUMP.json
  fi
  # shellcheck disable=SC2034 # read by restore.sh
  SOURCE=$(find_source)
}

check_against_manifest() {
  local found
  if [[ ! -e $DUMP.json ]]; then
    fail "$DUMP has no manifest ($DUMP.json): it was never completed, or the manifest was not copied with it"
  fi
  if ! is_verified "$DUMP"; then
    fail "$DUMP does not fit its manifest: it has $(stat -c %s -- "$DUMP") bytes, the manifest says" \
      "$(jq -r '"\(.size) bytes of \(.file)"' -- "$DUMP.json" 2>/dev/null || echo 'nothing readable')"
  fi
  check_content "$DUMP"
  if ! found=$("${AS_ACCOUNT[@]}" pg_restore --list -- "$DUMP" 2>&1 >/dev/null); then
    fail "pg_restore cannot read $DUMP: $found"
  fi
  say "$DUMP is what its manifest says (SHA-256)"
}

read_through() {
  warn "$DUMP was made by hand and has no manifest: it is read through, which finds truncation but not every change," \
    "and there are no counts to compare with afterwards"
  run_through
}

# Decompresses everything; an archive that was cut off does not survive that.
run_through() {
  local found
  if ! found=$("${AS_ACCOUNT[@]}" pg_restore --file=/dev/null -- "$DUMP" 2>&1); then
    fail "$DUMP is damaged: pg_restore says: $found"
  fi
}

find_source() {
  if [[ -n $MANIFEST ]]; then
    read_manifest "$MANIFEST" .database
  else
    "${AS_ACCOUNT[@]}" pg_restore --list -- "$DUMP" | sed -n 's/^;     dbname: //p;' | head -n 1
  fi
}
