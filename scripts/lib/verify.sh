# shellcheck shell=bash
# Proves what a database holds: rows per table, newest records, no orphans. Needs facts.sh, postgres.sh, manifest.sh.

# Proves DATABASE against a REFERENCE: manifest FILE | database NAME | nothing. NEWEST_RECORDS are those of SOURCE, the
# database that the settings speak of. Leaves the verdict as JSON in WORK/verdict.json; its .proved is the answer.
verify_database() {
  local database=$1 kind=$2 reference=$3 source=$4
  # shellcheck disable=SC2034 # read by facts.sh
  COUNT_TABLES=() # those of the manifest, whatever the settings say by now
  if [[ $kind == manifest ]]; then
    # shellcheck disable=SC2034 # read by facts.sh
    mapfile -t COUNT_TABLES < <(read_manifest "$reference" '.counted | arrays | .[]')
  fi
  read_facts "$database" found "$source"
  case $kind in
    manifest)
      read_manifest "$reference" '.tables' >"$WORK/right.counts"
      read_manifest "$reference" '.newest[]?' >"$WORK/right.newest"
      ;;
    database) read_facts "$reference" right "$source" ;;
    nothing) : | tee "$WORK/right.counts" >"$WORK/right.newest" ;;
  esac
  write_verdict "$database" "$kind" "$reference"
}

# Reads the facts of a database in one snapshot into WORK/<name>.counts, .newest and .keys.
read_facts() {
  local database=$1 name=$2 source=$3
  : | tee "$WORK/$name.counts" "$WORK/$name.newest" >"$WORK/$name.keys"
  {
    print_session_settings
    printf '%s\n' '\echo #counts'
    print_table_counts "$source"
    printf '%s\n' '\echo #newest'
    print_newest_records "$source" with_rows
    printf '%s\n' '\echo #keys'
    print_foreign_keys
  } >"$WORK/$name.sql"
  if ! run_sql "$database" <"$WORK/$name.sql" >"$WORK/$name.answers" 2>"$WORK/$name.err"; then
    fail "database '$database' cannot be read: $(<"$WORK/$name.err")"
  fi
  awk -v base="$WORK/$name." '/^#/ { file = base substr($0, 2); next } { print >file }' "$WORK/$name.answers"
}

write_verdict() {
  local database=$1 kind=$2 reference=$3
  jq -n --arg database "$database" --arg kind "$kind" --arg reference "$reference" \
    --slurpfile found "$WORK/found.counts" --slurpfile right "$WORK/right.counts" \
    --slurpfile found_newest "$WORK/found.newest" --slurpfile right_newest "$WORK/right.newest" \
    --slurpfile keys "$WORK/found.keys" '
    (($found | add) // {}) as $found | (($right | add) // {}) as $right |
    (reduce $right_newest[] as $n ({}; .[$n.table] = $n)) as $expected |
    ($found_newest | map(.table)) as $shown |
    {database: $database, against: {kind: $kind, name: $reference},
     tables: [($found + $right) | keys_unsorted | sort[] | {table: ., expected: $right[.], found: $found[.],
       ok: ($kind == "nothing" or ($right[.] != null and $right[.] == $found[.]))}],
     newest: ([$found_newest[] | . + {expected_md5: $expected[.table].md5} |
         .ok = ($kind == "nothing" or .expected_md5 == null or .expected_md5 == .md5)] +
       [$expected[] | select(.table as $t | $shown | index([$t]) | not) |
         {table, column, columns, rows: 0, latest: null, md5: null, newest: [], expected_md5: .md5, ok: false}]),
     foreign_keys: [$keys[] | . + {ok: (.orphans == 0)}]} |
    .counts_compared = ($kind != "nothing") |
    .proved = ([.tables[], .newest[], .foreign_keys[] | .ok] | all)' >"$WORK/verdict.json"
}

is_proved() { jq -e .proved "$WORK/verdict.json" >/dev/null; }

# The verdict for people: every table of a small database, the differing ones of a large one.
print_verdict() {
  jq -r '
    def cell($n): tostring | . + (" " * ([$n - length, 0] | max));
    def right($n): tostring | (" " * ([$n - length, 0] | max)) + .;
    def mark: if .ok then "ok" else "WRONG" end;
    def width: ([.[] | length] + [20]) | max | [., 60] | min;
    .counts_compared as $compared |
    ([.tables[].table, (.foreign_keys[] | "\(.table) \(.constraint)")] | width) as $w |
    "Database \(.database)" + (if $compared then ", compared with \(.against.kind) \(.against.name)" else "" end), "",
    "\("Table" | cell($w))  \("expected" | right(12))  \("found" | right(12))",
    ((.tables | if length > 40 then map(select(.ok | not)) else . end)[] |
      "\(.table | cell($w))  \(.expected // "-" | right(12))  \(.found // "-" | right(12))  \(if $compared then mark else "not compared" end)"),
    (if (.tables | length) > 40 then "(\(.tables | length) tables; only those that differ are shown)" else empty end), "",
    (.newest[] | "Newest of \(.table) by \(.column): \(if .expected_md5 == null then "not compared" else mark end)",
      (.newest[:5][] | "  " + (map(tostring) | join("  "))), ""),
    "\("Foreign key" | cell($w))  \("orphans" | right(12))",
    ((.foreign_keys | if length > 40 then map(select(.ok | not)) else . end)[] |
      "\("\(.table) \(.constraint)" | cell($w))  \(.orphans | right(12))  \(mark)\(if .validated then "" else " (NOT VALID: the source may hold the same)" end)"),
    "", (if .proved then "Proved:" else "NOT PROVED:" end),
    (if $compared then "  table counts   \([.tables[] | select(.ok)] | length) of \(.tables | length) equal, \([.tables[].found // 0] | add // 0) rows"
      else "  table counts   not compared: there is no manifest" end),
    "  newest records \(if (.newest | length) == 0 then "none configured or none there" else "\([.newest[] | select(.ok)] | length) of \(.newest | length) tables\(if ([.newest[] | select(.expected_md5 != null)] | length) > 0 then " as expected" else " shown, not compared" end)" end)",
    "  foreign keys   \([.foreign_keys[] | select(.ok)] | length) of \(.foreign_keys | length) without orphans, \([.foreign_keys[].orphans] | add // 0) orphans"
    ' "$WORK/verdict.json"
}

print_verdict_json() { jq . "$WORK/verdict.json"; }
