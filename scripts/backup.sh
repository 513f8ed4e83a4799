#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# One night: dumps every configured database, verifies each dump, copies it off-host, lets old ones go.
set -Eeuo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 0027

script=$(readlink -f -- "${BASH_SOURCE[0]}")
library=${script%/*}/lib
# shellcheck source=lib/log.sh
source "$library/log.sh"
# shellcheck source=lib/settings.sh
source "$library/settings.sh"
# shellcheck source=lib/account.sh
source "$library/account.sh"
# shellcheck source=lib/names.sh
source "$library/names.sh"
# shellcheck source=lib/lock.sh
source "$library/lock.sh"
# shellcheck source=lib/preflight.sh
source "$library/preflight.sh"
# shellcheck source=lib/postgres.sh
source "$library/postgres.sh"
# shellcheck source=lib/facts.sh
source "$library/facts.sh"
# shellcheck source=lib/snapshot.sh
source "$library/snapshot.sh"
# shellcheck source=lib/dump.sh
source "$library/dump.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/s3.sh
source "$library/s3.sh"
# shellcheck source=lib/offhost.sh
source "$library/offhost.sh"
# shellcheck source=lib/retention.sh
source "$library/retention.sh"

print_help() {
  cat <<'HELP'
Usage: backup.sh [--help]

Dumps every database named in the settings file (BACKUP_ENV), now. Runs as the backup role's account; started by root
it becomes that account.

Exit status: 0 everything succeeded, off-host copies included; 1 something failed (the last lines say what);
2 wrong usage; 3 another run is active.
HELP
}

main() {
  read_options "$@"
  load_settings
  become_role "$script" "$@"
  isolate_client
  prepare_night
  back_up_each
  if ((${#FAILED[@]})); then fail "the night failed for: ${FAILED[*]}. Nothing was removed; earlier dumps are untouched"; fi
  let_old_dumps_go
  say "the night succeeded: ${#DATABASES[@]} database(s)"
}

read_options() {
  local option
  for option in "$@"; do
    case $option in
      --help | -h)
        print_help
        exit 0
        ;;
      *) refuse_usage "unknown option '$option'" ;;
    esac
  done
}

prepare_night() {
  require_commands psql pg_dump pg_restore jq curl flock sha256sum tee numfmt
  check_directory "$BACKUP_DIRECTORY" "$BACKUP_ROLE" postgres 3770
  check_directory "$BACKUP_STATE" "$BACKUP_ROLE" "$(id -gn)" 750
  take_lock "$BACKUP_STATE/lock"
  load_secrets
  remove_leftovers
}

# Each database in a process of its own: the failure of one is not the end of the others.
back_up_each() {
  local database status
  FAILED=()
  for database in "${DATABASES[@]}"; do
    back_up "$database" &
    CHILD=$!
    status=0
    wait "$CHILD" || status=$?
    CHILD=''
    if ((status)); then FAILED+=("'$database'"); fi
  done
}

back_up() {
  local database=$1 name dump started
  trap end_database EXIT
  trap 'exit 143' TERM HUP
  LOG_SUBJECT=$database
  WORK=$(mktemp -d "$BACKUP_STATE/run.XXXXXX")
  check_login "$database"
  name=$(choose_name "$database")
  dump=$BACKUP_DIRECTORY/$name
  PARTIALS=("$(partial_of "$dump")" "$(partial_of "$dump.json")")

  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  open_snapshot "$database" "$WORK"
  begin_facts "$database"
  write_dump "$database" "${PARTIALS[0]}" "$WORK"
  finish_facts "$WORK"
  verify_dump "${PARTIALS[0]}" "$DUMP_SHA256"
  write_manifest "$database" "${PARTIALS[0]}" "$name" "$WORK" "$started" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)"
  commit_dump "$dump"
  report_dump "$dump.json"
  if [[ -n $S3_BUCKET ]]; then copy_off_host "$database"; fi
}

# A name that no dump has yet, whatever the clock does.
choose_name() {
  local name
  while name=$(encode_name "$1")_$(make_timestamp).dump && [[ -e $BACKUP_DIRECTORY/$name || -e $BACKUP_DIRECTORY/$name.json ]]; do
    sleep 0.1
  done
  printf '%s' "$name"
}

report_dump() {
  local manifest=$1 warning
  while IFS= read -r warning; do warn "$warning"; done < <(read_manifest "$manifest" '.warnings[]')
  say "dumped and verified: ${manifest%.json}, $(format_size "$(read_manifest "$manifest" .size)")," \
    "$(read_manifest "$manifest" '"\(.tables | length) tables, \([.tables[]] | add // 0) rows, SHA-256 \(.sha256)"')"
}

let_old_dumps_go() {
  local database
  for database in "${DATABASES[@]}"; do
    remove_expired "$database"
    report_unverified "$database"
  done
}

end_database() {
  local status=$?
  trap - ERR
  stop_running
  if ((${#PARTIALS[@]})); then rm -f -- "${PARTIALS[@]}"; fi
  rm -rf -- "${WORK:-}"
  exit "$status"
}

CHILD=''
stop_night() {
  local status=$1
  if [[ -n $CHILD ]]; then
    kill -TERM "$CHILD" 2>/dev/null || true
    wait "$CHILD" || true
  fi
  write_line 3 "error: stopped by a signal; partials removed, earlier dumps untouched"
  exit "$status"
}
trap 'stop_night 130' INT
trap 'stop_night 143' TERM HUP
trap 'exit "$(visible_status "$?")"' EXIT

main "$@"
