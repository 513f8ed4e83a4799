# shellcheck shell=bash
# Metrics for node_exporter's textfile collector: METRICS_DIRECTORY/<BACKUP_NAME>.prom. What is true of the last good
# night and of the dumps that are there stays true after a bad one.

write_metrics() {
  local file=$METRICS_DIRECTORY/$BACKUP_NAME.prom partial=$METRICS_DIRECTORY/.$BACKUP_NAME.prom.partial
  if [[ ! -d $METRICS_DIRECTORY || ! -w $METRICS_DIRECTORY ]]; then
    fail "METRICS_DIRECTORY is '$METRICS_DIRECTORY': must be a directory that $(id -un) may write: run pulumi up"
  fi
  # Errors of a group in a pipe would go unseen: the text is made first.
  METRICS=''
  add_night
  add_databases
  add_copies
  add_metric free_bytes 'Bytes free where the dumps are.' "$(label directory "$BACKUP_DIRECTORY")" \
    "$(df --output=avail --block-size=1 -- "$BACKUP_DIRECTORY" | tail -n 1)"
  printf '%s' "$METRICS" >"$partial"
  chmod 0644 -- "$partial"
  mv -f -- "$partial" "$file"
}

add_night() {
  local record
  record=$(make_record)
  add_metric last_attempt_timestamp_seconds 'When the last backup began.' '' "$STARTED"
  add_metric last_exit_status 'Exit status of the last backup; 128 + signal if one ended it.' '' "$STATUS"
  add_metric consecutive_failures 'Backups that failed since the last success.' '' "$(jq .failures <<<"$record")"
  add_metric last_success_timestamp_seconds 'When everything last succeeded, off-host copies included.' '' \
    "$(jq '.last_success // empty' <<<"$record")"
  add_metric last_success_duration_seconds 'How long that took.' '' \
    "$(jq '.last_success_seconds // empty' <<<"$record")"
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

label() {
  local value=${2//\\/\\\\}
  value=${value//\"/\\\"}
  printf '%s="%s"' "$1" "${value//$'\n'/\\n}"
}

# NAME HELP LABELS VALUE: a sample; its heading goes before the first one. Without a value there is no sample.
add_metric() {
  local name=pgbackup_$1 help=$2 labels=$3 value=${4// /} sample
  if [[ -z $value ]]; then return; fi
  labels=$(label name "$BACKUP_NAME")${labels:+,$labels}
  sample="$name{$labels} $value"
  if [[ $METRICS != *"# TYPE $name gauge"* ]]; then
    METRICS+="# HELP $name $help"$'\n'"# TYPE $name gauge"$'\n'"$sample"$'\n'
  else
    METRICS=${METRICS/"# TYPE $name gauge"/"# TYPE $name gauge"$'\n'"$sample"}
  fi
}
