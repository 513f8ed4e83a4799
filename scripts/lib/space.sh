# shellcheck shell=bash
# Whether a dump will fit: known before it is begun, from the last one and the size of the database.

# DATABASE SIZE, what it has in bytes. Refuses to begin what cannot end well. Sets EXPECTED_SIZE, of the dump, in bytes.
check_space() {
  local database=$1 needed free inodes total files
  EXPECTED_SIZE=$(estimate_size "$database" "$2")
  needed=$((EXPECTED_SIZE + EXPECTED_SIZE / 10))
  { read -r && read -r free inodes total; } < <(df --output=avail,iavail,itotal --block-size=1 -- "$BACKUP_DIRECTORY")
  if ((needed > free)); then
    fail "not enough space in $BACKUP_DIRECTORY: the dump takes about $(format_size "$needed") ($needed bytes)," \
      "$(format_size "$free") ($free bytes) are free: free some, or lower RETENTION_DAYS ($RETENTION_DAYS)"
  fi
  # Some file systems do not count inodes and say 0 or -.
  files=$(estimate_files "$database")
  if [[ $total =~ ^[1-9] ]] && ((inodes < files)); then
    fail "not enough inodes in $BACKUP_DIRECTORY: a dump takes up to $files, $inodes are free: remove files"
  fi
}

# With DUMP_JOBS a file for each table.
estimate_files() {
  local tables=0
  if ((DUMP_JOBS > 1)); then tables=$(query "$1" "select count(*) from pg_class where relkind in ('r', 'm');"); fi
  printf '%s' "$((8 + tables))"
}

# DATABASE SIZE: about how many bytes a dump will have: as many as the last one, grown as the database has since. The
# first: a quarter of the database, which holds indexes too, or all of it if uncompressed; refusing what might fit would
# be worse than trying, which harms nothing.
estimate_size() {
  local database=$1 now=$2 newest
  newest=$(list_verified "$database")
  newest=${newest%%$'\n'*}
  if [[ -n $newest ]]; then
    newest=$(jq -r --argjson now "$now" --arg compression "${COMPRESSION_USED%%:*}" '
      select(.compression | startswith($compression)) |
      .size * ([1, $now / ([.database_size // $now, 1] | max)] | max) | floor' -- "$BACKUP_DIRECTORY/$newest.json")
  fi
  if [[ -z $newest && $COMPRESSION_USED == none ]]; then newest=$now; fi
  printf '%s' "${newest:-$((now / 4))}"
}
