#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# Proves what a database holds, against a dump's manifest or another database.
set -Eeuo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 0077

library=$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/lib
# shellcheck source=lib/log.sh
source "$library/log.sh"
# shellcheck source=lib/settings.sh
source "$library/settings.sh"
# shellcheck source=lib/account.sh
source "$library/account.sh"
# shellcheck source=lib/preflight.sh
source "$library/preflight.sh"
# shellcheck source=lib/postgres.sh
source "$library/postgres.sh"
# shellcheck source=lib/facts.sh
source "$library/facts.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/verify.sh
source "$library/verify.sh"

print_help() {
  cat <<'HELP'
Usage: verify.sh --database NAME (--manifest FILE | --against DATABASE) [--json]

Proves, as root and reading only:
  1. the exact number of rows of every table equals the manifest's, or the other database's
  2. the newest records of the configured tables (NEWEST_RECORDS) are the same
  3. every foreign key holds: no row refers to one that is not there

  --manifest FILE  manifest of a dump: a path, or a name in the backup directory; that of the dump's name works too
  --json           the verdict as JSON

Exit status: 0 all of it proved; 1 not proved, or it could not be checked; 2 wrong usage.
HELP
}

main() {
  read_options "$@"
  require_root
  load_settings
  isolate_client
  require_commands psql jq runuser awk
  AS_ACCOUNT=(runuser -u postgres --)
  WORK=$(mktemp -d)
  if [[ -n $MANIFEST ]]; then
    find_manifest
    verify_database "$DATABASE" manifest "$MANIFEST" "$(read_manifest "$MANIFEST" .database)"
  else
    verify_database "$DATABASE" database "$AGAINST" "$AGAINST"
  fi
  if ((AS_JSON)); then print_verdict_json; else print_verdict; fi
  if ! is_proved; then fail "database '$DATABASE' is not what it must be: see above"; fi
}

read_options() {
  DATABASE='' MANIFEST='' AGAINST='' AS_JSON=0
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      --json) AS_JSON=1 ;;
      --database | --manifest | --against)
        if [[ -z ${2:-} ]]; then refuse_usage "$1 needs a value"; fi
        case $1 in
          --database) DATABASE=$2 ;;
          --manifest) MANIFEST=$2 ;;
          --against) AGAINST=$2 ;;
        esac
        shift
        ;;
      *) refuse_usage "unknown option '$1'" ;;
    esac
    shift
  done
  if [[ -z $DATABASE ]]; then refuse_usage "--database is missing"; fi
  if [[ -z $MANIFEST && -z $AGAINST || -n $MANIFEST && -n $AGAINST ]]; then
    refuse_usage "one of --manifest and --against is needed"
  fi
}

find_manifest() {
  if [[ $MANIFEST != */* ]]; then MANIFEST=$BACKUP_DIRECTORY/$MANIFEST; fi
  MANIFEST=${MANIFEST%.json}.json
  if ! jq -e '.tables | type == "object"' -- "$MANIFEST" >/dev/null 2>&1; then
    fail "$MANIFEST is not a readable manifest: must be the .json beside a dump"
  fi
}

finish() {
  local status=$1
  rm -rf -- "${WORK:-}"
  exit "$(visible_status "$status")"
}
trap 'finish "$?"' EXIT

main "$@"
