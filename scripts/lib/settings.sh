# shellcheck shell=bash
# The settings: read from the file that BACKUP_ENV names, checked before anything is touched.

readonly SETTING_KEYS=(BACKUP_NAME BACKUP_ROLE GRANTS BYPASS_RLS LARGE_OBJECTS BACKUP_DIRECTORY BACKUP_STATE BACKUP_SECRETS DATABASES RETENTION_DAYS
  S3_BUCKET S3_PREFIX S3_REGION S3_ENDPOINT S3_CA_FILE NEWEST_RECORDS COUNT_TABLES CHECKSUM_TABLES COMPRESSION DUMP_JOBS
  DRILL_DIRECTORY DRILL_FROM DRILL_SECRETS
  LOCK_WAIT S3_RETENTION_DAYS S3_STALL_SECONDS NAS_HOST NAS_PORT NAS_USER NAS_DIRECTORY NAS_HOST_KEY NAS_KEY_FILE NAS_RETENTION_DAYS
  NAS_STALL_SECONDS UNREACHABLE_TARGET AGE_RECIPIENTS
  BACKUP_VMID BACKUP_HOST BACKUP_COMMAND DRILL_COMMAND OUTCOME_SECRETS NOTIFY_COMMAND NOTIFY_MAIL METRICS_DIRECTORY
  NOTIFY_SECONDS)

load_settings() {
  if [[ -z ${BACKUP_ENV:-} ]]; then
    fail "BACKUP_ENV is not set: must name the settings file, e.g. BACKUP_ENV=/etc/trade-show-app/backup.env"
  fi
  check_trusted "$BACKUP_ENV" 'settings file'
  check_syntax "$BACKUP_ENV"
  unset -v "${SETTING_KEYS[@]}" # nothing leaks in from the caller's environment
  # shellcheck source=/dev/null
  source "$BACKUP_ENV"
  fill_defaults
  check_names
  check_paths
  check_databases
  check_off_host
  check_notification
}

# Root runs what this file says, so nobody else may have written it.
check_trusted() {
  local file=$1 what=$2 owner mode
  if [[ ! -e $file ]]; then fail "$what $file does not exist: run pulumi up, or correct BACKUP_ENV"; fi
  if [[ ! -f $file || ! -r $file ]]; then fail "$what $file cannot be read by $(id -un): must be a readable file"; fi
  read -r owner mode < <(stat -L -c '%u %a' -- "$file")
  if ((owner != 0 && owner != EUID)); then
    fail "$what $file belongs to $(stat -L -c %U -- "$file"): must belong to root"
  fi
  if ((8#$mode & 8#022)); then fail "$what $file has mode $mode: must not be writable by group or others"; fi
}

# A broken line is named by its number only: the file may hold secrets.
check_syntax() {
  local file=$1 message line
  if message=$(bash -n -- "$file" 2>&1) && message=$(try_source "$file" 2>&1); then return; fi
  line='?'
  if [[ $message =~ line\ ([0-9]+): ]]; then line=${BASH_REMATCH[1]}; fi
  fail "$file line $line: bash cannot read it: must be KEY='value' lines only"
}

try_source() {
  env -i bash -c "set -euo pipefail; source \"\$1\"" try_source "$1"
}

fill_defaults() {
  : "${BACKUP_NAME:=}" "${BACKUP_ROLE:=}" "${BACKUP_DIRECTORY:=}" "${BACKUP_STATE:=}" "${BACKUP_SECRETS:=}"
  : "${GRANTS:=all}" "${BYPASS_RLS:=no}" "${LARGE_OBJECTS:=no}"
  : "${RETENTION_DAYS:=14}" "${LOCK_WAIT:=10min}" "${S3_STALL_SECONDS:=60}" "${COMPRESSION:=auto}" "${DUMP_JOBS:=1}"
  : "${S3_BUCKET:=}" "${S3_PREFIX:=}" "${S3_REGION:=us-east-1}" "${S3_ENDPOINT:=}" "${S3_CA_FILE:=}" "${S3_RETENTION_DAYS:=0}"
  : "${BACKUP_VMID:=}" "${BACKUP_HOST:=}" "${BACKUP_COMMAND:=}" "${DRILL_COMMAND:=}" "${OUTCOME_SECRETS:=}" "${METRICS_DIRECTORY:=}"
  : "${NOTIFY_COMMAND:=}" "${NOTIFY_MAIL:=}" "${NOTIFY_SECONDS:=20}"
  S3_ENDPOINT=${S3_ENDPOINT%/}
  DRILL_DIRECTORY=${DRILL_DIRECTORY:-$BACKUP_STATE/drill}
  : "${DRILL_FROM:=local}" "${DRILL_SECRETS:=}"
  : "${NAS_HOST:=}" "${NAS_PORT:=22}" "${NAS_USER:=}" "${NAS_DIRECTORY:=}" "${NAS_HOST_KEY:=}" "${NAS_KEY_FILE:=}"
  : "${NAS_RETENTION_DAYS:=0}" "${NAS_STALL_SECONDS:=60}" "${UNREACHABLE_TARGET:=local}"
  if [[ -z ${DATABASES+set} ]]; then DATABASES=(); fi
  if [[ -z ${NEWEST_RECORDS+set} ]]; then NEWEST_RECORDS=(); fi
  if [[ -z ${AGE_RECIPIENTS+set} ]]; then AGE_RECIPIENTS=(); fi
  if [[ -z ${COUNT_TABLES+set} ]]; then COUNT_TABLES=(); fi
  if [[ -z ${CHECKSUM_TABLES+set} ]]; then CHECKSUM_TABLES=(); fi
}

check_names() {
  require_match BACKUP_NAME '^[A-Za-z0-9][A-Za-z0-9._-]*$' "a name of A-Z, a-z, 0-9, '.', '_' and '-', e.g. 'trade-show-db'"
  require_match BACKUP_ROLE '^[a-z_][a-z0-9_-]{0,30}$' 'at most 31 characters of a-z, 0-9, _ and -, beginning with a letter or _'
  require_match GRANTS '^(all|schemas)$' "all or schemas"
  require_match BYPASS_RLS '^(yes|no)$' 'yes or no'
  require_match LARGE_OBJECTS '^(yes|no)$' 'yes or no'
  require_match RETENTION_DAYS '^[1-9][0-9]{0,4}$' 'a whole number of days from 1 to 99999'
  require_match LOCK_WAIT '^[1-9][0-9]*(ms|s|min|h)$' "a time as PostgreSQL writes it, e.g. '10min'"
  require_match COMPRESSION '^(auto|none|gzip(:[1-9])?|zstd(:([1-9]|1[0-9]|2[0-2]))?)$' \
    "auto, none, gzip, gzip:1 to gzip:9, zstd or zstd:1 to zstd:22"
  require_match DRILL_FROM '^(local|s3|nas)$' 'local, s3 or nas'
  require_match DUMP_JOBS '^([1-9]|1[0-6])$' 'a whole number from 1 to 16'
  require_match S3_STALL_SECONDS '^[1-9][0-9]{0,4}$' 'a whole number of seconds, 1 or more'
}

check_paths() {
  local key
  for key in BACKUP_DIRECTORY BACKUP_STATE BACKUP_SECRETS DRILL_DIRECTORY; do
    require_match "$key" '^/[^[:cntrl:]]*[^/[:cntrl:]]$' "an absolute path, e.g. '/var/backups/trade-show-app'"
  done
}

check_databases() {
  local database entry seen=$'\n'
  if ((${#DATABASES[@]} == 0)); then reject DATABASES '()' "at least one database, e.g. ('expense_app_production')"; fi
  for database in "${DATABASES[@]}"; do
    if [[ -z $database || $database == *[[:cntrl:]]* ]] || ((${#database} > 63)); then
      reject DATABASES "$database" 'names of 1 to 63 bytes without control characters'
    fi
    if [[ $seen == *$'\n'"$database"$'\n'* ]]; then reject DATABASES "$database" 'named once'; fi
    seen+=$database$'\n'
  done
  for entry in "${NEWEST_RECORDS[@]}"; do
    if [[ ! $entry =~ ^.+\|[^|]+\|[^|]+\|[^|]+$ ]]; then
      reject NEWEST_RECORDS "$entry" "'database|schema.table|time column|column,column'"
    fi
  done
  check_tables COUNT_TABLES "${COUNT_TABLES[@]}"
  check_tables CHECKSUM_TABLES "${CHECKSUM_TABLES[@]}"
}

# KEY ENTRY...
check_tables() {
  local key=$1 entry
  shift
  for entry in "$@"; do
    if [[ $entry != ?*.?* ]]; then reject "$key" "$entry" "'schema.table' or 'database|schema.table'"; fi
  done
}

check_off_host() {
  require_match S3_BUCKET '^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$' 'a bucket name, or empty for no off-host copy'
  require_match S3_PREFIX '^([A-Za-z0-9._~-]+/)*$' "empty, or A-Z, a-z, 0-9 and ._~- ending in /, e.g. 'ct2320/'"
  require_match S3_REGION '^[a-z0-9-]+$' "a region, e.g. 'us-east-1'"
  require_match S3_ENDPOINT '^(https?://[A-Za-z0-9.:_-]+|https?://\[[0-9a-fA-F:]+\](:[0-9]+)?)?$' \
    "empty for AWS, or a URL without a path, e.g. 'https://minio.example:9000'"
  if [[ -n $S3_CA_FILE && ! -r $S3_CA_FILE ]]; then reject S3_CA_FILE "$S3_CA_FILE" 'a readable PEM file, or empty'; fi
  require_match S3_RETENTION_DAYS '^(0|[1-9][0-9]{0,4})$' 'a whole number of days, or 0 if the bucket has no lifecycle rule'
  require_match UNREACHABLE_TARGET '^(refuse|local)$' "'local' (dump here all the same, then fail) or 'refuse' (begin nothing)"
  if [[ -n $NAS_HOST ]]; then check_nas; fi
  check_age_recipients
}

check_age_recipients() {
  local recipient
  for recipient in "${AGE_RECIPIENTS[@]}"; do
    if [[ $recipient == AGE-SECRET-KEY-* ]]; then
      fail "$BACKUP_ENV: AGE_RECIPIENTS holds a private key: must be public ones, 'age1…'. That key is no longer secret: make another"
    fi
    if [[ ! $recipient =~ ^(age1|ssh-(ed25519|rsa)\ )[A-Za-z0-9+/=]+ ]]; then
      reject AGE_RECIPIENTS "$recipient" "public keys, 'age1…' or 'ssh-ed25519 AAAA…'"
    fi
  done
}

check_nas() {
  require_match NAS_HOST '^[A-Za-z0-9:][A-Za-z0-9.:_%-]*$' 'a host name or address, or empty for no NAS'
  require_match NAS_PORT '^[1-9][0-9]{0,4}$' 'a port number, 1 to 65535'
  require_match NAS_USER '^[A-Za-z0-9_][A-Za-z0-9._-]*$' "the account's name on the NAS"
  require_match NAS_DIRECTORY '^/[^[:cntrl:]]*$' "an absolute path on the NAS, this container's own, e.g. '/ct2320'"
  require_match NAS_HOST_KEY '^[a-z0-9@.-]+ [A-Za-z0-9+/]+=*$' "the NAS's public host key, e.g. 'ssh-ed25519 AAAA…'"
  require_match NAS_KEY_FILE '^/[^[:cntrl:]"]+$' "the path of a private key, e.g. '/etc/trade-show-app/nas-key'"
  require_match NAS_RETENTION_DAYS '^(0|[1-9][0-9]{0,4})$' 'a whole number of days, or 0 to remove nothing'
  require_match NAS_STALL_SECONDS '^[1-9][0-9]{0,4}$' 'a whole number of seconds, 1 or more'
}

check_notification() {
  require_match BACKUP_VMID '^([1-9][0-9]*)?$' "the container's number on its host, e.g. '2320', or empty"
  require_match NOTIFY_COMMAND '^(/[^[:cntrl:]]+)?$' "a program's absolute path, with arguments as typed in bash, or empty"
  require_match NOTIFY_MAIL '^([A-Za-z0-9_][A-Za-z0-9._%+-]*(@[A-Za-z0-9.-]+)?)?$' "one mail address, or empty"
  require_match METRICS_DIRECTORY '^(/[^[:cntrl:]]*[^/[:cntrl:]])?$' \
    "an absolute path, e.g. '/var/lib/prometheus/node-exporter', or empty for no metrics"
  require_match NOTIFY_SECONDS '^[1-9][0-9]{0,2}$' 'a whole number of seconds from 1 to 999'
}

# backup or restore: how it is called on this machine, for people.
name_command() { printf '%s' "${BACKUP_COMMAND%backup.sh}$1.sh"; }

# KEY PATTERN RIGHT
require_match() {
  local key=$1 pattern=$2 right=$3
  if [[ ! ${!key} =~ $pattern ]]; then reject "$key" "${!key}" "$right"; fi
}

reject() {
  local key=$1 value=$2 right=$3 line
  line=$(sed -n "/^[[:space:]]*$key=/=" -- "$BACKUP_ENV" | tail -n 1)
  fail "$BACKUP_ENV${line:+ line $line}: $key is '$value': must be $right"
}

# The keys to the bucket. Only ever read as the account that owns them, never by root.
load_secrets() {
  S3_ACCESS_KEY_ID='' S3_SECRET_ACCESS_KEY=''
  if [[ -z $S3_BUCKET ]]; then return; fi
  source_secrets "$BACKUP_SECRETS"
  if [[ -z $S3_ACCESS_KEY_ID || -z $S3_SECRET_ACCESS_KEY ]]; then
    fail "$BACKUP_SECRETS: S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is empty: both must be set while S3_BUCKET is '$S3_BUCKET'"
  fi
}

source_secrets() {
  check_trusted "$1" 'secrets file'
  check_syntax "$1"
  if (($(stat -L -c '0%a' -- "$1") & 8#077)); then
    fail "secrets file $1 has mode $(stat -L -c %a -- "$1"): must be 600"
  fi
  # shellcheck source=/dev/null
  source "$1"
}
