#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# Tells what came of a night or a drill. systemd starts it once the service of it has ended, however that was: a run that
# was killed could tell nothing itself.
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
# shellcheck source=lib/content.sh
source "$library/content.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/drillReport.sh
source "$library/drillReport.sh"
# shellcheck source=lib/outcome/settings.sh
source "$library/outcome/settings.sh"
# shellcheck source=lib/outcome/record.sh
source "$library/outcome/record.sh"
# shellcheck source=lib/outcome/text.sh
source "$library/outcome/text.sh"
# shellcheck source=lib/outcome/channels.sh
source "$library/outcome/channels.sh"
# shellcheck source=lib/outcome/metrics.sh
source "$library/outcome/metrics.sh"
# shellcheck source=lib/outcome/backup.sh
source "$library/outcome/backup.sh"
# shellcheck source=lib/outcome/drill.sh
source "$library/outcome/drill.sh"

print_help() {
  cat <<'HELP'
Usage: outcome.sh started | ended [drill] | --help

Run by systemd. Settings: the file that BACKUP_ENV names, and the secrets file that OUTCOME_SECRETS names in there.

  started   pings PING_URL/start
  ended     of the unit that MONITOR_UNIT and the like describe (systemd.exec(5)): keeps a record of it, writes the
            metrics, pings PING_URL or PING_URL/fail, and tells people of a failure, and of the first success after
            one, by NOTIFY_COMMAND, NOTIFY_MAIL and NOTIFY_WEBHOOK. Without MONITOR_UNIT: sends all of them a test.
            With drill, of a drill, which pings nothing
  --help    this text

Exit status: 0 everybody was told; 1 somebody was not, or metrics or record could not be written (the lines say what);
2 wrong usage. A ping that fails is a warning only: its receiver notices.
HELP
}

main() {
  FAILED=()
  case $* in
    --help | -h) print_help ;;
    started)
      load_outcome_settings
      ping_receiver /start
      ;;
    ended) tell_outcome backup ;;
    'ended drill') tell_outcome drill ;;
    *) refuse_usage "'$*' is none of started, ended, ended drill and --help" ;;
  esac
}

tell_outcome() {
  load_outcome_settings
  choose_subject "$1"
  if [[ -z ${MONITOR_UNIT:-} ]]; then
    EVENT='test'
  else
    learn_run
    run_part 'the record' write_record
    if [[ -n $METRICS_DIRECTORY ]]; then run_part 'the metrics' write_metrics; fi
  fi
  compose_text
  case $EVENT in
    succeeded) ping_receiver '' ;;
    recovered) ping_receiver '' && tell_everybody ;;
    failed) ping_receiver /fail && tell_everybody ;;
    refused | test) tell_everybody ;;
  esac
  if ((${#FAILED[@]})); then fail "not everything was told or kept: ${FAILED[*]} failed"; fi
}

# Sets SUBJECT and what differs by it. A drill pings nothing: who misses us waits for nights.
choose_subject() {
  SUBJECT=$1
  case $SUBJECT in
    backup) HEADING='Backup' RECORD=$BACKUP_STATE/night.json METRICS_NAME=$BACKUP_NAME ;;
    drill)
      HEADING='Backup drill' RECORD=$BACKUP_STATE/drill.json METRICS_NAME=$BACKUP_NAME-drill PING_URL=''
      find_reports
      ;;
  esac
}

# In a process of its own: the failure of one part is not the end of the others.
run_part() {
  local title=$1 status=0
  shift
  "$@" &
  wait "$!" || status=$?
  if ((status)); then FAILED+=("$title"); fi
}

trap 'exit "$(visible_status "$?")"' EXIT

main "$@"
