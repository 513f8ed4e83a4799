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
# shellcheck source=lib/structure.sh
source "$library/structure.sh"
# shellcheck source=lib/checksum.sh
source "$library/checksum.sh"
# shellcheck source=lib/content.sh
source "$library/content.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/verify.sh
source "$library/verify.sh"
# shellcheck source=lib/verdict.sh
source "$library/verdict.sh"

print_help() {
  cat <<'HELP'
Usage: verify.sh --database NAME (--manifest FILE | --against DATABASE) [--checksum TABLE]... [--json]

Proves, as root and reading only:
  1. the exact number of rows of every table equals the manifest's, or the other database's
  2. the newest records of the configured tables (NEWEST_RECORDS) are the same
  3. every foreign key holds: no row refers to one that is not there
  4. the same extensions, views, sequences, indexes, constraints and triggers are there, in the same or a better state:
     sequences ahead of their columns, indexes valid, constraints validated, triggers enabled
  5. the rows of sampled tables are the same, by a checksum that does not depend on their order

  --manifest FILE   manifest of a dump: a path, or a name in the backup directory; that of the dump's name works too.
                    It holds checksums of the tables in CHECKSUM_TABLES
  --against NAME    another database of this server
  --checksum TABLE  with --against: compare the checksum of 'schema.table'; may be repeated
  --json            the verdict as JSON (docs/verification.md says what is in it)

Exit status: 0 all of it proved; 1 not proved, or it could not be checked; 2 wrong usage.
HELP
}

main() {
  read_options "$@"
  require_root
  load_settings
  AS_ACCOUNT=(runuser -u postgres --)
  isolate_client
  require_commands psql jq runuser awk
  WORK=$(mktemp -d)
  if [[ -n $MANIFEST ]]; then
    find_manifest
    check_checksums
    verify_database "$DATABASE" manifest "$MANIFEST" "$(read_manifest "$MANIFEST" .database)"
  else
    verify_database "$DATABASE" database "$AGAINST" "$AGAINST"
  fi
  if ((AS_JSON)); then print_verdict_json; else print_verdict; fi
  if ! is_proved; then fail "database '$DATABASE' is not what it must be: see above"; fi
}

read_options() {
  local table
  DATABASE='' MANIFEST='' AGAINST='' AS_JSON=0
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      --json) AS_JSON=1 ;;
      --database | --manifest | --against | --checksum)
        if [[ -z ${2:-} ]]; then refuse_usage "$1 needs a value"; fi
        case $1 in
          --database) DATABASE=$2 ;;
          --manifest) MANIFEST=$(resolve_path "$2") ;;
          --against) AGAINST=$2 ;;
          --checksum) CHECKSUMS+=("$2") ;;
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
  for table in "${CHECKSUMS[@]}"; do
    if [[ $table != ?*.?* ]]; then refuse_usage "--checksum is '$table': must be 'schema.table', e.g. public.expenses"; fi
  done
}

find_manifest() {
  if [[ $MANIFEST != */* ]]; then MANIFEST=$BACKUP_DIRECTORY/$MANIFEST; fi
  MANIFEST=${MANIFEST%.json}.json
  if ! jq -e '.tables | type == "object"' -- "$MANIFEST" >/dev/null 2>&1; then
    fail "$MANIFEST is not a readable manifest: must be the .json beside a dump"
  fi
}

# All checksums of the manifest are compared anyway; asking for one that it lacks would prove nothing.
check_checksums() {
  local table
  for table in "${CHECKSUMS[@]}"; do
    if ! jq -e --arg table "$table" '.checksums // {} | has($table)' -- "$MANIFEST" >/dev/null; then
      fail "$MANIFEST holds no checksum of '$table': must be one of CHECKSUM_TABLES when the dump is made;" \
        "it holds those of: $(read_manifest "$MANIFEST" '.checksums // {} | keys | join(", ")')"
    fi
  done
}

finish() {
  local status=$1
  rm -rf -- "${WORK:-}"
  exit "$(visible_status "$status")"
}
trap 'finish "$?"' EXIT

main "$@"
