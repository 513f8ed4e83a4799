# shellcheck shell=bash
# What is told of a backup alone: the dumps that are there, and their copies.

describe_failed_backup() {
  printf 'Earlier dumps are untouched; the newest verified ones:\n%s\n\n' "$(list_newest)"
}

describe_good_backup() {
  printf 'The newest verified dumps:\n%s\n' "$(list_newest)"
}

advise_on_backup() {
  printf 'What to do: read what failed, put it right, check, then back up now:\n'
  in_container journalctl --no-pager --since yesterday --unit "$MONITOR_UNIT"
  if [[ -n $BACKUP_COMMAND ]]; then in_container "$BACKUP_COMMAND" --dry-run; fi
  in_container systemctl start "$MONITOR_UNIT"
}

list_newest() {
  local database newest
  if ((!${#DATABASES[@]})); then printf '  unknown'; fi
  for database in "${DATABASES[@]}"; do
    newest=$(list_verified "$database" || true)
    newest=${newest%%$'\n'*}
    printf '  %s: %s\n' "$database" "${newest:-none}"
  done
}

add_metrics_of_backup() {
  add_runs '' backup 'When everything last succeeded, off-host copies included.'
  add_databases
  add_copies
  if [[ -d $BACKUP_DIRECTORY ]]; then
    add_metric free_bytes 'Bytes free where the dumps are.' "$(label directory "$BACKUP_DIRECTORY")" \
      "$(df --output=avail --block-size=1 -- "$BACKUP_DIRECTORY" | tail -n 1)"
  fi
}

add_databases() {
  local database files newest facts
  for database in "${DATABASES[@]}"; do
    files=$(list_verified "$database")
    newest=${files%%$'\n'*}
    facts='{}'
    if [[ -n $newest ]]; then facts=$(<"$BACKUP_DIRECTORY/$newest.json"); fi
    add_dump_metrics "$(label database "$database")" "$facts" "$(wc -w <<<"$files")"
  done
}

# LABEL MANIFEST COUNT
add_dump_metrics() {
  local label=$1 manifest=$2 count=$3 seconds='sub("\\.[0-9]+Z$"; "Z") | fromdate'
  add_metric dump_timestamp_seconds 'When the newest verified dump was begun.' "$label" \
    "$(jq ".started // empty | $seconds" <<<"$manifest")"
  add_metric dump_duration_seconds 'How long the newest verified dump took.' "$label" \
    "$(jq "select(.started) | (.ended | $seconds) - (.started | $seconds)" <<<"$manifest")"
  add_metric dump_size_bytes 'Size of the newest verified dump.' "$label" "$(jq '.size // empty' <<<"$manifest")"
  add_metric dump_rows 'Rows counted in the newest verified dump.' "$label" \
    "$(jq 'select(.tables) | [.tables[]] | add // 0' <<<"$manifest")"
  add_metric dumps 'Verified scheduled dumps that are kept here.' "$label" "$count"
}

# The ledger of off-host copies knows one entry a copy.
add_copies() {
  local database target count newest
  while IFS=$'\t' read -r database target count newest; do
    target="$(label database "$database"),$(label target "$target")"
    add_metric copies 'Off-host copies that are known of.' "$target" "$count"
    add_metric newest_copy_timestamp_seconds 'When the dump of the newest off-host copy was begun.' "$target" "$newest"
  done < <(list_all_copies)
}

# <database> TAB <target> TAB <count> TAB <time of the newest dump>
list_all_copies() {
  if [[ ! -d $BACKUP_STATE/off-host ]]; then return; fi
  find "$BACKUP_STATE/off-host" -name '*.json' -exec cat -- {} + | jq -sr '
    map(select((.state // "copied") == "copied" and .database != "") | .place //= .target) |
    group_by([.database, .place])[] | [.[0].database, .[0].place, length,
      (map(.file | capture("_(?<stamp>[0-9]{8}T[0-9]{6})Z").stamp | strptime("%Y%m%dT%H%M%S") | mktime) | max)] | @tsv'
}
