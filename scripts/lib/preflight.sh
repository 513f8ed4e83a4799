# shellcheck shell=bash
# What must hold before a dump is begun.

readonly CLIENT_PATTERN='\) ([0-9]+)'

# Sets CLIENT_VERSION.
check_machine() {
  require_commands psql pg_dump pg_dumpall pg_restore jq curl flock openssl perl stdbuf numfmt df
  if [[ -n $NAS_HOST ]]; then require_commands rsync ssh ssh-keygen; fi
  check_directory "$BACKUP_DIRECTORY" "$BACKUP_ROLE" postgres 3770
  check_directory "$BACKUP_STATE" "$BACKUP_ROLE" "$(id -gn)" 750
  CLIENT_VERSION=$(pg_dump --version)
  if [[ ! $CLIENT_VERSION =~ $CLIENT_PATTERN ]]; then fail "pg_dump gives its version as '$CLIENT_VERSION'"; fi
}

require_commands() {
  local command missing=()
  for command in "$@"; do
    if ! command -v "$command" >/dev/null; then missing+=("$command"); fi
  done
  if ((${#missing[@]})); then fail "commands missing: ${missing[*]}: install postgresql-client, jq, curl, util-linux, rsync, openssh-client, age"; fi
}

check_directory() {
  local directory=$1 owner=$2 group=$3 mode=$4 found
  if [[ ! -d $directory ]]; then fail "directory $directory does not exist: must belong to $owner:$group, mode $mode"; fi
  found=$(stat -L -c '%U:%G %a' -- "$directory")
  if [[ $found != "$owner:$group $mode" ]]; then
    fail "directory $directory is $found: must be $owner:$group $mode (chown $owner:$group, chmod $mode)"
  fi
  if [[ ! -w $directory || ! -x $directory ]]; then
    fail "directory $directory cannot be written by $(id -un): is its file system read-only?"
  fi
}

# DATABASE: what must hold of it. Sets what its checks set. Needs check_machine.
check_database() {
  begin_dumpability "$1"
  check_login "$1"
  check_space "$1" "$DATABASE_SIZE"
  check_dumpability "$1"
}

# Sets SERVER_VERSION and DATABASE_SIZE, in bytes. Needs check_machine.
check_login() {
  local database=$1 answer number
  if ! answer=$(run_sql "$database" <<<"select concat_ws(E'\\n', current_setting('server_version'),
    current_setting('server_version_num'), ($SQL_DATABASE_SIZE));" 2>&1); then
    fail "cannot log in to database '$database' as role $BACKUP_ROLE: $answer"
  fi
  # shellcheck disable=SC2034 # the version goes into the manifest
  { read -r SERVER_VERSION && read -r number && read -r DATABASE_SIZE; } <<<"$answer"
  [[ $CLIENT_VERSION =~ $CLIENT_PATTERN ]]
  local client_major=${BASH_REMATCH[1]} server_major=$((number / 10000))
  if ((client_major < server_major)); then
    fail "pg_dump is version $client_major, the server $server_major: install postgresql-client-$server_major"
  fi
}

# What a killed run left: partials, and the dump of a manifest that is one itself (see commit_dump and remove_dump).
# Operators' own partials (manual_*) are not ours, unless this account wrote them, for --label.
remove_leftovers() {
  local file name
  for file in "$BACKUP_DIRECTORY"/.*.partial; do
    name=${file##*/.}
    if [[ ! -e $file || ($name == manual_* && ! -O $file) || ! $name =~ _${TIMESTAMP_PATTERN}\.(dump|sql)(\.json)?\.partial$ ]]; then continue; fi
    name=${name%.partial}
    if [[ $name == *.json && ! -e $BACKUP_DIRECTORY/$name ]]; then rm -rf -- "${BACKUP_DIRECTORY:?}/${name%.json}"; fi
    rm -rf -- "$file"
    warn "removed $file, left by a run that was cut off"
  done
  find "$BACKUP_STATE" -mindepth 1 -maxdepth 1 -type d -name 'run.*' -exec rm -rf -- {} +
}
