# shellcheck shell=bash
# Which dumps may go. Called only after a night in which everything succeeded.

# Removes a database's scheduled dumps that may go; never what is not verified, and never operators' own (manual_*). Tells
# of what it leaves alone but an operator should know.
remove_expired() {
  local database=$1 verified='' file
  while IFS= read -r file; do
    if is_from_future "$file"; then
      warn "$BACKUP_DIRECTORY/$file is from the future: it was made while the clock was ahead, and counts as the oldest"
    fi
    if is_verified "$BACKUP_DIRECTORY/$file"; then
      verified+=${verified:+$'\n'}$file
    else
      warn "$BACKUP_DIRECTORY/$file has no manifest that fits: it counts as no dump, and is left for you to look at"
    fi
  done < <(list_scheduled "$database")
  while IFS= read -r file; do
    remove_dump "$BACKUP_DIRECTORY/$file"
    say "removed $file, older than $RETENTION_DAYS days"
  done < <(pick_expired "$RETENTION_DAYS" <<<"$verified")
}

# DAYS: of dumps on standard input, newest first, those older than that; never the newest, and never more than half of
# all, the oldest first. A clock that is ahead, or the night after a long outage, finds all of them too old: so there are
# nights left to notice.
pick_expired() {
  local days=$1 file files expired=()
  mapfile -t files
  for file in "${files[@]:1}"; do
    if is_older "$file" "$days"; then expired=("$file" "${expired[@]}"); fi
  done
  if ((${#expired[@]})); then printf '%s\n' "${expired[@]:0:$((${#files[@]} / 2))}"; fi
}

# FILE DAYS; or anything that ends in _<timestamp>.
is_older() { [[ ${1##*_} < $(format_timestamp "$((EPOCHSECONDS - $2 * 86400))") ]]; }

# The same where it is for us to do, at the off-host targets.
remove_expired_copies() {
  local target database
  begin_copier
  for target in "${TARGETS[@]}"; do
    begin_copy_work "$NIGHT/retention.$target"
    for database in "${DATABASES[@]}" "$GLOBALS"; do "${target}_remove_expired" "$database"; done
  done
}
