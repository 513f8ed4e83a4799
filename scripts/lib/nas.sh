# shellcheck shell=bash
# Requests to a NAS: rsync over SSH, whose host key is pinned. What a request answers is in COPY_WORK/nas.{out,err}.

# Name of the setting that names the key to log in with.
NAS_KEY=NAS_KEY_FILE

# File that comes from there and grows meanwhile; none where files go there.
NAS_RECEIVED=''

# Bytes that are progress: far more than the few that rsync sends twice within its time-out to keep a connection alive.
readonly NAS_PROGRESS=1024

nas_place() { printf 'rsync://%s@%s:%s%s/%s' "$NAS_USER" "$NAS_HOST" "$NAS_PORT" "${NAS_DIRECTORY%/}" "$1"; }

# NAME: a file there, or with '' the directory, as rsync has it.
nas_path() { printf 'nas:%s/%s' "${NAS_DIRECTORY%/}" "$1"; }

# WHO, for people.
check_nas_key() {
  local key=${!NAS_KEY}
  if [[ ! -r $key ]]; then fail "$1: $NAS_KEY is '$key': must be a private key that $(id -un) can read"; fi
  if (($(stat -L -c '0%a' -- "$key") & 8#077)); then
    fail "$1: $NAS_KEY $key has mode $(stat -L -c %a -- "$key"): must be 600"
  fi
}

# SECONDS RSYNC-ARGUMENT...: as try_nas. A connection that was cut is tried again, no stall is.
insist_on_nas() {
  local attempt
  for attempt in 1 2 3; do
    try_nas "$@"
    if ((NAS_STATUS == 0 || attempt == 3)) || [[ $NAS_STATUS != @(10|12|255) || $(<"$COPY_WORK/nas.err") == *'timed out'* ]]; then return; fi
    sleep "$attempt"
  done
}

# SECONDS RSYNC-ARGUMENT...: sets NAS_STATUS, as rsync says it. What the NAS has to say comes with the data: on its standard
# error, rsync's own way, it is lost where rsync ends before ssh has passed it on.
try_nas() {
  local limit=$1 pid watcher
  shift
  if [[ ! -e $COPY_WORK/ssh_config ]]; then write_ssh_config; fi
  rsync --rsh="ssh -F '$COPY_WORK/ssh_config'" --stderr=client --timeout="$limit" "$@" \
    </dev/null >"$COPY_WORK/nas.out" 2>"$COPY_WORK/nas.err" &
  pid=$!
  end_stalled "$pid" "$limit" &
  watcher=$!
  RUNNING+=("$pid" "$watcher")
  NAS_STATUS=0
  await "$pid" || NAS_STATUS=$?
  kill -TERM "$watcher" 2>/dev/null || true
  await "$watcher" 2>/dev/null || true
}

# PID SECONDS: ends a transfer that does not get on for so long. rsync's own time-out is content with a NAS that says it is
# there, while its disk hangs, and with itself, when it is the one that says so; which is why a few bytes are no progress.
end_stalled() {
  local pid=$1 limit=$2 sent before=0 quiet=0 idle
  trap - EXIT TERM HUP
  exec {idle}<> <(:)
  while ((quiet < limit)); do
    read -r -t 1 -u "$idle" _ || true
    sent=$(print_progress "$pid") || return 0
    if ((sent < before || sent >= before + NAS_PROGRESS)); then
      before=$sent
      quiet=0
    else
      quiet=$((quiet + 1))
    fi
  done
  kill -TERM "$pid" 2>/dev/null || true
}

# Bytes of NAS_RECEIVED, or that rsync wrote for the NAS. Fails once rsync is gone.
print_progress() {
  if [[ -n $NAS_RECEIVED ]]; then
    kill -0 "$1" 2>/dev/null && { stat -c %s -- "$NAS_RECEIVED" 2>/dev/null || true; }
  else
    sed -n 's/^wchar: //p' "/proc/$1/io" 2>/dev/null
  fi
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
  IdentityFile "${!NAS_KEY}"
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

# write or read: what was to be done.
describe_nas_failure() {
  local text shown pinned
  text=$(<"$COPY_WORK/nas.err")
  case $1:$text in
    *'Could not resolve hostname'*) printf "NAS_HOST is '%s', a name that is not known here: must be an address or a name that this machine can resolve" "$NAS_HOST" ;;
    *'Connection refused'*) printf "connection refused: does sshd run there, on NAS_PORT %s?" "$NAS_PORT" ;;
    *'timed out'* | *'No route to host'* | *'Network is unreachable'* | *'timeout in data'* | *'received SIG'*) printf 'no answer in time (%s s): %s' "$NAS_STALL_SECONDS" "$text" ;;
    *'Host key verification failed'* | *'no matching host key type'*)
      shown=$(grep -o 'SHA256:[A-Za-z0-9+/]*' <<<"$text" | head -n 1 || true)
      pinned=$(ssh-keygen -lf "$COPY_WORK/known_hosts" 2>/dev/null | grep -o 'SHA256:[A-Za-z0-9+/]*' || true)
      printf 'the host key is not the pinned one: it shows %s, NAS_HOST_KEY is %s (%s): compare at the NAS itself (ssh-keygen -lf /etc/ssh/ssh_host_*.pub) before you pin another' \
        "${shown:-none of that type}" "$pinned" "${NAS_HOST_KEY%% *}"
      ;;
    *'Permission denied ('*) printf "login refused: NAS_USER is '%s', %s %s: its public key must be in that account's authorized_keys" "$NAS_USER" "$NAS_KEY" "${!NAS_KEY}" ;;
    *'write-only server'*) printf "with %s %s, NAS_USER '%s' can only write (rrsync -wo): must be a key that it admits for reading (rrsync -ro), whose file NAS_READER_KEY_FILE in the environment names" "$NAS_KEY" "${!NAS_KEY}" "$NAS_USER" ;;
    read:*'No space left on device'*) printf 'there is no space left here: %s' "$text" ;;
    *'No space left on device'* | *'quota exceeded'*) printf 'the NAS is full: %s' "$text" ;;
    *'Permission denied'* | *'Read-only file system'* | *'change_dir'*) printf "NAS_DIRECTORY is '%s': must be a directory that %s can %s (for rrsync: as it is called below its directory): %s" "$NAS_DIRECTORY" "$NAS_USER" "$1" "$text" ;;
    *delete*) printf 'the NAS removes nothing for us (append-only?): NAS_RETENTION_DAYS is %s, must be 0 then: %s' "$NAS_RETENTION_DAYS" "$text" ;;
    *) printf 'rsync ended with status %s: %s' "$NAS_STATUS" "$text" ;;
  esac
}
