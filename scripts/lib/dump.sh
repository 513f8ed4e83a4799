# shellcheck shell=bash
# From a database to a verified dump on disk.

# Children to stop and files to remove if this database's night ends early.
RUNNING=()
# shellcheck disable=SC2034 # removed by backup.sh
PARTIALS=()

stop_running() {
  local pid
  for pid in "${RUNNING[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid in "${RUNNING[@]}"; do wait "$pid" 2>/dev/null || true; done
  RUNNING=()
}

# What a dump is written to: there before anyone opens it.
make_partial() {
  if ((DUMP_JOBS > 1)); then mkdir -- "$1"; else : >"$1"; fi
}

# Writes the dump of the open snapshot. Sets DUMP_SHA256.
write_dump() {
  local database=$1 partial=$2 work=$3
  local options=("${COMPRESS_OPTIONS[@]}" --snapshot="$SNAPSHOT_ID" --lock-wait-timeout="$LOCK_WAIT"
    --dbname="$(connect_to "$database")")
  if [[ -d $partial ]]; then
    write_directory "$partial" "$work" "${options[@]}"
  else
    write_hashed "$partial" "$work" pg_dump --format=custom "${options[@]}"
  fi
}

# Several tables at a time, each into a file of its own. pg_dump opens those itself, so they are hashed when they are there.
write_directory() {
  local partial=$1 work=$2 pid status=0
  shift 2
  "${AS_ACCOUNT[@]}" pg_dump --format=directory --jobs="$DUMP_JOBS" --file="$partial" "$@" 2>"$work/dump.err" &
  pid=$!
  RUNNING+=("$pid")
  wait "$pid" || status=$?
  if ((status)); then fail_dump pg_dump "$status" "$work"; fi
  # shellcheck disable=SC2034 # goes into the manifest
  DUMP_SHA256=$(hash_dump "$partial")
}

# PROGRAM STATUS WORK
fail_dump() { fail "$1 ended with $(describe_status "$2"): $(<"$3/dump.err") $(<"$3/session.err")"; }

# FILE WORK COMMAND...: writes the command's output. Command and file are joined by named pipes, so that each of the
# three programs has an exit status of its own. Sets DUMP_SHA256.
write_hashed() {
  local partial=$1 work=$2 dump_pid copy_pid hash_pid dump_status=0 copy_status=0 hash_status=0
  shift 2
  mkfifo -- "$work/stream" "$work/hashed"
  sha256sum <"$work/hashed" >"$work/sha256" &
  hash_pid=$!
  tee -- "$work/hashed" <"$work/stream" 2>"$work/copy.err" >"$partial" &
  copy_pid=$!
  "${AS_ACCOUNT[@]}" "$@" >"$work/stream" 2>"$work/dump.err" &
  dump_pid=$!
  RUNNING+=("$dump_pid" "$copy_pid" "$hash_pid")
  wait "$dump_pid" || dump_status=$?
  wait "$copy_pid" || copy_status=$?
  # Not after sha256sum: that one waits for ever for a tee that never opened its pipe, since it had no file to write to.
  if ((copy_status)); then fail "dump cannot be written to $partial: $(<"$work/copy.err")"; fi
  wait "$hash_pid" || hash_status=$?
  if ((dump_status)); then fail_dump "$1" "$dump_status" "$work"; fi
  if ((hash_status)); then fail "sha256sum ended with $(describe_status "$hash_status")"; fi
  # shellcheck disable=SC2034 # goes into the manifest
  read -r DUMP_SHA256 _ <"$work/sha256"
}

describe_status() {
  if (($1 > 128)); then printf 'signal %s' "$(kill -l "$1")"; else printf 'status %s' "$1"; fi
}

verify_dump() {
  local file=$1 sha256=$2 found
  verify_written "$file" "$sha256"
  if ! found=$(pg_restore --list -- "$file" 2>&1 >/dev/null); then
    fail "pg_restore cannot read the dump: $found"
  fi
}

# Reads the file back from the disk, not from memory, and compares.
verify_written() {
  local file=$1 sha256=$2 found
  settle_on_disk "$file"
  found=$(hash_dump "$file")
  if [[ $found != "$sha256" ]]; then fail "what is on disk is not what pg_dump wrote: SHA-256 $found, must be $sha256"; fi
}

# Makes dump and manifest exist for readers, the manifest last: it is the commit mark.
commit_dump() {
  local dump=$1 manifest=$1.json
  sync -- "$(partial_of "$dump")" "$(partial_of "$manifest")"
  mv -- "$(partial_of "$dump")" "$dump"
  mv -- "$(partial_of "$manifest")" "$manifest"
  sync -- "$BACKUP_DIRECTORY"
  # shellcheck disable=SC2034 # removed by backup.sh
  PARTIALS=()
}

# The reverse: the manifest goes first, kept as a partial so that a cut leaves nothing but what the next run removes.
remove_dump() {
  local dump=$1 manifest=$1.json
  mv -- "$manifest" "$(partial_of "$manifest")"
  rm -rf -- "$dump"
  rm -f -- "$(partial_of "$manifest")"
}
