# shellcheck shell=bash
# Single tables out of a dump. What belongs to a table is read from the dump's own table of contents, which says what
# depends on what; pg_restore --table would bring neither indexes nor keys nor sequences.

# Sets up WORK/tables.list, the entries to restore together, and WORK/keys.list, foreign keys that concern other tables.
choose_tables() {
  local table whole=0
  if ((!${#TABLES[@]})); then return; fi
  if ((CREATES)) || [[ $MODE == new ]]; then whole=1; fi
  for table in "${TABLES[@]}"; do
    check_absent "$table"
    name_entry "$table"
  done >"$WORK/tables.wanted"
  "${AS_ACCOUNT[@]}" pg_restore --list --verbose -- "$DUMP" |
    awk -v wanted="$WORK/tables.wanted" -v keys="$WORK/keys.list" -v chosen="$WORK/tables.chosen" -v whole="$whole" \
      -f "${BASH_SOURCE[0]%.sh}.awk" >"$WORK/tables.list" || fail "--table: $(<"$WORK/tables.list")"
}

check_absent() {
  local table=$1 there
  if [[ $MODE != into ]]; then return 0; fi
  there=$(query "$TARGET" "select to_regclass($(quote_literal "$table"));")
  if [[ -n $there ]]; then
    fail "table $table exists in '$TARGET': --table brings back one that is not there. To compare the two, rename yours:" \
      "alter table $table rename to …"
  fi
}

# A table as SQL has it whatever its name: as in the manifest, a name without quotes is meant literally.
quote_table() {
  local schema name
  if [[ $1 =~ ^($NAME_PATTERN)\.($NAME_PATTERN)$ ]]; then
    schema=$(unquote_names "${BASH_REMATCH[1]}") name=$(unquote_names "${BASH_REMATCH[4]}")
    printf '%s.%s' "$(quote_name "$schema")" "$(quote_name "$name")"
  fi
}

# A table as the table of contents has it: schema and name without quotes.
name_entry() {
  if [[ $1 =~ ^($NAME_PATTERN)\.($NAME_PATTERN)$ ]]; then
    printf '%s %s\n' "$(unquote_names "${BASH_REMATCH[1]}")" "$(unquote_names "${BASH_REMATCH[4]}")"
  fi
}

# The tables in one transaction; then each foreign key that ties them to other tables, if those are there, on its own.
restore_tables() {
  local database=$1
  hand_over tables.list
  tell "restoring ${TABLES[*]} from $DUMP into '$TARGET' in one transaction"
  if ! restore_entries "$database" "$WORK/tables.list"; then
    if [[ $MODE == into ]]; then fail "pg_restore failed: database '$TARGET' is as it was before"; fi
    fail_new
  fi
  restore_keys "$database"
  take_back_lists
}

# DATABASE LIST
restore_entries() {
  local options=(--use-list="$2" --exit-on-error --single-transaction "${NO_TABLESPACES[@]}")
  if [[ $MODE == new ]]; then
    mapfile -t -O "${#options[@]}" options < <(list_restore_options | grep -vE '^--(single-transaction|no-tablespaces|jobs)')
  fi
  perform "${AS_ACCOUNT[@]}" pg_restore --dbname="$(name_database "$1")" "${options[@]}" "$DUMP"
}

restore_keys() {
  local database=$1 number=0 entry
  while IFS= read -r entry <&3; do
    if [[ $MODE != into ]]; then
      warn "foreign key left out, because its other table is not restored: ${entry#*FK CONSTRAINT }"
      continue
    fi
    number=$((number + 1))
    printf '%s\n' "$entry" >"$WORK/key.$number.list"
    tell "foreign key to or from another table: ${entry#*FK CONSTRAINT }"
    hand_over "key.$number.list"
    if ! restore_entries "$database" "$WORK/key.$number.list"; then
      warn "foreign key left out, see above: its other table is not there, or rows do not fit, or it is there: ${entry#*FK CONSTRAINT }"
    fi
  done 3<"$WORK/keys.list"
}

# Of the manifest what it says of these tables; prints its path.
narrow_manifest() {
  jq --rawfile chosen "$WORK/tables.chosen" '
    def plain: [scan("\"(?:[^\"]|\"\")+\"|[^.\"]+") | if startswith("\"") then .[1:-1] | gsub("\"\""; "\"") else . end] | join(" ");
    ($chosen | split("\n")) as $names | def is_chosen: plain | IN($names[]);
    .tables |= with_entries(select(.key | is_chosen)) | .counted = (.tables | keys) | .newest |= map(select(.table | is_chosen)) |
    .checksums |= ((. // {}) | with_entries(select(.key | is_chosen))) | del(.structure, .extension_tables)' -- "$MANIFEST" >"$WORK/narrow.json"
  printf '%s' "$WORK/narrow.json"
}
