# shellcheck shell=bash
# Which dump to restore, and whether it is whole. Whoever picks has pass_over WHY, which hears of newer ones that are
# damaged. Sets DUMP, MANIFEST (empty if it has none), SOURCE, the database it was
# made from, and DUMPED_BY, the version of the server it was made from.

# Stands for an operator's label in the names and manifests of the dumps that a restore makes of what it replaces. No
# operator's label has an underscore.
# shellcheck disable=SC2034 # safetyDump.sh
readonly SAFETY_LABEL=before_restore

# FILE, or the newest verified dump of DATABASE, taken not after MOMENT if there is one.
pick_dump() {
  local file=$1 database=$2 moment=${3:-}
  if [[ -n $file ]]; then
    DUMP=$file
    if [[ $DUMP != */* ]]; then DUMP=$BACKUP_DIRECTORY/$DUMP; fi
    DUMP=$(readlink -m -- "$DUMP")
  else
    find_newest "$database" "$moment"
  fi
  if [[ ! -e $DUMP ]]; then fail "$DUMP does not exist: must be a dump, see ls $BACKUP_DIRECTORY"; fi
  if ! "${AS_ACCOUNT[@]}" test -r "$DUMP"; then
    fail "${AS_ACCOUNT[2]:-$(id -un)} cannot read $DUMP: put it into $BACKUP_DIRECTORY and let the group postgres read it"
  fi
}

find_newest() {
  local database=$1 moment=$2 file
  while IFS= read -r file; do
    if ! is_verified "$BACKUP_DIRECTORY/$file"; then
      if ! is_beginning "$BACKUP_DIRECTORY/$file"; then pass_over "$BACKUP_DIRECTORY/$file has no manifest that fits"; fi
    elif is_wanted "$BACKUP_DIRECTORY/$file.json" "$database" "$moment"; then
      DUMP=$BACKUP_DIRECTORY/$file
      return
    fi
  done < <(list_directory "$BACKUP_DIRECTORY" dump | order_dumps "$database")
  fail "no verified dump of database '$database'${moment:+ taken not after $moment} in $BACKUP_DIRECTORY: $(name_command backup) --list shows what is there"
}

# An operator's own, made by hand, has no manifest; and that of one which is just being finished is a partial for a moment.
is_beginning() { [[ ! -e $1.json && (${1##*/} == manual_* || -e $(partial_of "$1.json")) ]]; }

# DIRECTORY SUFFIX
list_directory() { find "$1" -mindepth 1 -maxdepth 1 -name "*.$2" -printf '%f\n'; }

# Of the file names on standard input, those of dumps of a database, labelled ones too, the newest first.
order_dumps() {
  local stem file stamp
  stem=$(encode_name "$1")
  while IFS= read -r file; do
    stamp=${file%.dump} stamp=${stamp##*_}
    if [[ $stamp =~ ^${TIMESTAMP_PATTERN}$ && ($file == "${stem}_$stamp.dump" || $file == manual_*_"${stem}_$stamp.dump") ]]; then
      printf '%s %s\n' "$stamp" "$file"
    fi
  done | sort_newest_first | cut -d ' ' -f 2-
}

# The globals that belong to DUMP: beside it, if they are of whoever owns the dump, else in the backup directory. Sets
# GLOBALS_FILE, empty if there are none.
find_globals() {
  local directory file
  for directory in "$(dirname -- "$DUMP")" "$BACKUP_DIRECTORY"; do
    while IFS= read -r file; do
      GLOBALS_FILE=$directory/$file
      if is_verified "$GLOBALS_FILE" && { [[ $directory == "$BACKUP_DIRECTORY" ]] || have_one_owner "$DUMP" "$GLOBALS_FILE"; }; then
        return
      fi
    done < <(list_directory "$directory" sql | order_globals "$MANIFEST")
  done
  GLOBALS_FILE=''
}

have_one_owner() { [[ $(stat -L -c %u -- "$1") == "$(stat -L -c %u -- "$2")" ]]; }

# Of the file names on standard input, those of globals, labelled ones too: first those written with the dump of MANIFEST
# or after it, the next one first, then earlier ones, the newest first; at last such from the future. Of a dump without
# a manifest nobody knows when it was made: the newest first.
order_globals() {
  local began=Z file
  if [[ -n $1 ]]; then began=$(read_manifest "$1" '.started | gsub("[-:]|[.][0-9]+"; "")'); fi
  while IFS= read -r file; do
    if [[ $file =~ ^(manual_.*_)?globals_(${TIMESTAMP_PATTERN})\.sql$ ]]; then printf '%s %s\n' "${BASH_REMATCH[2]}" "$file"; fi
  done | sort -r | awk -v began="$began" -v now="$(make_timestamp)" '
    $1 > now { future = future $2 "\n"; next }
    $1 >= began { next_ones = $2 "\n" next_ones; next }
    { earlier = earlier $2 "\n" }
    END { printf "%s%s%s", next_ones, earlier, future }'
}

# Whether the manifest speaks of a dump of this database, taken in time. What a restore replaced is taken by name only:
# the newest such dump may be just what an operator wants to get away from.
is_wanted() {
  jq -e --arg database "$2" --arg moment "$3" --arg safety "$SAFETY_LABEL" \
    '.database == $database and .label != $safety and ($moment == "" or .started <= $moment)' -- "$1" >/dev/null
}

# Nothing is touched before this has passed.
check_dump() {
  local list
  MANIFEST=''
  if [[ ${DUMP##*/} == manual_* && ! -e $DUMP.json ]]; then
    read_through
  else
    check_against_manifest
    MANIFEST=$DUMP.json
  fi
  if ! list=$("${AS_ACCOUNT[@]}" pg_restore --list -- "$DUMP" 2>&1); then fail "pg_restore cannot read $DUMP: $list"; fi
  SOURCE=$(sed -n 's/^;     dbname: //p;' <<<"$list" | head -n 1)
  # shellcheck disable=SC2034 # read by target.sh
  DUMPED_BY=$(sed -n 's/^;     Dumped from database version: \([0-9]*\).*/\1/p' <<<"$list" | head -n 1)
  if [[ -n $MANIFEST && $(read_manifest "$MANIFEST" .database) != "$SOURCE" ]]; then
    fail "$DUMP is a dump of database '$SOURCE', its manifest speaks of '$(read_manifest "$MANIFEST" .database)':" \
      "one of the two is not what it is called"
  fi
  if [[ -n $MANIFEST ]]; then say "$DUMP is what its manifest says (SHA-256)"; fi
}

check_against_manifest() {
  if [[ ! -e $DUMP.json ]]; then
    fail "$DUMP has no manifest ($DUMP.json): it was never completed, or the manifest was not copied with it"
  fi
  if ! is_verified "$DUMP"; then
    fail "$DUMP does not fit its manifest: it has $(size_of_dump "$DUMP") bytes, the manifest says" \
      "$(jq -r '"\(.size) bytes of \(.file)"' -- "$DUMP.json" 2>/dev/null || echo 'nothing readable')"
  fi
  check_content "$DUMP"
}

read_through() {
  warn "$DUMP was made by hand and has no manifest: it is read through, which finds truncation but not every change," \
    "and there are no counts to compare with afterwards"
  run_through
}

# Decompresses everything; an archive that was cut off does not survive that.
run_through() {
  local found
  if ! found=$("${AS_ACCOUNT[@]}" pg_restore --file=/dev/null -- "$DUMP" 2>&1); then
    fail "$DUMP is damaged: pg_restore says: $found"
  fi
}

# Of the table of contents, the entries that begin with this pattern.
list_entries() {
  "${AS_ACCOUNT[@]}" pg_restore --create --list -- "$DUMP" | grep -E "^[0-9]+; [0-9]+ [0-9]+ $1" || true
}

# Locks that are held at the end of one transaction which restores everything: a table's, and those of its TOAST table and
# that one's index; each index's, sequence's and view's; each large object's, of which PostgreSQL 17 describes up to 1,000
# in one entry.
count_locks() {
  "${AS_ACCOUNT[@]}" pg_restore --list -- "$DUMP" | awk '
    $1 !~ /^[0-9]+;$/ || $5 ~ /^(DATA|ATTACH|SET|OWNED)$/ { next }
    $4 == "BLOB" && $5 == "METADATA" { locks += 1000; next }
    $4 == "TABLE" || $4 == "MATERIALIZED" { locks += 3; next }
    $4 ~ /^(INDEX|CONSTRAINT|SEQUENCE|VIEW|BLOB)$/ { locks++ }
    END { print locks + 0 }'
}
