#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# A fire drill: brings the newest dump of every database back on a server of its own, proves it, says how long it took,
# and throws it all away.
set -Eeuo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 0077

script=$(readlink -f -- "${BASH_SOURCE[0]}")
library=${script%/*}/lib
# shellcheck source=lib/log.sh
source "$library/log.sh"
# shellcheck source=lib/signals.sh
source "$library/signals.sh"
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
# shellcheck source=lib/dump.sh
source "$library/dump.sh"
# shellcheck source=lib/content.sh
source "$library/content.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/verify.sh
source "$library/verify.sh"
# shellcheck source=lib/verdict.sh
source "$library/verdict.sh"
# shellcheck source=lib/pick.sh
source "$library/pick.sh"
# shellcheck source=lib/definition.sh
source "$library/definition.sh"
# shellcheck source=lib/s3.sh
source "$library/s3.sh"
# shellcheck source=lib/nas.sh
source "$library/nas.sh"
# shellcheck source=lib/sources/s3.sh
source "$library/sources/s3.sh"
# shellcheck source=lib/sources/nas.sh
source "$library/sources/nas.sh"
# shellcheck source=lib/fetch.sh
source "$library/fetch.sh"
# shellcheck source=lib/scratch.sh
source "$library/scratch.sh"
# shellcheck source=lib/application.sh
source "$library/application.sh"
# shellcheck source=lib/drill.sh
source "$library/drill.sh"
# shellcheck source=lib/drillReport.sh
source "$library/drillReport.sh"

print_help() {
  cat <<'HELP'
Usage: drill.sh [--from local|s3|nas] [--json]
       drill.sh --report [--json] | --clean-up | --help

Restores the newest verified dump of every database into a scratch server of the same PostgreSQL version, with its
roles, verifies it fully (docs/verification.md), reads a table as the application's role, measures how long that took,
and throws it away. Then reads every dump that is kept here, and compares it with its manifest. The production server is
not touched: the scratch server has a directory, a socket and a superuser of its own, and no TCP.

  --from SOURCE  the copies to prove: local, this machine's own; s3 or nas, fetched from there with their globals and
                 nothing else looked at. Left out: DRILL_FROM of the settings. A copy that cannot be had fails the
                 drill; no other is taken in its place
  --json         the report as JSON, on standard output
  --report       what the last drill said
  --clean-up     remove what a drill that was killed left behind; every drill begins with it

Runs as the backup role's account; started by root it becomes that account. Reports are kept 90 days beside the job's
records, drills/drill_<time>.json.

Exit status: 0 every database was restored and proved, every dump is whole; 1 not (the last lines say what); 2 wrong
usage; 3 another drill is active; 130, 143 stopped by a signal.
HELP
}

main() {
  read_options "$@"
  load_settings
  become_role "$script" "$@"
  keep_reader_key
  isolate_client
  case $ACTION in
    drill) run_drill ;;
    report) report_last ;;
    clean) clean_up_alone ;;
  esac
}

read_options() {
  # shellcheck disable=SC2034 # sources/nas.sh, lib/fetch.sh
  ACTION=drill AS_JSON=0 FROM='' IDENTITY_FILE=''
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      --json) AS_JSON=1 ;;
      --from)
        if [[ ${2:-} != @(local|s3|nas) ]]; then refuse_usage "--from is '${2:-}': must be local, s3 or nas"; fi
        FROM=$2
        shift
        ;;
      --report | --clean-up)
        if [[ $ACTION != drill ]]; then refuse_usage "one of --report and --clean-up only"; fi
        if [[ $1 == --report ]]; then ACTION=report; else ACTION=clean; fi
        ;;
      *) refuse_usage "unknown option '$1'" ;;
    esac
    shift
  done
  if [[ -n $FROM && $ACTION != drill ]]; then refuse_usage "--from goes with a drill, not with --report and --clean-up"; fi
}

stop_drill() {
  local status=$1
  be_deaf
  ERROR_FILE='' # the part's own message says less
  if [[ -n ${PART:-} ]]; then
    stop_scratch_server
    kill -TERM "$PART" 2>/dev/null || true
    wait "$PART" || true
  fi
  end_drill 'stopped by a signal'
  write_line 3 "error: stopped by a signal; the scratch server is removed"
  exit "$status"
}
trap 'stop_drill 130' INT
trap 'stop_drill 143' TERM HUP
trap 'exit "$(visible_status "$?")"' EXIT

main "$@"
