# shellcheck shell=bash
# What belongs to no database: roles (without passwords), memberships, tablespaces. One SQL file a night, with a manifest,
# kept, let go and copied off-host like a dump.

# A night of its own, like a database's.
back_up_globals() {
  local name file started work
  begin_part globals
  # shellcheck disable=SC2153 # set by begin_part
  work=$WORK
  check_login "${DATABASES[0]}"
  name=$(choose_name "$GLOBALS" "$LABEL")
  file=$BACKUP_DIRECTORY/$name
  PARTIALS=("$(partial_of "$file")" "$(partial_of "$file.json")")
  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  : >"$work/session.err"
  # Passwords are for superusers to read; without them, any role can write this.
  write_hashed "${PARTIALS[0]}" "$work" pg_dumpall --globals-only --no-role-passwords \
    --database="$(connect_to "${DATABASES[0]}")" --lock-wait-timeout="$LOCK_WAIT"
  verify_written
  if [[ $(tail -n 5 -- "${PARTIALS[0]}") != *'cluster dump complete'* ]]; then
    fail "pg_dumpall did not come to its end: the last lines must say 'cluster dump complete'"
  fi
  write_globals_manifest "${PARTIALS[0]}" "$name" "$work" "$started" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)"
  commit_dump "$file"
  say "written and verified: $file, $(read_manifest "$file.json" .roles) roles, SHA-256 $DUMP_SHA256"
  pass_turn
  begin_copies "$GLOBALS" "$name" "$file"
  close_gate ENDED
  finish_copies "$GLOBALS"
}

# FILE(partial) NAME WORK STARTED ENDED
write_globals_manifest() {
  local file=$1 name=$2 work=$3 started=$4 ended=$5
  jq -n --argjson format "$MANIFEST_FORMAT" --arg role "$BACKUP_ROLE" --arg machine "$(uname -n)" \
    --arg server "$SERVER_VERSION" --arg client "$CLIENT_VERSION" --arg started "$started" --arg ended "$ended" \
    --arg file "$name" --arg called "$LABEL" --argjson size "$(stat -c %s -- "$file")" --arg sha256 "$DUMP_SHA256" \
    --argjson roles "$(grep -c '^CREATE ROLE ' -- "$file")" --rawfile warnings "$work/dump.err" '
    {format: $format, kind: "globals", database: "", role: $role, machine: $machine, server_version: $server,
     client_version: $client, started: $started, ended: $ended, file: $file,
     "label": (if $called == "" then null else $called end), size: $size, sha256: $sha256, compression: "none",
     warnings: ($warnings | split("\n") | map(select(. != ""))), roles: $roles}' | save_manifest "${file%/*}/$name.json"
}
