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
# shellcheck source=lib/growing.sh
source "$library/growing.sh"
# shellcheck source=lib/dump.sh
source "$library/dump.sh"
# shellcheck source=lib/compression.sh
source "$library/compression.sh"
# shellcheck source=lib/space.sh
source "$library/space.sh"
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
# shellcheck source=lib/restoreOptions.sh
source "$library/restoreOptions.sh"
# shellcheck source=lib/target.sh
source "$library/target.sh"
# shellcheck source=lib/roles.sh
source "$library/roles.sh"
# shellcheck source=lib/roleRestore.sh
source "$library/roleRestore.sh"
# shellcheck source=lib/closing.sh
source "$library/closing.sh"
# shellcheck source=lib/safetyDump.sh
source "$library/safetyDump.sh"
# shellcheck source=lib/tables.sh
source "$library/tables.sh"
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
# shellcheck source=lib/application.sh
source "$library/application.sh"
# shellcheck source=lib/restore.sh
source "$library/restore.sh"

print_help() {
  cat <<'HELP'
Usage: restore.sh WHICH WHERE [--table SCHEMA.NAME]... [--jobs N] [--yes] [--plan]
       restore.sh WHICH --from s3|nas --fetch [--globals]
       restore.sh --clean-up | --help

Which dump:
  --file DUMP       a path, or a name in the backup directory
  latest            the newest verified dump of the database
  --at TIME         the newest verified dump of the database taken not after TIME, e.g. '2026-11-20 14:00'.
                    UTC, unless it ends in an offset: '2026-11-20 14:00 +0100'
  --database NAME   the database that was dumped. Left out, it is the one that --into names; said with --into, the dump
                    of one database may go into another
  --from s3|nas     look for it off-host, in S3 or on the NAS. The dump is fetched into the backup directory, checked, and
                    stays there like one of the night's. S3: the container's own key cannot read: type a reader's when
                    asked, or set S3_READER_ACCESS_KEY_ID and S3_READER_SECRET_ACCESS_KEY. It is kept nowhere. NAS: the
                    container's own key logs in; where its account is append-only, set NAS_READER_KEY_FILE to the path
                    of a reader's private key
  --work DIRECTORY  fetch it to here instead
  --identity FILE   age identity that decrypts it; asked for if it is needed and not given. Kept nowhere
  --fetch           only fetch and check it, restore nothing
Where to:
  --into DATABASE   existing: what is in it is replaced. First a safety dump; nobody but superusers can connect
                    meanwhile; owners and grants as in the dump; one transaction, so a failure leaves it as it was. The
                    database itself keeps its owner, settings and grants
  --new DATABASE    created for it, or existing and empty. Everything belongs to the owner of the dumped database
  --as DATABASE     created for it, beside the original: owners and grants exactly as in the dump, whose roles must exist.
                    What is created, with --new too, has encoding, locale, settings, grants, connection limit and comment
                    of the dumped database
  --table NAME      only this table (repeatable), written as in the manifest: public.expenses, public."Odd Name".
                    With its data, indexes, sequences, triggers, grants, partitions. --into: it must not exist there,
                    and nothing that is there is changed, so no safety dump is taken. Foreign keys to and from other
                    tables follow where both are there and the rows allow it; those that do not are named. A view or
                    function that uses the table is not brought back
How:
  --globals         first create the roles that the dump refers to and this server lacks, with what they are members of,
                    from the globals of its night: beside the dump, else in the backup directory; with --from they are
                    fetched, too. Without passwords; roles that exist are left as they are
  --jobs N          N connections side by side, for --as, and --new if it creates the database. Not --into: what is done
                    side by side is not one transaction, so a failure would leave the database half restored
  --yes             do not ask for confirmation
  --plan            check everything, print the commands that would run, change nothing
  --clean-up        repair what a restore left that was cut off (the next restore does that too), nothing else

Runs as root. The dump is checked (SHA-256) and the target is examined before anything is touched, and the result is
verified afterwards. A new database gets its name when it is whole; until then it is called <name>.restoring, with the
prefix of these commands as <name>.
Exit status: 0 restored and proved; 1 it failed (the last lines say what holds now); 2 wrong usage;
3 another restore, or tonight's backup, is active.
HELP
}

main() {
  keep_reader_key
  read_options "$@"
  require_root
  load_settings
  AS_ACCOUNT=(runuser -u postgres --)
  isolate_client
  require_commands psql pg_dump pg_restore dropdb jq runuser flock openssl perl stdbuf awk df
  take_lock "$BACKUP_STATE/restore.lock"
  clean_up_interrupted
  make_work_directory
  if ((CLEAN_UP)); then return; fi
  : "${DIRECTORY:=$BACKUP_DIRECTORY}"
  if [[ -n $FROM ]]; then fetch; fi
  pick_dump "$FILE" "$DATABASE" "$MOMENT"
  check_dump
  if ((FETCH)); then return; fi
  check_target
  confirm
  create_roles
  case $MODE in
    into) restore_into ;;
    new | as) restore_new ;;
  esac
}

# Where it is, is noted for the run after one that was cut off.
make_work_directory() {
  WORK=$(mktemp -d)
  chmod 0711 -- "$WORK" # postgres finds its files in it
  write_note "$(work_note)" <<<"$WORK"
}

finish() {
  local status=$1
  trap - ERR
  be_deaf
  set +e
  stop_running
  PERFORM_INPUT=/dev/null # this may be in the middle of perform_statements
  clean_up_restore
  remove_work_directory
  exit "$(visible_status "$status")"
}
trap 'finish "$?"' EXIT
stop_restore() {
  be_deaf
  write_line 3 "error: stopped by a signal"
  exit "$1"
}
trap 'stop_restore 130' INT
trap 'stop_restore 143' TERM HUP

main "$@"
