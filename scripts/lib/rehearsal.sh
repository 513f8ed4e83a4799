# shellcheck shell=bash
# A night without its deeds: every check that can be made beforehand, and what would be done. Writes nothing.

rehearse_night() {
  local database pid status failed=()
  check_machine
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
  if ((${#failed[@]})); then fail "the night would fail for: ${failed[*]}. Nothing was written"; fi
  say "the night would begin: every check passed, nothing was written"
}

rehearse() {
  local database=$1 name size file warning
  trap - EXIT
  # shellcheck disable=SC2034 # the lines are about it
  LOG_SUBJECT=$database
  check_login "$database"
  check_space "$database"
  check_dumpability "$database"
  while IFS= read -r warning; do warn "$warning"; done < <(jq -r '.[]' <<<"$DUMPABILITY")
  name=$(choose_name "$database" "$LABEL")
  size=$(format_size "$(estimate_size "$database")")
  printf "would dump '%s' to %s, about %s (server %s, %s, %s)\n" "$database" "$BACKUP_DIRECTORY/$name" "$size" \
    "$SERVER_VERSION" "$CLIENT_VERSION" "$COMPRESSION_USED"
  if [[ -n $S3_BUCKET ]]; then
    for file in "$name" $(list_verified "$database") $(list_verified_labelled "$database"); do
      if ! is_off_host "$file"; then printf 'would copy %s to %s\n' "$file" "$(off_host_target)$file"; fi
    done
  fi
  if [[ -z $LABEL ]]; then
    while IFS= read -r file; do
      if is_expired "$file"; then printf 'would remove %s, older than %s days\n' "$file" "$RETENTION_DAYS"; fi
    done < <(list_verified "$database")
  fi
}

# Any answer will do: a key that may only put cannot be tried without putting.
rehearse_copies() {
  local options=(--silent --show-error --head --output /dev/null --connect-timeout 20 --max-time 30) answer
  if [[ -z $S3_BUCKET ]]; then
    warn "S3_BUCKET is '': dumps would stay on this machine only"
    return
  fi
  if [[ -n $S3_CA_FILE ]]; then options+=(--cacert "$S3_CA_FILE"); fi
  if ! answer=$(curl -q "${options[@]}" "$(s3_url '')" 2>&1); then
    fail "off-host target $(s3_url '') does not answer: $answer"
  fi
}
