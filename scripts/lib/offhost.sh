# shellcheck shell=bash
# Off-host copies. The key may only put and tag, not look, so what is off-host is known from a ledger of our own:
# BACKUP_STATE/off-host/<dump>.json, one entry per copy, written once dump and manifest are there.

ledger_entry() { printf '%s/off-host/%s.json' "$BACKUP_STATE" "$1"; }

off_host_target() { s3_url "$S3_PREFIX"; }

is_off_host() {
  local entry
  entry=$(ledger_entry "$1")
  [[ -f $entry && $(jq -r .target -- "$entry" 2>/dev/null || true) == "$(off_host_target)" ]]
}

# Brings off-host what is not there yet: the newest dump first, then what earlier nights missed. Then, and only then,
# marks the older copies as superseded.
copy_off_host() {
  local database=$1 files file
  files=$(list_verified "$database" && list_verified_labelled "$database")
  while IFS= read -r file; do
    if [[ -n $file ]] && ! is_off_host "$file"; then copy_dump "$database" "$file"; fi
  done <<<"$files"
  supersede_older "$database"
  forget_gone
}

# The manifest is put last: without it the copy does not exist.
copy_dump() {
  local database=$1 file=$2 dump=$BACKUP_DIRECTORY/$2 sha256 started=$SECONDS
  check_content "$dump"
  put_object "$dump" "$S3_PREFIX$file" "$(read_manifest "$dump.json" .sha256)"
  if [[ -z $S3_CONFIRMED ]]; then warn "$S3_BUCKET does not report the SHA-256 of what it stored"; fi
  read -r sha256 _ < <(sha256sum <"$dump.json")
  put_object "$dump.json" "$S3_PREFIX$file.json" "$sha256"
  write_ledger "$file" "$(jq -n --arg database "$database" --arg file "$file" --arg target "$(off_host_target)" \
    --arg confirmed "$S3_CONFIRMED" --arg at "$(make_timestamp)" '{database: $database, file: $file, target: $target,
      copied: $at, confirmed_by_server: ($confirmed != ""), superseded: null}')"
  say "off-host: $(off_host_target)$file with its manifest, $((SECONDS - started)) s"
}

write_ledger() {
  local entry
  entry=$(ledger_entry "$1")
  mkdir -p -- "${entry%/*}"
  printf '%s\n' "$2" >"$entry.new"
  sync -- "$entry.new"
  mv -- "$entry.new" "$entry"
}

# Copies of a database's scheduled dumps at this target, newest first (labelled ones neither supersede nor expire): <file> TAB <superseded or null>.
list_copies() {
  local entries=("$BACKUP_STATE"/off-host/*.json)
  if [[ ! -e ${entries[0]} ]]; then return; fi
  jq -r --arg database "$1" --arg target "$(off_host_target)" \
    'select(.database == $database and .target == $target and (.file | startswith("manual_") | not)) | "\(.file)\t\(.superseded)"' -- "${entries[@]}" | sort -r
}

supersede_older() {
  local database=$1 file superseded newest='' entry copies
  copies=$(list_copies "$database")
  while IFS=$'\t' read -r file superseded; do
    if [[ -z $newest ]]; then
      newest=$file
    elif [[ $superseded == null ]]; then
      tag_superseded "$S3_PREFIX$file.json" "$WORK"
      tag_superseded "$S3_PREFIX$file" "$WORK"
      entry=$(jq --arg at "$(make_timestamp)" '.superseded = $at' -- "$(ledger_entry "$file")")
      write_ledger "$file" "$entry"
    fi
  done <<<"$copies"
}

# Entries of superseded or labelled copies whose dump is gone here have nothing left to say.
forget_gone() {
  local entry file
  for entry in "$BACKUP_STATE"/off-host/*.json; do
    file=${entry##*/}
    if [[ -e $entry && ! -e $BACKUP_DIRECTORY/${file%.json} ]] && jq -e '.superseded != null or (.file | startswith("manual_"))' -- "$entry" >/dev/null; then
      rm -f -- "$entry"
    fi
  done
}
