# shellcheck shell=bash
# Target NAS: rsync over SSH into one directory, also under a forced command rrsync. A dump is appended to while it is
# written, under its own name: it does not exist before its manifest does. A broken transfer goes on where it was.

# Bytes that a dump grows by before they are sent.
readonly NAS_STEP=$((8 * 1024 * 1024))

nas_days() { printf '%s' "$NAS_RETENTION_DAYS"; }

nas_takes_room() { is_encrypting || compgen -G "$BACKUP_DIRECTORY/*.dump/" >/dev/null; }

nas_expires() { ((NAS_RETENTION_DAYS > 0)) && [[ $1 != manual_* ]]; }

# Logs in and writes a small file: a directory that cannot be written is known before the night, too.
nas_probe() {
  check_nas_key "$(name_nas)"
  printf '%s may write here.\n' "$BACKUP_NAME" >"$COPY_WORK/.pgbackup-probe"
  try_nas "$NAS_STALL_SECONDS" --ignore-times --mkpath "$COPY_WORK/.pgbackup-probe" "$(nas_path '')"
  if ((NAS_STATUS)); then fail "$(name_nas): $(describe_nas_failure write)"; fi
}

name_nas() { printf 'off-host target NAS, %s' "$(nas_place '')"; }

nas_send() {
  local database=$1 file=$2 source=$3 link=$COPY_WORK/$4 sha256
  note_sending nas "$database" "$file"
  if is_transformed "$source"; then
    check_room_to_prepare "$file" "$source"
    prepare_for_nas "$file" "$source" "$link"
    append_to_nas "$link"
  else
    follow_to_nas "$file" "$source" "$link"
  fi
  check_on_nas "$link"
  sha256=$(hash_file "$link")
  if ! is_transformed "$source"; then refuse_damaged "$BACKUP_DIRECTORY/$file" "$sha256"; fi
  jq -n --arg sha256 "$sha256" --argjson size "$(stat -L -c %s -- "$link")" '{$size, $sha256}' >"$COPY_WORK/facts"
}

# FILE SOURCE. What is prepared takes as much as the dump: a disk that it filled would be the end of that one, too.
check_room_to_prepare() {
  local file=$1 source=$2 needed free
  if [[ $source == *.partial ]]; then
    needed=$((EXPECTED_SIZE + EXPECTED_SIZE / 10))
    if [[ $(stat -c %d -- "$COPY_WORK") == "$(stat -c %d -- "$BACKUP_DIRECTORY")" ]]; then needed=$((2 * needed)); fi
  else
    needed=$(size_of_dump "$source")
  fi
  free=$(df --output=avail --block-size=1 -- "$COPY_WORK" | tail -n 1)
  if ((needed > free)); then
    fail "off-host copy: not enough space in $BACKUP_STATE to prepare $file for the NAS: about $(format_size "$needed")" \
      "($needed bytes) are needed, $(format_size "$free") ($free bytes) are free: free some"
  fi
}

# FILE SOURCE LINK: encrypted or packed while it grows, into a file of its own, because no two encryptions or tar files are
# alike and a transfer that is cut must be able to go on.
prepare_for_nas() {
  open_content "$2"
  cat <&"$CONTENT" >"$3" 2>"$COPY_WORK/prepare.err" &
  RUNNING+=("$!")
  await "$!" || fail "off-host copy: $1 cannot be prepared for the NAS in $COPY_WORK: $(<"$COPY_WORK/prepare.err")"
  settle_content "$1"
}

# FILE SOURCE LINK: sends what there is of it while it grows, and the rest when it has ended. Stops unless it is committed.
follow_to_nas() {
  local file=$1 source=$2 link=$3 sent=0 size=0 sha256 INPUT
  if [[ $source != *.partial ]]; then
    sha256=$(hash_file "$source")
    refuse_damaged "$source" "$sha256"
  fi
  open_growing "$source"
  ln -s "/proc/$BASHPID/fd/$INPUT" "$link" # the same file, also when it is renamed
  while wait_at_gate ENDED; do
    size=$(stat -L -c %s -- "$link")
    if ((size >= sent + NAS_STEP)); then
      append_to_nas "$link"
      sent=$size
    fi
  done
  append_to_nas "$link"
  await_commit "$file"
}

append_to_nas() { ask_nas "$NAS_STALL_SECONDS" --append --mkpath "$1"; }

# Whole and in one piece: rsync compares checksums, then renames.
nas_send_manifest() {
  ln -- "$COPY_WORK/manifest" "$COPY_WORK/$1.json"
  ask_nas "$NAS_STALL_SECONDS" --checksum "$COPY_WORK/$1.json"
}

# Compares what stands there, read by the NAS, with what is here; sends once more what differs, as after an attempt with
# other content. Beside it, then renamed: a manifest may stand there that still vouches for what it is to replace.
check_on_nas() {
  if is_on_nas "$1"; then return; fi
  ask_nas "$(nas_reading_limit "$1")" --checksum --no-whole-file "$1"
  if ! is_on_nas "$1"; then fail "off-host copy: the NAS holds something else as $(nas_place "${1##*/}"), also when sent anew: is its disk sound?"; fi
}

is_on_nas() {
  ask_nas "$(nas_reading_limit "$1")" --checksum --dry-run --out-format='%i' "$1"
  [[ ! -s $COPY_WORK/nas.out ]]
}

# Seconds: nothing is heard while both sides read a file through, which goes at 10 MB/s or faster.
nas_reading_limit() { printf '%s' "$((NAS_STALL_SECONDS + $(stat -L -c %s -- "$1") / 10000000))"; }

nas_abandon() { :; } # what is there is gone on with

nas_clear() {
  if nas_expires "$1"; then nas_remove "$1" "$(read_ledger nas "$1" .object)"; fi
}

nas_supersede() { :; } # the job itself removes old copies, see nas_remove

# Copies that were verified, superseded by one that was, and are older than NAS_RETENTION_DAYS: see pick_expired.
nas_remove_expired() {
  local file copies
  if ((NAS_RETENTION_DAYS == 0)); then return; fi
  copies=$(list_copies nas "$1")
  while IFS= read -r file; do
    if [[ -z $(read_ledger nas "$file" .superseded) ]]; then continue; fi
    nas_remove "$file" "$(read_ledger nas "$file" .object)"
    note_expired nas "$file"
    say "removed $(nas_place "$file"), older than $NAS_RETENTION_DAYS days"
  done < <(cut -f 1 <<<"$copies" | pick_expired "$NAS_RETENTION_DAYS")
}

# FILE OBJECT: removes a copy, the manifest first.
nas_remove() {
  local name
  mkdir -p -- "$COPY_WORK/nothing"
  for name in "$1.json" "$2"; do
    ask_nas "$NAS_STALL_SECONDS" --recursive --delete --include="/$name" --exclude='*' "$COPY_WORK/nothing/"
  done
}

# SECONDS RSYNC-ARGUMENT...: sends, into the directory. Stops if it fails.
ask_nas() {
  insist_on_nas "$@" --copy-links "$(nas_path '')"
  if ((NAS_STATUS == 0)); then return; fi
  case $NAS_STATUS in 5 | 10 | 12 | 20 | 30 | 35 | 255) mark_dead nas ;; esac
  fail "off-host copy to $(nas_place ''): $(describe_nas_failure write)"
}
