# shellcheck shell=bash
# What is off-host. A target's key may only add, not look, so it is known from a ledger of our own:
# BACKUP_STATE/off-host/<target>/<dump>.json. "copied" is written once dump and manifest are there and checked; "sending"
# before something that may be there although we were cut off; "expired" once retention has taken a copy away whose dump
# stays here for longer.

ledger_entry() { printf '%s/off-host/%s/%s.json' "$BACKUP_STATE" "$1" "$2"; }

# TARGET FILE
is_off_host() {
  [[ $(read_ledger "$1" "$2" .state) == copied ]]
}

# TARGET FILE: there, or rightly there no more; nothing that the next night would make good. Copies that are to be kept
# for another time than when they expired are made again.
was_copied() {
  [[ $(read_ledger "$1" "$2" '"\(.state) \(.days)"') == @("copied "*|"expired $("${1}_days")") ]]
}

# TARGET FILE JQ-FILTER: of the entry, if it speaks of the place that the settings name; else nothing.
read_ledger() {
  local entry
  entry=$(ledger_entry "$1" "$2")
  if [[ ! -f $entry ]]; then return; fi
  jq -r --arg place "$("${1}_place" '')" "select(.place == \$place) | $3 // empty" -- "$entry" 2>/dev/null || true
}

# TARGET FILE JSON
write_ledger() {
  local entry
  entry=$(ledger_entry "$1" "$2")
  mkdir -p -- "${entry%/*}"
  printf '%s\n' "$3" >"$entry.new"
  sync -- "$entry.new"
  mv -- "$entry.new" "$entry"
}

# TARGET DATABASE FILE [JSON]: an attempt that may leave something at the target.
note_sending() {
  local entry
  entry=$(jq -n --arg database "$2" --arg file "$3" --arg place "$("${1}_place" '')" \
    --arg object "$(object_of "$3")" --argjson more "${4:-null}" \
    '{database: $database, file: $file, object: $object, place: $place, state: "sending"} + $more')
  write_ledger "$1" "$3" "$entry"
}

# TARGET DATABASE FILE: as the copy's manifest, COPY_WORK/manifest, describes it.
note_copied() {
  local entry
  entry=$(jq --arg database "$2" --arg file "$3" --arg place "$("${1}_place" '')" \
    --arg at "$(make_timestamp)" '.off_host | {database: $database, file: $file, object: .file, place: $place,
      state: "copied", copied: $at, superseded: null} + del(.file)' -- "$COPY_WORK/manifest")
  write_ledger "$1" "$3" "$entry"
}

# TARGET FILE: its copy is older than the target keeps it.
note_expired() {
  local entry
  entry=$(ledger_entry "$1" "$2")
  if [[ ! -e $BACKUP_DIRECTORY/$2 ]]; then
    rm -f -- "$entry"
    return
  fi
  entry=$(jq --argjson days "$("${1}_days")" '.state = "expired" | .days = $days' -- "$entry")
  write_ledger "$1" "$2" "$entry"
}

# TARGET DATABASE: copies of a database's scheduled dumps, newest first (labelled ones neither supersede nor expire):
# <file> TAB <superseded or null>.
list_copies() {
  local entries=("$BACKUP_STATE/off-host/$1"/*.json)
  if [[ ! -e ${entries[0]} ]]; then return; fi
  jq -r --arg database "$2" --arg place "$("${1}_place" '')" 'select(.database == $database and .place == $place
    and .state == "copied" and (.file | startswith("manual_") | not)) | "\(.file)\t\(.superseded)"' -- "${entries[@]}" |
    sort_newest_first
}

# Marks all copies of a database but the newest one as superseded, at the target first.
supersede_older() {
  local target=$1 database=$2 file superseded newest='' entry copies
  copies=$(list_copies "$target" "$database")
  while IFS=$'\t' read -r file superseded; do
    if [[ -z $newest ]]; then
      newest=$file
    elif [[ $superseded == null ]]; then
      "${target}_supersede" "$file" "$(read_ledger "$target" "$file" .object)"
      entry=$(jq --arg at "$(make_timestamp)" '.superseded = $at' -- "$(ledger_entry "$target" "$file")")
      write_ledger "$target" "$file" "$entry"
    fi
  done <<<"$copies"
}

# Entries that have nothing left to say: of copies that were superseded, expired or labelled, and of attempts, whose dump
# is gone here; not where the job itself still has to remove the copy.
forget_gone() {
  local target=$1 entry file
  for entry in "$BACKUP_STATE/off-host/$target"/*.json; do
    file=${entry##*/}
    if [[ ! -e $entry || -e $BACKUP_DIRECTORY/${file%.json} ]]; then continue; fi
    if jq -e '.state == "sending"' -- "$entry" >/dev/null; then
      "${target}_clear" "${file%.json}"
      rm -f -- "$entry"
    elif jq -e '.state == "expired"' -- "$entry" >/dev/null || {
      jq -e '.superseded != null or (.file | startswith("manual_"))' -- "$entry" >/dev/null &&
        ! "${target}_expires" "${file%.json}"
    }; then
      rm -f -- "$entry"
    fi
  done
}
