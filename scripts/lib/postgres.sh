# shellcheck shell=bash
# The door to PostgreSQL: peer authentication over the local socket; PGHOST and PGPORT of the environment are honoured.

# Prefix of every client command: empty as the role itself, (runuser -u postgres --) for root's scripts.
AS_ACCOUNT=()

isolate_client() {
  unset -v PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE PGSERVICEFILE PGOPTIONS PGAPPNAME PGCLIENTENCODING
  unset -v PGDATESTYLE PGTZ PGHOSTADDR PGSSLMODE PGCONNECT_TIMEOUT
  export PGAPPNAME=$BACKUP_NAME PGCONNECT_TIMEOUT=30
  cd / # the accounts may not enter the caller's directory
  choose_cluster
}

# Debian's client programs are a wrapper in Perl, which finds out each time anew which cluster is meant: 30 ms for each of
# a dozen calls a night. It is asked once; then the programs of that cluster's version come before it on the path. Where
# it has no answer it stays, and says so when it is called.
choose_cluster() {
  local found wrapper answer name value
  if [[ -n ${PGHOST:-} ]]; then return 0; fi # then the wrapper thinks of no cluster, even if PGCLUSTER names one
  found=$(command -v psql) || return 0
  wrapper=$(readlink -f -- "$found")
  if [[ ${wrapper##*/} != pg_wrapper ]] || ! answer=$("${AS_ACCOUNT[@]}" "$wrapper" env 2>/dev/null); then return 0; fi
  if [[ ! $answer =~ (^|$'\n')PGCLUSTER=([0-9]+)/ ]]; then return 0; fi
  PATH=:$PATH:
  PATH=${PATH/:"${found%/*}":/:"/usr/lib/postgresql/${BASH_REMATCH[2]}/bin:${found%/*}":}
  PATH=${PATH#:} PATH=${PATH%:}
  while IFS='=' read -r name value; do
    case $name in PGCLUSTER | PGHOST | PGPORT | PGSYSCONFDIR) export "$name=$value" ;; esac
  done <<<"$answer"
}

# A database name as a connection string: given as it is, a name with = or :// in it would be parsed as one.
connect_to() {
  local database=${1//\\/\\\\}
  printf "dbname='%s'" "${database//\'/\\\'}"
}

# The same for a command that people read: a plain name stays as it is.
name_database() {
  if [[ $1 =~ ^[A-Za-z0-9_]+$ ]]; then printf '%s' "$1"; else connect_to "$1"; fi
}

quote_literal() {
  local text=${1//\\/\\\\}
  printf "E'%s'" "${text//\'/\'\'}"
}

# A name in SQL as pg_dump writes it.
# shellcheck disable=SC2034 # roles.sh, tables.sh and others
readonly NAME_PATTERN='("([^"]|"")+"|[a-zA-Z_][a-zA-Z0-9_$]*)'

quote_name() { printf '"%s"' "${1//\"/\"\"}"; }

# Runs the SQL from standard input in a database; unaligned, one row a line, the first error is final. What psql says
# besides is told if it fails: a server may warn whoever logs in, e.g. of collations that are not those its database was
# made with. That is no part of an answer, and pg_dump's manifest has it.
run_sql() {
  local database=$1 said status=0
  {
    said=$("${AS_ACCOUNT[@]}" psql --no-psqlrc --quiet --no-align --tuples-only --set=ON_ERROR_STOP=1 \
      --dbname="$(connect_to "$database") client_encoding=UTF8" 2>&1 >&3 3>&-) || status=$?
  } 3>&1
  if ((status)); then printf '%s\n' "$said" >&2; fi
  return "$status"
}

# DATABASE QUERY: prints the answer. Without one this process ends.
query() {
  local answer
  if ! answer=$(run_sql "$1" <<<"$2" 2>&1); then fail "database '$1' cannot be asked: $answer"; fi
  if [[ -n $answer ]]; then printf '%s\n' "$answer"; fi
}

database_exists() { exists_in pg_database datname "$1"; }

role_exists() { exists_in pg_roles rolname "$1"; }

# CATALOGUE COLUMN NAME. No answer is no no: stops.
exists_in() {
  local found
  found=$(query postgres "select count(*) from $1 where $2 = $(quote_literal "$3");") || exit # set -e is off in an if
  [[ $found == 1 ]]
}

# In bytes.
# shellcheck disable=SC2034 # preflight.sh, target.sh
readonly SQL_DATABASE_SIZE='select pg_database_size(current_database())'

# Settings under which rows read the same everywhere, no timeout of role or database interferes, and row security is an
# error instead of rows silently missing.
print_session_settings() {
  cat <<'SQL'
set standard_conforming_strings = on;
select set_config(name, value, false) from (values
  ('statement_timeout', '0'), ('lock_timeout', '0'), ('idle_in_transaction_session_timeout', '0'),
  ('transaction_timeout', '0'), ('idle_session_timeout', '0'), ('search_path', ''), ('row_security', 'off'), ('lc_monetary', 'C'),
  ('timezone', 'UTC'), ('datestyle', 'ISO, YMD'), ('intervalstyle', 'iso_8601'), ('bytea_output', 'hex'),
  ('extra_float_digits', '1'), ('xmloption', 'content')
) as wanted (name, value) where exists (select from pg_settings where lower(pg_settings.name) = wanted.name) \g /dev/null
begin isolation level repeatable read, read only;
SQL
}
