# shellcheck shell=bash
# Which dumps may go. Called only after a night in which everything succeeded.

# Removes a database's scheduled, verified dumps older than RETENTION_DAYS; never the newest verified one, however old,
# never operators' own (manual_*), never what is not verified.
remove_expired() {
  local database=$1 file newest=''
  while IFS= read -r file; do
    if [[ -z $newest ]]; then
      newest=$file
    elif is_expired "$file"; then
      remove_dump "$BACKUP_DIRECTORY/$file"
      say "removed $file, older than $RETENTION_DAYS days"
    fi
  done < <(list_verified "$database")
}

is_expired() { is_older "$1" "$RETENTION_DAYS"; }

# FILE DAYS; or anything that ends in _<timestamp>.
is_older() { [[ ${1##*_} < $(format_timestamp "$((EPOCHSECONDS - $2 * 86400))") ]]; }

# The same where it is for us to do, at the off-host targets.
remove_expired_copies() {
  local target database
  for target in "${TARGETS[@]}"; do
    begin_copy_work "$NIGHT/retention.$target"
    for database in "${DATABASES[@]}" "$GLOBALS"; do "${target}_remove_expired" "$database"; done
  done
}

# Tells of what retention leaves alone but an operator should know.
report_unusual() {
  local database=$1 file
  while IFS= read -r file; do
    if is_from_future "$file"; then
      warn "$BACKUP_DIRECTORY/$file is from the future: it was made while the clock was ahead, and counts as the oldest"
    fi
    if ! is_verified "$BACKUP_DIRECTORY/$file"; then
      warn "$BACKUP_DIRECTORY/$file has no manifest that fits: it counts as no dump, and is left for you to look at"
    fi
  done < <(list_scheduled "$database")
}
