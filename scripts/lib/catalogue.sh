# shellcheck shell=bash
# Which dumps this machine has.

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
  {
    printf 'TIME (UTC)\tDATABASE\tSIZE\tROWS\tLABEL\tVERIFIED\tOFF-HOST\tFILE\n'
    sort -r <<<"$lines"
  } | align_columns
}

# One line: time, database, size, rows, label, verified, off-host, file; TAB between.
describe_dump() {
  local dump=$1 file=${1##*/} about size
  size=$(format_size "$(size_of_dump "$dump")")
  if is_verified "$dump"; then
    about=$(jq -r --arg size "$size" '[(.started | sub("T"; " ") | sub("[.].*|Z"; "")), .database, $size,
      ([.tables[]] | add // 0 | tostring), (.label // "-"), "yes"] | join("\t")' -- "$dump.json")
  else
    about=$(date -u -r "$dump" '+%Y-%m-%d %H:%M:%S')$'\t-\t'$size$'\t-\t-\t'
    if [[ $file == manual_* && ! -e $dump.json ]]; then about+='by hand'; else about+='NO'; fi
  fi
  printf '%s\t%s\t%s\n' "$about" "$(describe_copy "$file")" "$file"
}

describe_copy() {
  local target text=''
  for target in "${TARGETS[@]}"; do
    if is_off_host "$target" "$1"; then text+=${text:+, }$target; else text+="${text:+, }NO $target"; fi
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
  require_commands jq sha256sum pg_restore
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
