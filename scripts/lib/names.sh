# shellcheck shell=bash
# File names. <database>_<UTC timestamp>.dump, its manifest beside it as <dump>.json, work in progress as .<file>.partial.
# Names outside [A-Za-z0-9._-] are written as ~XX per byte, because S3 keys are signed exactly as they are typed.

readonly TIMESTAMP_PATTERN='[0-9]{8}T[0-9]{6}Z'

# Bytes of $1 to a file name part; reversible. A leading '.' or '-' is escaped (hidden files, options), and so is the
# 'm' of a leading 'manual_', which would pass for an operator's own dump. Needs LC_ALL=C.
encode_name() {
  local name=$1 encoded='' byte code position
  for ((position = 0; position < ${#name}; position++)); do
    byte=${name:position:1}
    if [[ $byte =~ [A-Za-z0-9_] || ($byte =~ [.-] && position -gt 0) ]] &&
      [[ $position -gt 0 || $name != manual_* ]]; then
      encoded+=$byte
    else
      printf -v code '%d' "'$byte"
      printf -v byte '~%02X' "$((code & 255))"
      encoded+=$byte
    fi
  done
  printf '%s' "$encoded"
}

make_timestamp() { date -u +%Y%m%dT%H%M%SZ; }

# Seconds since 1970 of the timestamp in a dump's name.
read_timestamp() {
  local stamp=${1##*_}
  date -u -d "${stamp:0:8} ${stamp:9:2}:${stamp:11:2}:${stamp:13:2}" +%s
}

partial_of() { printf '%s/.%s.partial' "${1%/*}" "${1##*/}"; }

# Scheduled dumps of a database, newest first, one file name a line. Whether they are verified is the manifest's to say.
list_scheduled() {
  local database=$1 encoded file
  encoded=$(encode_name "$database")
  for file in "$BACKUP_DIRECTORY/$encoded"_*.dump; do
    file=${file##*/}
    if [[ ${file#"$encoded"_} =~ ^${TIMESTAMP_PATTERN}\.dump$ ]]; then printf '%s\n' "$file"; fi
  done | sort -r
}
