# shellcheck shell=bash
# A night without its deeds: every check that can be made beforehand, and what would be done. Writes nothing.

rehearse_night() {
  local database pid status failed=()
  check_machine
  NIGHT=$(mktemp -d) # removed by backup.sh
  check_lock "$BACKUP_STATE/lock"
  load_secrets
  choose_compression
  for database in "${DATABASES[@]}"; do
    rehearse "$database" & # a process of its own, as at night
    pid=$! status=0
    wait "$pid" || status=$?
    if ((status)); then failed+=("'$database'"); fi
  done
  rehearse_copies
  check_channels
  if ((${#failed[@]})); then fail "the night would fail for: ${failed[*]}. Nothing was written"; fi
  say "the night would begin: every check passed, nothing was written here"
}

rehearse() {
  local database=$1 name size file warning target
  trap - EXIT
  # shellcheck disable=SC2034 # the lines are about it, the checks use it
  LOG_SUBJECT=$database WORK=$NIGHT
  check_database "$database"
  while IFS= read -r warning; do warn "$warning"; done < <(jq -r '.[]' <<<"$DUMPABILITY")
  name=$(choose_name "$database" "$LABEL")
  size=$(format_size "$EXPECTED_SIZE")
  printf "would dump '%s' to %s, about %s (server %s, %s, %s)\n" "$database" "$BACKUP_DIRECTORY/$name" "$size" \
    "$SERVER_VERSION" "$CLIENT_VERSION" "$COMPRESSION_USED"
  for target in "${TARGETS[@]}"; do
    for file in "$name" $(list_copied "$database"); do
      if was_copied "$target" "$file"; then continue; fi
      printf 'would copy %s to %s\n' "$file" "$("${target}_place" "$(object_of "$file")")"
    done
  done
  if [[ -z $LABEL ]]; then
    while IFS= read -r file; do
      printf 'would remove %s, older than %s days\n' "$file" "$RETENTION_DAYS"
    done < <({
      printf '%s\n' "$name"
      list_verified "$database"
    } | pick_expired "$RETENTION_DAYS")
  fi
}

# Targets that do not answer have said why; the dumps would be made, the night would fail.
rehearse_copies() {
  local target
  if ((${#TARGETS[@]} == 0)); then warn "neither S3_BUCKET nor NAS_HOST is set: dumps would stay on this machine only"; fi
  check_recipients
  probe_targets
  for target in "${TARGETS[@]}"; do
    if is_dead "$target"; then failed+=("copies to $("${target}_place" '')"); fi
  done
}
