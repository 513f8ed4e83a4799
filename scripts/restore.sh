#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# Brings a dump back, into an existing database or a new one, and proves the result.
set -Eeuo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 0027

library=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/lib
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
# shellcheck source=lib/structure.sh
source "$library/structure.sh"
# shellcheck source=lib/checksum.sh
source "$library/checksum.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/verify.sh
source "$library/verify.sh"
# shellcheck source=lib/verdict.sh
source "$library/verdict.sh"
# shellcheck source=lib/pick.sh
source "$library/pick.sh"
# shellcheck source=lib/restore.sh
source "$library/restore.sh"

print_help() {
  cat <<'HELP'
Usage: restore.sh (--file DUMP | latest --database NAME) (--into DATABASE | --new DATABASE) [--yes] [--plan]

Which dump:
  --file DUMP             a path, or a name in the backup directory
  latest --database NAME  the newest verified dump of that database
Where to:
  --into DATABASE         existing; a safety dump is taken first, and a failure leaves the database as it was
  --new DATABASE          created for it, owned by the owner of the dumped one; removed again on failure
  --yes                   do not ask for confirmation
  --plan                  check the dump, print the commands that would run, change nothing

Runs as root. The dump is checked (SHA-256) before anything is touched, and the result is verified afterwards.
Exit status: 0 restored and proved; 1 it failed (the last lines say what holds now); 2 wrong usage;
3 another restore is active.
HELP
}

main() {
  read_options "$@"
  require_root
  load_settings
  isolate_client
  require_commands psql pg_dump pg_restore createdb dropdb vacuumdb jq runuser flock sha256sum awk
  AS_ACCOUNT=(runuser -u postgres --)
  WORK=$(mktemp -d)
  take_lock "$BACKUP_STATE/restore.lock"
  pick_dump "$FILE" "$DATABASE"
  check_dump
  check_target
  if ((!PLAN)) && [[ -n $INTO ]]; then confirm; fi
  if [[ -n $INTO ]]; then restore_into "$INTO"; else restore_new "$NEW"; fi
  refresh_statistics "$INTO$NEW"
  prove
}

read_options() {
  FILE='' DATABASE='' INTO='' NEW='' YES=0 LATEST=0
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      latest) LATEST=1 ;;
      --yes) YES=1 ;;
      --plan) PLAN=1 ;;
      --file | --database | --into | --new)
        if [[ -z ${2:-} ]]; then refuse_usage "$1 needs a value"; fi
        case $1 in
          --file) FILE=$2 ;;
          --database) DATABASE=$2 ;;
          --into) INTO=$2 ;;
          --new) NEW=$2 ;;
        esac
        shift
        ;;
      *) refuse_usage "unknown option '$1'" ;;
    esac
    shift
  done
  if [[ -n $FILE ]] && ((LATEST)) || [[ -z $FILE ]] && ((!LATEST)); then
    refuse_usage "one of --file and latest is needed"
  fi
  if ((LATEST)) && [[ -z $DATABASE ]]; then refuse_usage "latest needs --database"; fi
  if [[ -n $INTO && -n $NEW || -z $INTO && -z $NEW ]]; then refuse_usage "one of --into and --new is needed"; fi
}

check_target() {
  if [[ -n $INTO ]] && ! database_exists "$INTO"; then
    fail "database '$INTO' does not exist: --into needs an existing one, --new creates one"
  fi
  if [[ -n $NEW ]] && database_exists "$NEW"; then
    fail "database '$NEW' exists: --new needs a name that is free, --into restores into an existing one"
  fi
}

confirm() {
  local answer=''
  if [[ $SOURCE != "$INTO" ]]; then warn "the dump is of database '$SOURCE', the target is '$INTO'"; fi
  if ((YES)); then return; fi
  printf "%s\n  replaces what is in database '%s'. Type the name of that database to go on: " "$DUMP" "$INTO" >&2
  read -r answer || true
  if [[ $answer != "$INTO" ]]; then fail "not confirmed ('$answer' is not '$INTO'): nothing was touched"; fi
}

prove() {
  local kind=nothing
  if [[ -n $MANIFEST ]]; then kind=manifest; fi
  if ((PLAN)); then
    if [[ -n $MANIFEST ]]; then format_command verify.sh --database "$INTO$NEW" --manifest "$MANIFEST"; fi
    return
  fi
  verify_database "$INTO$NEW" "$kind" "$MANIFEST" "$SOURCE"
  print_verdict
  if ! is_proved; then
    fail "restored, but '$INTO$NEW' is not what it must be: see above${INTO:+. Before the restore: $SAFETY_DUMP}"
  fi
  say "restored and proved: '$INTO$NEW' from $DUMP${INTO:+. What was there before: $SAFETY_DUMP}"
}

finish() {
  local status=$1
  trap - ERR
  clean_up_restore
  rm -rf -- "${WORK:-}"
  exit "$(visible_status "$status")"
}
trap 'finish "$?"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

main "$@"
