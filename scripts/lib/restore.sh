# shellcheck shell=bash
# The two ways to bring a dump back. Every command that changes something goes through perform, which also prints the
# plan, so that what is shown is what is run.

PLAN=0

perform() {
  if ((PLAN)); then format_command "$@"; else "$@"; fi
}

announce() {
  if ((!PLAN)); then say "$*"; fi
}

# Into an existing database, all or nothing.
restore_into() {
  local target=$1
  take_safety_dump "$target"
  announce "restoring $DUMP into '$target' in one transaction"
  if ! perform "${AS_ACCOUNT[@]}" pg_restore --dbname="$(name_database "$target")" --clean --if-exists --exit-on-error \
    --single-transaction "$DUMP"; then
    fail "pg_restore failed: database '$target' is as it was before. The safety dump $SAFETY_DUMP is not needed for that"
  fi
}

# What the database holds now, kept until an operator removes it.
take_safety_dump() {
  local target=$1 partial
  SAFETY_DUMP=$BACKUP_DIRECTORY/manual_before_restore_$(encode_name "$target")_$(make_timestamp).dump
  partial=$(partial_of "$SAFETY_DUMP")
  SAFETY_PARTIAL=$partial
  if ! perform "${AS_ACCOUNT[@]}" pg_dump --dbname="$(name_database "$target")" --format=custom --lock-wait-timeout="$LOCK_WAIT" \
    --file="$partial"; then
    fail "the safety dump of '$target' failed: nothing was restored, the database is as it was"
  fi
  perform "${AS_ACCOUNT[@]}" pg_restore --list --file=/dev/null "$partial"
  perform sync "$partial"
  perform mv "$partial" "$SAFETY_DUMP"
  SAFETY_PARTIAL=''
  announce "safety dump: $SAFETY_DUMP"
}

# Into a new, empty database that belongs to the application's role.
restore_new() {
  local target=$1 owner
  local options=(--template=template0 --maintenance-db=postgres)
  owner=$(find_owner)
  mapfile -t -O "${#options[@]}" options < <(list_creation_options)
  if [[ -n $owner ]]; then options+=("--owner=$owner"); fi
  if ! perform "${AS_ACCOUNT[@]}" createdb "${options[@]}" -- "$target"; then
    fail "database '$target' cannot be created: nothing was restored"
  fi
  CREATED_DATABASE=$target
  announce "restoring $DUMP into the new database '$target'"
  if ! perform "${AS_ACCOUNT[@]}" pg_restore --dbname="$(name_database "$target")" --no-owner ${owner:+"--role=$owner"} \
    --exit-on-error "$DUMP"; then
    fail "pg_restore failed: the new database '$target' is removed again"
  fi
  CREATED_DATABASE=''
}

# The owner of the database that was dumped, from the server or else from the manifest, if such a role is here.
find_owner() {
  local owner
  owner=$(query postgres "select pg_get_userbyid(datdba) from pg_database where datname = $(quote_literal "$SOURCE");")
  if [[ -z $owner && -n $MANIFEST ]]; then owner=$(read_manifest "$MANIFEST" '.owner // ""'); fi
  if [[ -n $owner ]] && role_exists "$owner"; then
    printf '%s' "$owner"
  else
    warn "the role that owned '$SOURCE'${owner:+, $owner,} is not on this server: everything will belong to postgres"
  fi
}

list_creation_options() {
  if [[ -n $MANIFEST ]]; then
    read_manifest "$MANIFEST" '"--encoding=\(.encoding)", "--lc-collate=\(.collate)", "--lc-ctype=\(.ctype)"'
  else
    query postgres "select concat('--encoding=', pg_encoding_to_char(encoding), E'\n--lc-collate=', datcollate,
      E'\n--lc-ctype=', datctype) from pg_database where datname = $(quote_literal "$SOURCE");"
  fi
}

# pg_restore leaves no statistics; without them the application's and our own queries crawl.
refresh_statistics() {
  perform "${AS_ACCOUNT[@]}" vacuumdb --analyze-only --quiet --dbname="$(name_database "$1")"
}

# What a restore that ends early leaves behind: nothing.
clean_up_restore() {
  if [[ -n ${SAFETY_PARTIAL:-} ]]; then rm -f -- "$SAFETY_PARTIAL"; fi
  if [[ -n ${CREATED_DATABASE:-} ]] && ((!PLAN)); then
    "${AS_ACCOUNT[@]}" dropdb --maintenance-db=postgres --if-exists --force -- "$CREATED_DATABASE" ||
      warn "database '$CREATED_DATABASE' could not be removed: drop it by hand"
  fi
}
