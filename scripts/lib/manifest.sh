# shellcheck shell=bash
# The manifest: the JSON beside a dump that says what is in it. A dump without one does not exist for any reader.

readonly MANIFEST_FORMAT=1

# DATABASE DUMP(partial) NAME WORK STARTED ENDED
write_manifest() {
  local database=$1 dump=$2 name=$3 work=$4 started=$5 ended=$6 wanted
  wanted=$(list_count_tables "$database")
  describe_files "$work/files" >"$work/files.json"
  jq -n --argjson format "$MANIFEST_FORMAT" --arg database "$database" --arg role "$BACKUP_ROLE" \
    --arg machine "$(uname -n)" --arg server "$SERVER_VERSION" --arg client "$CLIENT_VERSION" \
    --arg started "$started" --arg ended "$ended" --arg snapshot "$SNAPSHOT_ID" --arg file "$name" --arg called "$LABEL" \
    --argjson size "$(size_of_dump "$dump")" --arg sha256 "$DUMP_SHA256" --slurpfile files "$work/files.json" --rawfile warnings "$work/dump.err" \
    --argjson dumpability "$DUMPABILITY" --arg compression "$COMPRESSION_USED" --arg wanted "$wanted" --argjson limited "$([[ -n $wanted ]] && echo true || echo false)" \
    --slurpfile counts "$work/counts" --slurpfile registered "$work/registered" --slurpfile newest "$work/newest" --slurpfile properties "$work/properties" \
    --slurpfile structure "$work/structure" --slurpfile keys "$work/keys" --slurpfile checksums "$work/checksums" \
    --slurpfile application "$work/application" '
    {format: $format, database: $database} + $properties[0] +
    {role: $role, machine: $machine, server_version: $server, client_version: $client,
     started: $started, ended: $ended, snapshot: $snapshot, file: $file,
     "label": (if $called == "" then null else $called end), size: $size, sha256: $sha256} +
    $files[0] + {compression: $compression, warnings: ($dumpability + ($warnings | split("\n") | map(select(. != "")))),
     counted: (if $limited then ($wanted | split("\n") | map(select(. != ""))) else "all" end),
     tables: (($counts | add) // {}), extension_tables: (($registered | add) // {}), newest: $newest, checksums: (($checksums | add) // {}),
     application: $application[0],
     structure: (reduce $structure[] as $things ({}; . * $things)),
     orphans: ([$keys[] | {"\(.table) \(.constraint)": .orphans}] | add // {})}' | save_manifest "${dump%/*}/$name.json"
}

# LIST, of a dump that is a directory: {files: {name: SHA-256}}.
describe_files() {
  if [[ -e $1 ]]; then jq -Rn '{files: ([inputs | split("  ") | {(.[1]): .[0]}] | add)}' <"$1"; else printf '{}'; fi
}

# Writes standard input to the partial of a manifest.
save_manifest() {
  local partial
  partial=$(partial_of "$1")
  # shellcheck disable=SC2153 # set by begin_part
  if ! { cat >"$partial"; } 2>"$WORK/manifest.err"; then
    fail "manifest cannot be written to $partial: $(<"$WORK/manifest.err")"
  fi
}

# MANIFEST JQ-FILTER
read_manifest() { jq -r "$2" -- "$1"; }

# A dump or manifest as it is typed, before the programs leave the caller's directory. What has no / in it is a name in the
# backup directory.
resolve_path() {
  if [[ $1 == */* ]]; then realpath --canonicalize-missing --no-symlinks -- "$1"; else printf '%s' "$1"; fi
}

# A dump is verified if its manifest is whole, speaks of this very file and the size agrees. (The SHA-256 is compared by
# whoever is about to use the content.) All of the file at once (-s): of an empty one, jq 1.6 says that all is well.
is_verified() {
  local dump=$1
  [[ -e $dump && -f $dump.json ]] &&
    jq -es --arg file "${dump##*/}" --argjson size "$(size_of_dump "$dump")" --argjson format "$MANIFEST_FORMAT" '
      length == 1 and (.[0] | .format == $format and .file == $file and .size == $size
      and (.sha256 | test("^[0-9a-f]{64}$")) and ((.tables | type == "object") or .kind == "globals"))' \
      -- "$dump.json" >/dev/null 2>&1
}

# Verified dumps of a database, newest first, one file name a line.
list_verified() {
  local file
  while IFS= read -r file; do
    if is_verified "$BACKUP_DIRECTORY/$file"; then printf '%s\n' "$file"; fi
  done < <(list_scheduled "$1")
}

# Verified dumps of a database that an operator labelled, one file name a line.
list_verified_labelled() {
  local file
  while IFS= read -r file; do
    if is_verified "$BACKUP_DIRECTORY/$file" && is_labelled "$BACKUP_DIRECTORY/$file" "$1"; then printf '%s\n' "$file"; fi
  done < <(list_labelled "$1")
}

is_labelled() {
  jq -e --arg database "$2" '.label != null and .database == $database' -- "$1.json" >/dev/null
}

# Stops unless the dump is exactly what its manifest says.
check_content() {
  local dump=$1 found right
  right=$(read_manifest "$dump.json" .sha256)
  found=$(hash_dump "$dump")
  if [[ $found != "$right" ]]; then
    fail "$dump is damaged: its SHA-256 is $found, its manifest says $right"
  fi
}
