#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# One night: dumps every configured database, verifies each dump, copies it off-host, lets old ones go. And what people
# ask between nights: a labelled dump, which dumps there are, whether one is whole, whether tonight would work.
set -Eeuo pipefail
shopt -s inherit_errexit
export LC_ALL=C
umask 0027

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
# shellcheck source=lib/snapshot.sh
source "$library/snapshot.sh"
# shellcheck source=lib/dump.sh
source "$library/dump.sh"
# shellcheck source=lib/compression.sh
source "$library/compression.sh"
# shellcheck source=lib/space.sh
source "$library/space.sh"
# shellcheck source=lib/dumpability.sh
source "$library/dumpability.sh"
# shellcheck source=lib/audit.sh
source "$library/audit.sh"
# shellcheck source=lib/content.sh
source "$library/content.sh"
# shellcheck source=lib/manifest.sh
source "$library/manifest.sh"
# shellcheck source=lib/offhost.sh
source "$library/offhost.sh"
# shellcheck source=lib/ledger.sh
source "$library/ledger.sh"
# shellcheck source=lib/growing.sh
source "$library/growing.sh"
# shellcheck source=lib/packing.sh
source "$library/packing.sh"
# shellcheck source=lib/encryption.sh
source "$library/encryption.sh"
# shellcheck source=lib/s3.sh
source "$library/s3.sh"
# shellcheck source=lib/nas.sh
source "$library/nas.sh"
# shellcheck source=lib/targets/s3.sh
source "$library/targets/s3.sh"
# shellcheck source=lib/targets/nas.sh
source "$library/targets/nas.sh"
# shellcheck source=lib/retention.sh
source "$library/retention.sh"
# shellcheck source=lib/globals.sh
source "$library/globals.sh"
# shellcheck source=lib/progress.sh
source "$library/progress.sh"
# shellcheck source=lib/catalogue.sh
source "$library/catalogue.sh"
# shellcheck source=lib/pick.sh
source "$library/pick.sh"
# shellcheck source=lib/sources/s3.sh
source "$library/sources/s3.sh"
# shellcheck source=lib/sources/nas.sh
source "$library/sources/nas.sh"
# shellcheck source=lib/fetch.sh
source "$library/fetch.sh"
# shellcheck source=lib/outcome/settings.sh
source "$library/outcome/settings.sh"
# shellcheck source=lib/rehearsal.sh
source "$library/rehearsal.sh"

print_help() {
  cat <<'HELP'
Usage: backup.sh [--now [--label LABEL]] [--dry-run]
       backup.sh --list [--from s3 | --from nas]
       backup.sh --check DUMP | --audit | --help

Dumps every database named in the settings file (BACKUP_ENV), and the server's roles and tablespaces without passwords
(globals_<time>.sql): dump, verify, copy off-host, let old dumps go.

  --now          do it now; the same as no option, which is what the timer runs
  --label LABEL  with --now: a dump of your own, e.g. --now --label before-migration makes
                 manual_before-migration_<database>_<time>.dump. Verified, with manifest and off-host copy like every
                 other (globals too), but kept until you remove it (with its .json), here and off-host: the nightly job never does,
                 and it lets no other dump go. LABEL: A-Z, a-z, 0-9, '.' and '-', at most 40
  --dry-run      run every check that can be made beforehand and print what would be done; writes nothing,
                 but a small file to a NAS: whether that works is one of the checks
  --list         the dumps of this machine as a table: time, database, size, rows, label, verified, off-host (NO: the next
                 night makes it good; expired: kept for longer here than there), file
  --from SOURCE  with --list: the copies in S3 or on the NAS instead, each as its manifest there describes it, whether it
                 is whole there, and whether it is here, too. Takes a reader's key as restore.sh --from does
  --check DUMP   compare a dump (a path, or a name in the backup directory) with its manifest, SHA-256 included, and
                 read it through with pg_restore. One made by hand has no manifest: it is only read through
  --audit        what the role can and cannot read and do, by its own account, in each database; writes nothing
  --help         this text

Runs as the backup role's account; started by root it becomes that account (--check stays root, and reads dumps of
postgres too). On a terminal it shows how many bytes are written.

Exit status: 0 everything succeeded, off-host copies included (--check: the dump is whole; --dry-run: it would work);
1 something failed (the last lines say what); 2 wrong usage; 3 another run is active; 130, 143 stopped by a signal.
--audit: 0 the dump would be complete and the role can do nothing but read; 4 the dump would not be complete, 8 the role
can do more than it should, 12 both.
HELP
}

main() {
  read_options "$@"
  load_settings
  choose_targets
  if [[ $ACTION != check ]] || ((EUID != 0)); then become_role "$script" "$@"; fi
  keep_reader_key
  isolate_client
  case $ACTION in
    list) if [[ -n $FROM ]]; then print_remote_catalogue; else print_catalogue; fi ;;
    check) check_one "$CHECKED" ;;
    rehearse) rehearse_night ;;
    audit) audit_role ;;
    night) run_night ;;
  esac
}

read_options() {
  local now=0
  ACTION=night LABEL='' CHECKED='' FROM=''
  while (($#)); do
    case $1 in
      --help | -h)
        print_help
        exit 0
        ;;
      --now) now=1 ;;
      --list) choose_action list ;;
      --dry-run) choose_action rehearse ;;
      --audit) choose_action audit ;;
      --label | --check | --from)
        if [[ -z ${2:-} ]]; then refuse_usage "$1 needs a value"; fi
        case $1 in
          --label) LABEL=$2 ;;
          --check) choose_action check && CHECKED=$(resolve_path "$2") ;;
          --from) FROM=$2 ;;
        esac
        shift
        ;;
      *) refuse_usage "unknown option '$1'" ;;
    esac
    shift
  done
  if [[ -n $LABEL && ! $LABEL =~ ^[A-Za-z0-9][A-Za-z0-9.-]{0,39}$ ]]; then
    refuse_usage "--label is '$LABEL': must be 1 to 40 of A-Z, a-z, 0-9, '.' and '-', beginning with a letter or digit"
  fi
  check_from
  if [[ -n $FROM && $ACTION != list ]]; then refuse_usage "--from goes with --list only"; fi
  if [[ -n $LABEL ]] && ((!now)); then refuse_usage "--label needs --now"; fi
  if [[ $ACTION == list || $ACTION == check || $ACTION == audit ]] && ((now)); then refuse_usage "--now goes with --label and --dry-run only"; fi
}

choose_action() {
  if [[ $ACTION != night ]]; then refuse_usage "one of --list, --check, --audit and --dry-run only"; fi
  ACTION=$1
}

run_night() {
  prepare_night
  back_up_each
  report_missing
  if ((${#FAILED[@]})); then fail "the night failed for: ${FAILED[*]}. Nothing was removed; earlier dumps are untouched"; fi
  if [[ -n $LABEL ]]; then
    say "dumped as '$LABEL': ${#DATABASES[@]} database(s), kept until you remove them"
  else
    run_part 'old copies off-host' remove_expired_copies
    if ((${#FAILED[@]})); then fail "everything was copied, but not all of it ended well: ${FAILED[*]}. No dump was removed here"; fi
    let_old_dumps_go
    say "the night succeeded: ${#DATABASES[@]} database(s)"
  fi
}

prepare_night() {
  check_machine
  take_lock "$BACKUP_STATE/lock"
  load_secrets
  choose_compression
  remove_leftovers
  NIGHT=$(mktemp -d "$BACKUP_STATE/run.XXXXXX")
  check_recipients
  probe_targets
  decide_on_targets
}

# Each database, and the globals, in a process of its own: the failure of one is not the end of the others, and no dump
# waits for the copies of another, unless they take room on the disk. The globals come last, so that they have every role
# that a dump may refer to.
back_up_each() {
  local database part parts=() titles=()
  FAILED=()
  expect_progress
  for database in "${DATABASES[@]}"; do
    take_turn "'$database'" back_up "$database"
  done
  take_turn globals back_up_globals
  for part in "${!parts[@]}"; do await_part "${parts[part]}" "${titles[part]}"; done
  run_part notification check_channels
}

# TITLE COMMAND...: begins a part, and waits until it passes the turn on, or is gone. Adds to parts and titles.
take_turn() {
  local turn
  exec {TURN}> >(watch_turn)
  turn=$!
  titles+=("$1")
  shift
  "$@" &
  RUNNING+=("$!" "$turn")
  parts+=("$!")
  printf '%s\n' "$!" >&"$TURN"
  pass_turn
  await "$turn" || true # told to stop: so is this process, in a moment
}

# Reads the number of a part, and ends when nobody holds the turn any more, or the part is gone: a program of its may hold
# it for longer. A process of its own, because bash leaves what it does at a signal when the time of a read is up (5.2).
watch_turn() {
  local part status=128
  trap - ERR
  read -r part
  while ((status >= 128)) && kill -0 "$part" 2>/dev/null; do
    status=0
    read -r -t 0.5 _ || status=$?
  done
  return 0
}

run_part() {
  local title=$1
  shift
  "$@" &
  RUNNING+=("$!")
  await_part "$!" "$title"
}

# PROCESS TITLE
await_part() { if ! await "$1"; then FAILED+=("$2"); fi; }

# In the process of one part: whatever happens, nothing half is left.
begin_part() {
  RUNNING=() # those of the whole night are not its own
  trap end_part EXIT
  end_when_told
  LOG_SUBJECT=$1
  WORK=$(mktemp -d "$BACKUP_STATE/run.XXXXXX")
}

# Held by a part until its dump exists.
TURN=''

# Nobody has to wait for this process any more.
pass_turn() {
  if [[ -z $TURN ]]; then return; fi
  exec {TURN}>&-
  TURN=''
}

back_up() {
  local database=$1 name dump started
  begin_part "$database"
  prepare_facts "$database" "$WORK"
  check_database "$database"
  name=$(choose_name "$database" "$LABEL")
  dump=$BACKUP_DIRECTORY/$name
  PARTIALS=("$(partial_of "$dump")" "$(partial_of "$dump.json")")

  make_partial "${PARTIALS[0]}"
  begin_copies "$database" "$name" "${PARTIALS[0]}"
  started=$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)
  open_snapshot "$database" "$WORK"
  begin_facts "$WORK"
  begin_progress "${PARTIALS[0]}"
  write_dump "$database" "${PARTIALS[0]}" "$WORK"
  end_progress
  finish_facts "$WORK" # the session held the gates, too; from here on only this process does
  close_gate ENDED
  verify_dump "${PARTIALS[0]}"
  write_manifest "$database" "${PARTIALS[0]}" "$name" "$WORK" "$started" "$(date -u +%Y-%m-%dT%H:%M:%S.%3NZ)"
  commit_dump "$dump"
  report_dump "$dump.json"
  if ! copies_take_room; then pass_turn; fi
  finish_copies "$database"
}

report_dump() {
  local manifest=$1 lines size line
  lines=$(jq -r --arg summed "$(list_tables_of "$LOG_SUBJECT" "${CHECKSUM_TABLES[@]}")" '
    .size, "\(.tables | length) tables, \([.tables[]] | add // 0) rows, SHA-256 \(.sha256)", .warnings[],
    ((.counted | arrays) - (.tables + .extension_tables | keys) | .[] | "COUNT_TABLES names \u0027\(.)\u0027, which this database does not have"),
    (($summed / "\n") - (.checksums | keys) | .[] | "CHECKSUM_TABLES names \u0027\(.)\u0027, which this database does not have")
    ' -- "$manifest")
  {
    read -r size
    IFS= read -r line
    say "dumped and verified: ${manifest%.json}, $(format_size "$size"), $line"
    while IFS= read -r line; do warn "$line"; done
  } <<<"$lines"
}

let_old_dumps_go() {
  local database
  for database in "${DATABASES[@]}" "$GLOBALS"; do remove_expired "$database"; done
}

end_part() {
  local status=$?
  trap - ERR
  be_deaf
  end_progress
  stop_running
  if ((${#PARTIALS[@]})); then rm -rf -- "${PARTIALS[@]}"; fi
  rm -rf -- "${WORK:-}"
  exit "$status"
}

stop_night() {
  local status=$1
  be_deaf
  stop_running
  write_line 3 "error: stopped by a signal; partials removed, earlier dumps untouched"
  exit "$status"
}
trap 'stop_night 130' INT
trap 'stop_night 143' TERM HUP
NIGHT=''
end_night() {
  local status=$1
  be_deaf
  stop_running
  rm -rf -- "$NIGHT"
  exit "$(visible_status "$status")"
}
trap 'end_night "$?"' EXIT

main "$@"
