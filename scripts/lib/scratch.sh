# shellcheck shell=bash
# A server for one drill: its own directory, socket and superuser, no TCP, nothing that would outlive it. Everything of
# it is below SCRATCH, so that whoever comes after a killed drill knows what to remove.

# Superuser of the scratch server. The account is mapped to it, because the name of the account may be that of a role
# in the globals, which takes superuser's rights from it.
readonly SCRATCH_USER=pgbackup_drill

# Bytes of a server without data: catalogues and the write-ahead log that max_wal_size allows.
readonly SCRATCH_OVERHEAD=420000000

# Connections to it at most, on which the number of its locks depends.
readonly SCRATCH_CONNECTIONS=20

# MAJOR LOCKS: makes the server, where one transaction may hold so many locks, and starts it; then it is the one that
# clients of this process talk to.
start_scratch_server() {
  local major=$1 locks=$2 programs=/usr/lib/postgresql/$1/bin
  if [[ ! -x $programs/initdb ]]; then
    fail "the dump is of PostgreSQL $major, whose server programs are not in $programs: install postgresql-$major"
  fi
  PATH=$programs:$PATH
  mkdir -- "$SCRATCH/socket"
  if ! "$programs/initdb" --pgdata="$SCRATCH/data" --username="$SCRATCH_USER" --auth=peer --encoding=UTF8 --locale=C \
    --no-sync >"$SCRATCH/initdb.log" 2>&1; then
    fail "the scratch server cannot be made: $(tail -n 5 -- "$SCRATCH/initdb.log")"
  fi
  print_scratch_settings "$locks" >>"$SCRATCH/data/postgresql.conf"
  printf 'local all %s peer map=drill\n' "$SCRATCH_USER" >"$SCRATCH/data/pg_hba.conf"
  printf 'drill %s %s\n' "$(id -un)" "$SCRATCH_USER" >"$SCRATCH/data/pg_ident.conf"
  if ! "$programs/pg_ctl" start --pgdata="$SCRATCH/data" --log="$SCRATCH/server.log" --wait --silent --timeout=120; then
    fail "the scratch server does not start: $(tail -n 5 -- "$SCRATCH/server.log")"
  fi
  export PGHOST=$SCRATCH/socket PGPORT=5432 PGUSER=$SCRATCH_USER
}

# LOCKS. Nothing is worth being kept after a crash, and memory is the unit's to bound: little of it is taken beforehand.
print_scratch_settings() {
  cat <<CONF
listen_addresses = ''
unix_socket_directories = '$SCRATCH/socket'
unix_socket_permissions = 0700
port = 5432
max_connections = $SCRATCH_CONNECTIONS
max_locks_per_transaction = $((64 + $1 / SCRATCH_CONNECTIONS))
fsync = off
synchronous_commit = off
full_page_writes = off
wal_level = minimal
max_wal_senders = 0
max_wal_size = 256MB
min_wal_size = 32MB
autovacuum = off
shared_buffers = 64MB
work_mem = 16MB
maintenance_work_mem = 64MB
dynamic_shared_memory_type = mmap
jit = off
cluster_name = '$BACKUP_NAME drill'
CONF
}

# At once: what it holds is thrown away. Only a process that is this very server is stopped; its number may be another's
# by now.
stop_scratch_server() {
  local pid segment='' lines
  if [[ ! -e $SCRATCH/data/postmaster.pid ]]; then return 0; fi # plain return in a trap: the status from before it
  mapfile -t lines <"$SCRATCH/data/postmaster.pid" 2>/dev/null || return 0
  pid=${lines[0]:-} segment=${lines[6]:-}
  if is_scratch_server "$pid"; then
    kill -QUIT "$pid" 2>/dev/null || true
    timeout 60 tail --sleep-interval=0.1 --pid="$pid" -f /dev/null || kill -KILL "$pid" 2>/dev/null || true
  fi
  end_orphans
  # Killed, the server leaves a few bytes of shared memory under the number that it noted.
  if [[ -e $SCRATCH/data/postmaster.pid && $segment =~ ([0-9]+)[[:space:]]*$ ]]; then
    ipcrm --shmem-id "${BASH_REMATCH[1]}" 2>/dev/null || true
  fi
}

# The processes of a server that was killed end when they next look for it, and write until then.
end_orphans() {
  local process
  for process in /proc/[0-9]*; do
    if [[ $process/cwd -ef $SCRATCH/data && $(cat -- "$process/comm" 2>/dev/null) == postgres ]]; then
      kill -KILL "${process##*/}" 2>/dev/null || true
      timeout 60 tail --sleep-interval=0.1 --pid="${process##*/}" -f /dev/null || true
    fi
  done
}

is_scratch_server() {
  local pid=$1 words
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  mapfile -d '' -t words 2>/dev/null <"/proc/$pid/cmdline" || return 1
  [[ ${words[*]:0:1} == */postgres && ${words[1]:-} == -D && ${words[2]:-} == "$SCRATCH/data" ]]
}

remove_scratch() {
  stop_scratch_server
  rm -rf -- "$SCRATCH"
}

# MANIFEST [BYTES]: refuses what would not fit: the database as large as it was, what its largest index takes while it is
# sorted, the write-ahead log, and so many bytes more. A twentieth of the disk stays free whatever happens, because
# production may be on the same.
check_scratch_space() {
  local manifest=$1 more=${2:-0} database_size needed free size reserve
  database_size=$(read_manifest "$manifest" '.database_size // (.size * 10)')
  needed=$((database_size + database_size / 4 + SCRATCH_OVERHEAD + more))
  read -r free size < <(df --output=avail,size --block-size=1 -- "$DRILL_DIRECTORY" | tail -n 1)
  reserve=$((size / 20))
  if ((needed + reserve > free)); then
    fail "not enough space in $DRILL_DIRECTORY: the drill takes up to $(format_size "$needed") and leaves" \
      "$(format_size "$reserve") free for others, $(format_size "$free") are free: free some, or set drillDirectory to" \
      "another disk"
  fi
}
