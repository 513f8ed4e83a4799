# shellcheck shell=bash
# Target NAS: rsync over SSH into one directory, also under a forced command rrsync. A dump is appended to while it is
# written, under its own name: it does not exist before its manifest does. A broken transfer goes on where it was.

# Bytes that a dump grows by before they are sent.
readonly NAS_STEP=$((8 * 1024 * 1024))

nas_place() { printf 'rsync://%s@%s:%s%s/%s' "$NAS_USER" "$NAS_HOST" "$NAS_PORT" "${NAS_DIRECTORY%/}" "$1"; }

nas_expires() { ((NAS_RETENTION_DAYS > 0)) && [[ $1 != manual_* ]]; }

# Logs in and writes a small file: a directory that cannot be written is known before the night, too.
nas_probe() {
  if [[ ! -r $NAS_KEY_FILE ]]; then fail "$(name_nas): NAS_KEY_FILE is '$NAS_KEY_FILE': must be a private key that $(id -un) can read"; fi
  if (($(stat -L -c '0%a' -- "$NAS_KEY_FILE") & 8#077)); then
    fail "$(name_nas): NAS_KEY_FILE $NAS_KEY_FILE has mode $(stat -L -c %a -- "$NAS_KEY_FILE"): must be 600"
  fi
  printf '%s may write here.\n' "$BACKUP_NAME" >"$COPY_WORK/.pgbackup-probe"
  try_nas "$NAS_STALL_SECONDS" --ignore-times --mkpath "$COPY_WORK/.pgbackup-probe"
  if ((NAS_STATUS)); then fail "$(name_nas): $(describe_nas_failure)"; fi
}

name_nas() { printf 'off-host target NAS, %s' "$(nas_place '')"; }

nas_send() {
  local database=$1 file=$2 source=$3 link=$COPY_WORK/$4
  note_sending nas "$database" "$file"
  if is_encrypting || [[ -d $source ]]; then
    prepare_for_nas "$file" "$source" "$link"
  else
    follow_to_nas "$file" "$source" "$link"
  fi
  ask_nas "$NAS_STALL_SECONDS" --append --mkpath "$link"
  check_on_nas "$link"
  # shellcheck disable=SC2034 # goes into ledger and manifest
  COPY_FACTS=$(jq -n --arg sha256 "$(hash_file "$link")" --argjson size "$(stat -L -c %s -- "$link")" '{$size, $sha256}')
}

# FILE SOURCE LINK: encrypted or packed while it grows, into a file of its own, because no two encryptions or tar files are
# alike and a transfer that is cut must be able to go on.
prepare_for_nas() {
  local pid
  open_content "$2"
  cat <&"$CONTENT" >"$3" 2>"$COPY_WORK/prepare.err" &
  pid=$!
  RUNNING+=("$pid")
  wait "$pid" || fail "off-host copy: $1 cannot be prepared for the NAS in $COPY_WORK: $(<"$COPY_WORK/prepare.err")"
  settle_content "$1"
}

# FILE SOURCE LINK: sends what there is of it while it grows.
follow_to_nas() {
  local file=$1 source=$2 link=$3 input sent=0 size=0
  if [[ $source != *.partial ]]; then refuse_damaged "$source" "$(hash_file "$source")"; fi
  exec {input}<"$source"
  ln -s "/proc/$BASHPID/fd/$input" "$link" # the same file, also when it is renamed
  while wait_at_gate; do
    size=$(stat -L -c %s -- "$link")
    if ((size >= sent + NAS_STEP)); then
      ask_nas "$NAS_STALL_SECONDS" --append --mkpath "$link"
      sent=$size
    fi
  done
  if ! is_verified "$BACKUP_DIRECTORY/$file"; then fail "off-host copy: given up, because $file did not become a dump"; fi
}

# Whole and in one piece: rsync compares checksums, then renames.
nas_send_manifest() {
  mv -- "$COPY_WORK/manifest" "$COPY_WORK/$1.json"
  ask_nas "$NAS_STALL_SECONDS" --checksum "$COPY_WORK/$1.json"
}

# Compares what stands there, read by the NAS, with what is here; sends once more what differs, as after an attempt with
# other content.
check_on_nas() {
  if is_on_nas "$1"; then return; fi
  ask_nas "$(nas_reading_limit "$1")" --checksum --inplace --no-whole-file "$1"
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

# Copies that were verified, superseded by one that was, and are older than NAS_RETENTION_DAYS.
nas_remove_expired() {
  local database=$1 file superseded newest='' copies
  if ((NAS_RETENTION_DAYS == 0)); then return; fi
  copies=$(list_copies nas "$database")
  while IFS=$'\t' read -r file superseded; do
    if [[ -z $newest ]]; then
      newest=$file
    elif [[ $superseded != null ]] && is_older "$file" "$NAS_RETENTION_DAYS"; then
      nas_remove "$file" "$(read_ledger nas "$file" .object)"
      rm -f -- "$(ledger_entry nas "$file")"
      say "removed $(nas_place "$file"), older than $NAS_RETENTION_DAYS days"
    fi
  done <<<"$copies"
}

# FILE OBJECT: removes a copy, the manifest first.
nas_remove() {
  local name
  mkdir -p -- "$COPY_WORK/nothing"
  for name in "$1.json" "$2"; do
    ask_nas "$NAS_STALL_SECONDS" --recursive --delete --include="/$name" --exclude='*' "$COPY_WORK/nothing/"
  done
}

# SECONDS RSYNC-ARGUMENT...: stops if it fails. A connection that was cut is tried again, no stall is.
ask_nas() {
  local attempt
  for attempt in 1 2 3; do
    try_nas "$@"
    if ((NAS_STATUS == 0)); then return; fi
    if ((attempt == 3)) || [[ $NAS_STATUS != @(10|12|255) || $(<"$COPY_WORK/nas.err") == *'timed out'* ]]; then break; fi
    sleep "$attempt"
  done
  case $NAS_STATUS in 5 | 10 | 12 | 20 | 30 | 35 | 255) mark_dead nas ;; esac
  fail "off-host copy to $(nas_place ''): $(describe_nas_failure)"
}

# Sets NAS_STATUS, as rsync says it.
try_nas() {
  local limit=$1 pid watcher
  shift
  if [[ ! -e $COPY_WORK/ssh_config ]]; then write_ssh_config; fi
  rsync --rsh="ssh -F '$COPY_WORK/ssh_config'" --timeout="$limit" --copy-links "$@" "nas:${NAS_DIRECTORY%/}/" \
    </dev/null >"$COPY_WORK/nas.out" 2>"$COPY_WORK/nas.err" &
  pid=$!
  end_stalled "$pid" "$limit" &
  watcher=$!
  RUNNING+=("$pid" "$watcher")
  NAS_STATUS=0
  wait "$pid" || NAS_STATUS=$?
  kill -TERM "$watcher" 2>/dev/null || true
  wait "$watcher" 2>/dev/null || true
}

# PID SECONDS: ends a transfer that sends nothing for so long. rsync's own time-out is content with a NAS that says it is
# there, while what it was sent goes nowhere, as when its disk hangs.
end_stalled() {
  local pid=$1 limit=$2 sent='' before='' quiet=0 idle key value
  trap - EXIT TERM HUP
  exec {idle}<> <(:)
  while ((quiet < limit)); do
    read -r -t 1 -u "$idle" _ || true
    before=$sent
    while read -r key value; do
      if [[ $key == wchar: ]]; then sent=$value; fi
    done 2>/dev/null <"/proc/$pid/io" || return 0
    if [[ $sent == "$before" ]]; then quiet=$((quiet + 1)); else quiet=0; fi
  done
  kill -TERM "$pid" 2>/dev/null || true
}

# The host key is pinned here, and only here.
write_ssh_config() {
  local type=${NAS_HOST_KEY%% *}
  if [[ $type == ssh-rsa ]]; then type=rsa-sha2-512,rsa-sha2-256; fi
  printf 'pgbackup-nas %s\n' "$NAS_HOST_KEY" >"$COPY_WORK/known_hosts"
  cat >"$COPY_WORK/ssh_config" <<CONFIG
Host nas
  HostName $NAS_HOST
  Port $NAS_PORT
  User $NAS_USER
  IdentityFile "$NAS_KEY_FILE"
  IdentitiesOnly yes
  IdentityAgent none
  BatchMode yes
  HostKeyAlias pgbackup-nas
  HostKeyAlgorithms $type
  StrictHostKeyChecking yes
  UserKnownHostsFile "$COPY_WORK/known_hosts"
  GlobalKnownHostsFile /dev/null
  UpdateHostKeys no
  ConnectTimeout $((NAS_STALL_SECONDS < 20 ? NAS_STALL_SECONDS : 20))
  ServerAliveInterval $(((NAS_STALL_SECONDS + 3) / 4))
  ServerAliveCountMax 4
  ClearAllForwardings yes
CONFIG
}

describe_nas_failure() {
  local text shown pinned
  text=$(<"$COPY_WORK/nas.err")
  case $text in
    *'Could not resolve hostname'*) printf "NAS_HOST is '%s', a name that is not known here: must be an address or a name that this machine can resolve" "$NAS_HOST" ;;
    *'Connection refused'*) printf "connection refused: does sshd run there, on NAS_PORT %s?" "$NAS_PORT" ;;
    *'timed out'* | *'No route to host'* | *'Network is unreachable'* | *'timeout in data'* | *'received SIG'*) printf 'no answer in time (%s s): %s' "$NAS_STALL_SECONDS" "$text" ;;
    *'Host key verification failed'* | *'no matching host key type'*)
      shown=$(grep -o 'SHA256:[A-Za-z0-9+/]*' <<<"$text" | head -n 1 || true)
      pinned=$(ssh-keygen -lf "$COPY_WORK/known_hosts" 2>/dev/null | grep -o 'SHA256:[A-Za-z0-9+/]*' || true)
      printf 'the host key is not the pinned one: it shows %s, NAS_HOST_KEY is %s (%s): compare at the NAS itself (ssh-keygen -lf /etc/ssh/ssh_host_*.pub) before you pin another' \
        "${shown:-none of that type}" "$pinned" "${NAS_HOST_KEY%% *}"
      ;;
    *'Permission denied ('*) printf "login refused: NAS_USER is '%s', NAS_KEY_FILE %s: its public key must be in that account's authorized_keys" "$NAS_USER" "$NAS_KEY_FILE" ;;
    *'No space left on device'* | *'quota exceeded'*) printf 'the NAS is full: %s' "$text" ;;
    *'Permission denied'* | *'Read-only file system'* | *'change_dir'*) printf "NAS_DIRECTORY is '%s': must be a directory that %s can write (for rrsync: as it is called below its directory): %s" "$NAS_DIRECTORY" "$NAS_USER" "$text" ;;
    *delete*) printf 'the NAS removes nothing for us (append-only?): NAS_RETENTION_DAYS is %s, must be 0 then: %s' "$NAS_RETENTION_DAYS" "$text" ;;
    *) printf 'rsync ended with status %s: %s' "$NAS_STATUS" "$text" ;;
  esac
}
