# shellcheck shell=bash
# From a database to a verified dump on disk.

# Files to remove if this database's night ends early.
# shellcheck disable=SC2034 # removed by backup.sh
PARTIALS=()

# What a dump is written to: there before anyone opens it.
make_partial() {
  if ((DUMP_JOBS > 1)); then mkdir -- "$1"; else : >"$1"; fi
}

# Writes the dump of the open snapshot. Sets DUMP_SHA256, of what pg_dump wrote, and DISK_SHA256, of what the disk holds.
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

# Several tables at a time, each into a file of its own. pg_dump opens those itself, so each is hashed once it is whole,
# while others are written. Leaves their list in the work directory: files.
write_directory() {
  local partial=$1 work=$2 dump_pid hash_pid status=0
  # shellcheck disable=SC2034 # set and read by growing.sh; not those of the copies
  local ENDED ENDED_HOLD
  shift 2
  open_gate ENDED "$work/files_ended"
  hash_files "$partial" "$work" 2>"$work/hash.err" &
  hash_pid=$!
  "${AS_ACCOUNT[@]}" pg_dump --format=directory --jobs="$DUMP_JOBS" --file="$partial" "$@" 2>"$work/dump.err" &
  dump_pid=$!
  RUNNING+=("$dump_pid" "$hash_pid")
  await "$dump_pid" || status=$?
  if ((status)); then fail_dump pg_dump "$status" "$work"; fi
  close_gate ENDED
  await "$hash_pid" || fail "$partial cannot be read back from the disk: $(describe_status "$?"), $(head -n 1 -- "$work/hash.err")"
  sort_hashes <"$work/written" >"$work/files"
  # 64 digits and two blanks before the name.
  if ! cmp --silent <(cut -c 67- -- "$work/files") <(find "$partial" -type f -printf '%P\n' | LC_ALL=C sort); then
    fail "not every file in $partial was read back from the disk, or not once"
  fi
  DUMP_SHA256=$(hash_file "$work/files")
  DISK_SHA256=$(hash_file <(sort_hashes <"$work/stored"))
}

# DIRECTORY WORK: writes two lists of what is in there: as pg_dump wrote it, and as the disk holds it.
hash_files() {
  local work=$2 names names_pid file files
  trap - ERR
  leave_gates ENDED
  cd -- "$1" || exit 1
  exec {names}< <(print_whole_files)
  names_pid=$!
  # At the next name: no pipeline, which would be waited for.
  trap 'be_deaf; kill -TERM "$names_pid" 2>/dev/null || true; exit 143' TERM HUP
  while IFS= read -r -u "$names" file; do
    files=("$file")
    while ((${#files[@]} < 1000)) && read -r -t 0 -u "$names" && IFS= read -r -u "$names" file; do files+=("$file"); done
    list_hashes "${files[@]}" >>"$work/written"
    settle_on_disk "${files[@]}"
    list_hashes "${files[@]}" >>"$work/stored"
  done
  wait "$names_pid"
}

# PROGRAM STATUS WORK
fail_dump() { fail "$1 ended with $(describe_status "$2"): $(<"$3/dump.err") $(<"$3/session.err")"; }

# FILE WORK COMMAND...: writes the command's output, and reads it back meanwhile. Command and file are joined by named
# pipes, so that each of the programs has an exit status of its own. Sets DUMP_SHA256 and DISK_SHA256.
write_hashed() {
  local partial=$1 work=$2 dump_pid copy_pid hash_pid read_pid stored_pid dump_status=0 copy_status=0 hash_status=0
  # shellcheck disable=SC2034 # set and read by growing.sh; not those of the copies
  local ENDED ENDED_HOLD
  shift 2
  mkfifo -- "$work/stream" "$work/hashed" "$work/stored"
  hash_input <"$work/stored" >"$work/stored.sha256" & # before the gate, which it would hold open while it waits for it
  stored_pid=$!
  open_gate ENDED "$work/stream_ended"
  print_stored "$partial" >"$work/stored" 2>"$work/stored.err" &
  read_pid=$!
  hash_input <"$work/hashed" >"$work/sha256" &
  hash_pid=$!
  copy_to_both "$work/hashed" <"$work/stream" 2>"$work/copy.err" >"$partial" &
  copy_pid=$!
  # As much at a time as tee.pl takes; by itself, 4 kB. Each time, processes wake that pg_dump has to share processors with.
  "${AS_ACCOUNT[@]}" stdbuf --output=256K "$@" >"$work/stream" 2>"$work/dump.err" &
  dump_pid=$!
  RUNNING+=("$dump_pid" "$copy_pid" "$hash_pid" "$read_pid" "$stored_pid")
  await "$dump_pid" || dump_status=$?
  await "$copy_pid" || copy_status=$?
  # Not after the hash: that one waits for ever for a copy that never opened its pipe, since it had no file to write to.
  if ((copy_status)); then fail "dump cannot be written to $partial: $(<"$work/copy.err")"; fi
  await "$hash_pid" || hash_status=$?
  if ((dump_status)); then fail_dump "$1" "$dump_status" "$work"; fi
  if ((hash_status)); then fail "openssl ended with $(describe_status "$hash_status")"; fi
  read -r DUMP_SHA256 _ <"$work/sha256"
  close_gate ENDED
  await "$read_pid" || fail "$partial cannot be read back from the disk: $(describe_status "$?"), $(head -n 1 -- "$work/stored.err")"
  await "$stored_pid" || fail "openssl ended with $(describe_status "$?")"
  read -r DISK_SHA256 _ <"$work/stored.sha256"
}

# Bytes that a dump grows by before they are read back.
READ_STEP=$((32 * 1024 * 1024))

# A file that is being written, as the disk holds it. What is on disk is read while more is written, so that little is left
# to read when the writer has come to its end. A process of its own; what goes wrong is told by whoever waits for it.
print_stored() {
  local file=$1 place=0 size
  trap - ERR
  end_when_told # after the program that runs then: none outlives it
  leave_gates ENDED
  while wait_at_gate ENDED; do
    size=$(stat -c %s -- "$file" 2>/dev/null || echo 0) # whoever writes it may not have made it yet
    if ((size >= place + READ_STEP)); then
      print_from_disk "$file" "$place" "$size"
      place=$size
    fi
  done
  print_from_disk "$file" "$place" "$(stat -c %s -- "$file")"
}

# FILE FROM TO, in bytes
print_from_disk() {
  settle_on_disk "$1"
  dd if="$1" bs=1M iflag=skip_bytes,count_bytes skip="$2" count="$(($3 - $2))" status=none
}

describe_status() {
  if (($1 > 128)); then printf 'signal %s' "$(kill -l "$1")"; else printf 'status %s' "$1"; fi
}

verify_dump() {
  local file=$1 found
  verify_written
  if ! found=$(pg_restore --list -- "$file" 2>&1 >/dev/null); then
    fail "pg_restore cannot read the dump: $found"
  fi
}

# What was read back from the disk, not from memory, against what was written.
verify_written() {
  if [[ $DISK_SHA256 != "$DUMP_SHA256" ]]; then
    fail "what is on disk is not what pg_dump wrote: SHA-256 $DISK_SHA256, must be $DUMP_SHA256"
  fi
}

# Makes dump and manifest exist for readers.
commit_dump() {
  local dump=$1 manifest=$1.json
  sync -- "$(partial_of "$dump")" "$(partial_of "$manifest")"
  give_names "$(partial_of "$dump")" "$(partial_of "$manifest")" "$dump"
  sync -- "$BACKUP_DIRECTORY"
  # shellcheck disable=SC2034 # removed by backup.sh
  PARTIALS=()
}

# PARTIAL MANIFEST-PARTIAL DUMP: the manifest last, it is the commit mark. Who is told to stop meanwhile does so afterwards.
give_names() {
  (
    be_deaf
    mv -- "$1" "$3"
    mv -- "$2" "$3.json"
  )
}

# The reverse of commit_dump: the manifest goes first, kept as a partial so that a cut leaves nothing but what the next run removes.
remove_dump() {
  local dump=$1 manifest=$1.json
  mv -- "$manifest" "$(partial_of "$manifest")"
  rm -rf -- "$dump"
  rm -f -- "$(partial_of "$manifest")"
}
