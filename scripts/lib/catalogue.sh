# shellcheck shell=bash
# Which dumps this machine has, and which are off-host.

# A table for people, newest first.
print_catalogue() {
  local dump lines
  lines=$(for dump in "$BACKUP_DIRECTORY"/*.dump; do
    if [[ -e $dump ]]; then describe_dump "$dump"; fi
  done)
  if [[ -z $lines ]]; then
    say "no dumps in $BACKUP_DIRECTORY yet"
    return
  fi
  print_table VERIFIED OFF-HOST "$lines"
}

# The two columns that tell of copies; the lines, of which the newest comes first.
print_table() {
  {
    printf 'TIME (UTC)\tDATABASE\tSIZE\tROWS\tLABEL\t%s\t%s\tFILE\n' "$1" "$2"
    sort -r <<<"$3"
  } | align_columns
}

# The copies off-host, which may be all that is left. What has no manifest there does not exist.
print_remote_catalogue() {
  local file lines
  NIGHT=$(mktemp -d)
  # shellcheck disable=SC2034 # where fetch.sh works; removed with NIGHT
  WORK=$NIGHT
  begin_fetching
  lines=$(list_remote dump | while IFS= read -r file; do describe_remote "$file"; done)
  end_fetching
  if [[ -z $lines ]]; then
    say "no copies at $("${FROM}_place" '') yet"
    return
  fi
  print_table WHOLE HERE "$lines"
}

# One line: time, database, size, rows, label, whole, here, file; TAB between.
describe_remote() {
  local file=$1 manifest=$COPY_WORK/$1.json whole=NO here=-
  "${FROM}_get" "$file.json" "$manifest"
  if ! is_complete "$file"; then
    printf '%s\t' - - - - - NO -
    printf '%s\n' "$file"
    return
  fi
  if is_remote "$(read_object "$manifest")"; then whole=yes; fi
  if is_verified "$BACKUP_DIRECTORY/$file"; then here=yes; fi
  printf '%s\t%s\t%s\t%s\n' "$(describe_manifest "$manifest")" "$whole" "$here" "$file"
}

# Time, database, size, rows, label.
describe_manifest() {
  jq -r --arg size "$(format_size "$(read_manifest "$1" .size)")" '[(.started | sub("T"; " ") | sub("[.].*|Z"; "")),
    .database, $size, ([.tables[]] | add // 0 | tostring), (.label // "-")] | join("\t")' -- "$1"
}

# One line: time, database, size, rows, label, verified, off-host, file; TAB between.
describe_dump() {
  local dump=$1 file=${1##*/} about size
  if is_verified "$dump"; then
    about=$(describe_manifest "$dump.json")$'\tyes'
  else
    size=$(format_size "$(size_of_dump "$dump")")
    about=$(date -u -r "$dump" '+%Y-%m-%d %H:%M:%S')$'\t-\t'$size$'\t-\t-\t'
    if [[ $file == manual_* && ! -e $dump.json ]]; then about+='by hand'; else about+='NO'; fi
  fi
  printf '%s\t%s\t%s\n' "$about" "$(describe_copy "$file")" "$file"
}

describe_copy() {
  local target text=''
  for target in "${TARGETS[@]}"; do
    if is_off_host "$target" "$1"; then
      text+=${text:+, }$target
    elif was_copied "$target" "$1"; then
      text+="${text:+, }expired $target"
    else
      text+="${text:+, }NO $target"
    fi
  done
  printf '%s' "${text:--}"
}

# Sizes and rows to the right, the rest to the left.
align_columns() {
  awk -F '\t' '
    { for (i = 1; i <= NF; i++) { cell[NR, i] = $i; if (length($i) > width[i]) width[i] = length($i) } columns = NF }
    END {
      for (line = 1; line <= NR; line++) {
        for (i = 1; i < columns; i++) printf((i == 3 || i == 4) ? "%*s  " : "%-*s  ", width[i], cell[line, i])
        print cell[line, columns]
      }
    }'
}

# Proves one dump. Root reads it as postgres does, which may read dumps that the role may not.
check_one() {
  require_commands jq openssl pg_restore
  # shellcheck disable=SC2034 # prefix of every client command
  if ((EUID == 0)); then AS_ACCOUNT=(runuser -u postgres --); fi
  refuse_encrypted "$1"
  pick_dump "$1" ''
  check_dump
  if [[ -n $MANIFEST ]]; then run_through; fi
  # shellcheck disable=SC2153 # set by pick_dump
  say "$DUMP is whole, read through to its end${MANIFEST:+; its manifest speaks of $(read_manifest "$MANIFEST" \
    '"\(.tables | length) tables, \([.tables[]] | add // 0) rows, \(.started)"')}"
}
