# shellcheck shell=bash
# Proves what a database holds: rows per table, newest records, no orphans, structure, checksums. Needs facts.sh,
# structure.sh, checksum.sh, postgres.sh, manifest.sh. What is compared with what is in docs/verification.md.

# Tables whose checksums are compared with another database's.
CHECKSUMS=()

# Proves DATABASE against a REFERENCE: manifest FILE | database NAME | nothing. NEWEST_RECORDS are those of SOURCE, the
# database that the settings speak of. Leaves the verdict as JSON in WORK/verdict.json; its .proved is the answer.
verify_database() {
  local database=$1 kind=$2 reference=$3 source=$4
  # shellcheck disable=SC2034 # read by facts.sh
  COUNT_TABLES=() # those of the manifest, whatever the settings say by now
  if [[ $kind == manifest ]]; then
    # shellcheck disable=SC2034 # read by facts.sh
    mapfile -t COUNT_TABLES < <(read_manifest "$reference" '.counted | arrays | if . == [] then "" else .[] end') # '': none
    mapfile -t CHECKSUMS < <(read_manifest "$reference" '.checksums // {} | keys[]')
  fi
  read_facts "$database" found "$source"
  case $kind in
    manifest) read_expectation "$reference" ;;
    database) read_facts "$reference" right "$source" ;;
    nothing) begin_answers right ;;
  esac
  write_verdict "$database" "$kind" "$reference"
}

readonly ANSWERS=(counts registered newest keys structure checksums)

begin_answers() {
  local answer
  for answer in "${ANSWERS[@]}"; do : >"$WORK/$1.$answer"; done
}

# Reads the facts of a database in one snapshot into WORK/<name>.counts, .newest and so on.
read_facts() {
  local database=$1 name=$2 source=$3
  begin_answers "$name"
  {
    print_session_settings
    printf '%s\n' '\echo #counts'
    print_table_counts "$source"
    printf '%s\n' '\echo #registered'
    print_registered_counts "$source"
    printf '%s\n' '\echo #newest'
    print_newest_records "$source" with_rows
    printf '%s\n' '\echo #keys'
    print_foreign_keys
    printf '%s\n' '\echo #structure'
    print_structure "$source" 'every sequence'
    printf '%s\n' '\echo #checksums'
    print_checksums "${CHECKSUMS[@]}"
  } >"$WORK/$name.sql"
  if ! run_sql "$database" <"$WORK/$name.sql" >"$WORK/$name.answers" 2>"$WORK/$name.err"; then
    fail "database '$database' cannot be read: $(<"$WORK/$name.err")"
  fi
  awk -v base="$WORK/$name." '/^#/ { file = base substr($0, 2); next } { print >file }' "$WORK/$name.answers"
}

# What a manifest says, in the form of read_facts. One of an older version says less.
read_expectation() {
  local manifest=$1
  read_manifest "$manifest" '.tables' >"$WORK/right.counts"
  read_manifest "$manifest" '.extension_tables // {}' >"$WORK/right.registered"
  read_manifest "$manifest" '.newest[]?' >"$WORK/right.newest"
  read_manifest "$manifest" '.orphans // {} | to_entries[] | {key, orphans: .value}' >"$WORK/right.keys"
  read_manifest "$manifest" '.structure // empty' >"$WORK/right.structure"
  read_manifest "$manifest" '.checksums // {}' >"$WORK/right.checksums"
}

write_verdict() {
  local database=$1 kind=$2 reference=$3 answer options=()
  for answer in "${ANSWERS[@]}"; do
    options+=(--slurpfile "found_$answer" "$WORK/found.$answer" --slurpfile "right_$answer" "$WORK/right.$answer")
  done
  jq -n --arg database "$database" --arg kind "$kind" --arg reference "$reference" \
    --argjson checksums "$(jq -n '[$ARGS.positional[]]' --args "${CHECKSUMS[@]}")" "${options[@]}" \
    "$HEALTHY $JUDGEMENTS"' {database: $database, against: {kind: $kind, name: $reference}, counts_compared: ($kind != "nothing"),
      structure_compared: ($right_structure | length > 0), tables: judge_tables, newest: judge_newest,
      foreign_keys: judge_keys, structure: judge_structure, checksums: judge_checksums} |
    .proved = ([.tables[], .newest[], .foreign_keys[], .structure[], .checksums[] | .ok] | all)' >"$WORK/verdict.json"
}

readonly HEALTHY='def is_healthy: IN("there", "valid", "ahead", "populated", "enabled", "always");'

# How each fact is judged; jq.
# shellcheck disable=SC2016 # the variables are jq's
readonly JUDGEMENTS='
# Another version of an extension may have more of them.
def judge_registered: (($found_registered | add) // {}) as $found | (($right_registered | add) // {}) as $right |
  [$right | keys_unsorted | sort[] | {table: ., expected: $right[.], found: $found[.], ok: ($right[.] == $found[.])}];

def judge_tables: (($found_counts | add) // {}) as $found | (($right_counts | add) // {}) as $right |
  [($found + $right) | keys_unsorted | sort[] | {table: ., expected: $right[.], found: $found[.],
    ok: ($kind == "nothing" or ($right[.] != null and $right[.] == $found[.]))}] + judge_registered;

def judge_newest: (reduce $right_newest[] as $n ({}; .[$n.table] = $n)) as $expected |
  ($found_newest | map(.table)) as $shown |
  [$found_newest[] | . + {expected_md5: $expected[.table].md5} |
    .ok = ($kind == "nothing" or .expected_md5 == null or .expected_md5 == .md5)] +
  [$expected[] | select(.table as $t | $shown | index([$t]) | not) |
    {table, column, columns, rows: 0, latest: null, md5: null, newest: [], expected_md5: .md5, ok: false}];

# Only a key that the source did not enforce may have orphans: as many as there.
def judge_keys: ([$right_keys[] | {(.key // "\(.table) \(.constraint)"): .orphans}] | add // {}) as $expected |
  [$found_keys[] | . + {expected: (if .validated then 0 else $expected["\(.table) \(.constraint)"] // 0 end)} |
    .ok = (.orphans == .expected)];

# What was wrong in the source already may be so again, or be mended by the restore; a dump leaves invalid indexes out.
def is_kept: .found == .expected
  or (.kind == "extension" and .found != null and .expected != null)
  or (.expected == "not read" and .found != null)
  or (.kind == "index" and .expected == "invalid" and .found == null)
  or (.expected != null and .found != null and (.found | is_healthy) and (.expected | is_healthy | not));

def judge_structure: (reduce $found_structure[] as $s ({}; . * $s)) as $found |
  (reduce $right_structure[] as $s ({}; . * $s)) as $right | (($found_counts + $right_counts | add) // {}) as $counted |
  [$found | keys_unsorted | sort[] | . as $kind | ($found[$kind] + $right[$kind]) | keys_unsorted | sort[] |
    {kind: $kind, name: ., expected: $right[$kind][.], found: $found[$kind][.]} |
    select(.kind != "table" or (.name as $name | $counted | has($name) | not)) |
    .ok = ($right[$kind] == null or is_kept)];

def judge_checksums: (($found_checksums | add) // {}) as $found | (($right_checksums | add) // {}) as $right |
  [$checksums[] | {table: ., expected: $right[.], found: $found[.],
    ok: ($found[.] != null and $right[.] == $found[.])}];
'

is_proved() { jq -e .proved "$WORK/verdict.json" >/dev/null; }
