# shellcheck shell=bash
# File names. <database>_<UTC timestamp>.dump, its manifest beside it as <dump>.json, work in progress as .<file>.partial.
# With a label, an operator's own: manual_<label>_<database>_<UTC timestamp>.dump.
# Names outside [A-Za-z0-9._-] are written as ~XX per byte, because S3 keys are signed exactly as they are typed.

# The globals of the server, which belong to no database, are globals_<UTC timestamp>.sql.

# Stands for the globals where a database's name is expected.
# shellcheck disable=SC2034 # globals.sh, backup.sh
readonly GLOBALS=''

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

# A name that no dump has yet, whatever the clock does. DATABASE LABEL
choose_name() {
  local name
  while name=${2:+manual_${2}_}$(stem_of "$1")_$(make_timestamp)$(suffix_of "$1") &&
    [[ -e $BACKUP_DIRECTORY/$name || -e $BACKUP_DIRECTORY/$name.json ]]; do
    sleep 0.1
  done
  printf '%s' "$name"
}

stem_of() { if [[ -n $1 ]]; then encode_name "$1"; else printf 'globals'; fi; }

suffix_of() { if [[ -n $1 ]]; then printf '.dump'; else printf '.sql'; fi; }

make_timestamp() { format_timestamp -1; }

# SECONDS since 1970; -1: now. By bash itself, as there are many to make.
format_timestamp() { TZ=UTC printf '%(%Y%m%dT%H%M%SZ)T' "$1"; }

partial_of() { printf '%s/.%s.partial' "${1%/*}" "${1##*/}"; }

# What a partial is called once it is whole.
whole_of() {
  local name=${1##*/}
  name=${name#.}
  printf '%s' "${1%/*}/${name%.partial}"
}

# Of names with timestamps, one a line, the newest first. Such from the future, made while the clock was ahead, come
# last: they are older than they say, and would pass for the newest until their time has come.
sort_newest_first() {
  local name future=()
  while IFS= read -r name; do
    if is_from_future "$name"; then future+=("$name"); else printf '%s\n' "$name"; fi
  done < <(sort -r)
  if ((${#future[@]})); then printf '%s\n' "${future[@]}"; fi
}

is_from_future() {
  [[ $1 =~ _(${TIMESTAMP_PATTERN})\. && ${BASH_REMATCH[1]} > $(make_timestamp) ]]
}

# Scheduled dumps of a database, newest first, one file name a line. Whether they are verified is the manifest's to say.
list_scheduled() {
  local stem suffix file
  stem=$(stem_of "$1") suffix=$(suffix_of "$1")
  for file in "$BACKUP_DIRECTORY/$stem"_*"$suffix"; do
    file=${file##*/} file=${file%"$suffix"}
    if [[ ${file#"$stem"_} =~ ^${TIMESTAMP_PATTERN}$ ]]; then printf '%s\n' "$file$suffix"; fi
  done | sort_newest_first
}

# What may be a labelled dump of a database, one file name a line: only the manifest knows where the label ends.
list_labelled() {
  local stem suffix file
  stem=$(stem_of "$1") suffix=$(suffix_of "$1")
  for file in "$BACKUP_DIRECTORY"/manual_*_"$stem"_*"$suffix"; do
    file=${file##*/} file=${file%"$suffix"}
    if [[ ${file##*"_${stem}_"} =~ ^${TIMESTAMP_PATTERN}$ ]]; then printf '%s\n' "$file$suffix"; fi
  done
}
