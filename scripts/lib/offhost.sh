# shellcheck shell=bash
# Off-host copies: any number of targets, each in a file of targets/ behind these verbs:
#   <target>_place OBJECT                where an object lies there, for people; of '': what identifies the target
#   <target>_probe                       stops, saying why, unless the target answers
#   <target>_send DATABASE FILE SOURCE OBJECT
#                                        brings the dump FILE there, from SOURCE, which may still grow; stops unless it
#                                        is committed and of the SHA-256 in its manifest, in S3 before it is an object;
#                                        describes it, as JSON in COPY_WORK/facts
#   <target>_takes_room                  whether a copy may take as much room here as its dump, while it is made
#   <target>_send_manifest FILE OBJECT   its manifest, COPY_WORK/manifest, which makes the copy exist
#   <target>_abandon                     after a failure: leaves nothing half, or what the next night goes on with
#   <target>_clear FILE                  removes what an attempt left whose dump is gone here
#   <target>_supersede FILE OBJECT       a newer copy is there
#   <target>_days                        days that it keeps superseded copies; 0: for good, as far as is known
#   <target>_expires FILE                whether the job itself removes old copies, this one too some day
#   <target>_remove_expired DATABASE     does so, or notes which the target has removed by itself, after a night in which
#                                        everything succeeded
# Each copy is a process of its own: no target waits for another, and no dump for any copy. A target takes one copy at a time.

# Targets of the settings. Needs the settings.
choose_targets() {
  TARGETS=()
  if [[ -n $S3_BUCKET ]]; then TARGETS+=(s3); fi
  if [[ -n $NAS_HOST ]]; then TARGETS+=(nas); fi
}

# Asks every target before anything is dumped; who does not answer now is not waited for again this night.
probe_targets() {
  local target position=0
  for target in "${TARGETS[@]}"; do
    probe_target "$target" &
    RUNNING+=("$!")
  done
  for target in "${TARGETS[@]}"; do
    wait "${RUNNING[position++]}" || mark_dead "$target"
  done
  RUNNING=()
}

# Whether a night with a target that does not answer is worth beginning: UNREACHABLE_TARGET.
decide_on_targets() {
  local target
  for target in "${TARGETS[@]}"; do
    if ! is_dead "$target"; then continue; fi
    if [[ $UNREACHABLE_TARGET == refuse ]]; then
      fail "nothing is dumped, because $("${target}_place" '') is out of reach and UNREACHABLE_TARGET is 'refuse'"
    fi
    warn "dumps are made without a copy at $("${target}_place" ''): UNREACHABLE_TARGET is 'local'"
  done
}

probe_target() {
  begin_copier
  begin_copy_work "$NIGHT/probe.$1"
  "${1}_probe"
}

mark_dead() { : >"$NIGHT/dead.$1"; }

is_dead() { [[ -e $NIGHT/dead.$1 ]]; }

# DATABASE FILE SOURCE: begins to copy a dump that is being written to SOURCE, until the gate ENDED is closed.
begin_copies() {
  local database=$1 file=$2 source=$3 target
  declare -gA COPIERS=()
  open_gate ENDED "$WORK/ended"
  open_gate COMMITTED "$WORK/committed"
  for target in "${TARGETS[@]}"; do
    keep_target "$target" "$database" "$file" "$source" &
    COPIERS[$target]=$!
    RUNNING+=("$!")
  done
}

# Whether copies, of earlier dumps too, take room here as long as they are made.
copies_take_room() {
  local target
  for target in "${TARGETS[@]}"; do
    if ! is_dead "$target" && "${target}_takes_room"; then return 0; fi
  done
  return 1
}

# The dump exists: lets the copies count, and stops unless everything of this database is at every target.
finish_copies() {
  local database=$1 target failed=0
  close_gate COMMITTED
  for target in "${TARGETS[@]}"; do
    if ! await "${COPIERS[$target]}"; then
      failed=1
      note_missing "$target" "$database"
    fi
  done
  if ((failed)); then exit "$REPORTED"; fi
}

note_missing() {
  local target=$1 database=$2 file
  while IFS= read -r file; do
    if ! was_copied "$target" "$file"; then
      printf '%s\n' "$("${target}_place" "$(object_of "$file")")" >>"$NIGHT/missing"
    fi
  done < <(list_copied "$database")
}

# At the end of the night, which has failed then.
report_missing() {
  local place
  if [[ ! -e $NIGHT/missing ]]; then return; fi
  while IFS= read -r place; do
    write_line 3 "error: missing off-host: $place: the next night makes it good"
  done <"$NIGHT/missing"
}

# Dumps of a database that belong off-host: newest first, then labelled ones.
list_copied() {
  list_verified "$1"
  list_verified_labelled "$1"
}

# What the copy of a dump is called: a directory goes as one tar file.
object_of() {
  local object=$1
  if is_packed "$(partial_of "$BACKUP_DIRECTORY/$1")"; then object+=.tar; fi
  if is_encrypting; then object+=.age; fi
  printf '%s' "$object"
}

# One target's part of a database's night, a process of its own: the new dump, then what earlier nights missed. Then, and
# only then, older copies are superseded.
keep_target() {
  local target=$1 database=$2 file=$3 source=$4 files failed=0
  leave_gates ENDED COMMITTED
  pass_turn
  begin_copier
  queue_for "$target"
  if is_dead "$target"; then exit "$REPORTED"; fi
  run_apart copy_dump "$target" "$database" "$file" "$source"
  if ((APART_STATUS)); then failed=1; fi
  files=$(list_copied "$database")
  while IFS= read -r file; do
    if [[ -z $file ]] || was_copied "$target" "$file" || is_dead "$target" || [[ $file == "$3" ]]; then continue; fi
    run_apart copy_dump "$target" "$database" "$file" "$BACKUP_DIRECTORY/$file"
    if ((APART_STATUS)); then failed=1; fi
  done <<<"$files"
  if ((failed)); then exit "$REPORTED"; fi
  begin_copy_work "$WORK/$target.tags"
  supersede_older "$target" "$database"
  forget_gone "$target"
}

# TARGET: until it is done with the databases before; held until this process and its children are gone.
queue_for() {
  local queue
  exec {queue}>"$NIGHT/queue.$1"
  flock "$queue" &
  RUNNING+=("$!")
  await "$!"
}

begin_copier() {
  RUNNING=()
  trap end_copier EXIT
  end_when_told
}

end_copier() {
  local status=$?
  trap - ERR
  be_deaf
  stop_running
  exit "$status"
}

# Runs a command in a process of its own, so that its failure is a status, APART_STATUS, and not the end of this one.
run_apart() {
  APART_STATUS=0
  "$@" &
  RUNNING+=("$!")
  await "$!" || APART_STATUS=$?
}

# TARGET DATABASE FILE SOURCE, in a process of its own. The manifest is put last: without it the copy does not exist.
copy_dump() {
  local target=$1 database=$2 file=$3 source=$4 object encryption='{}' started=$SECONDS
  RUNNING=()
  trap 'end_copy "$target"' EXIT
  end_when_told
  begin_copy_work "$(mktemp -d "$WORK/$target.XXXXXX")"
  object=$(object_of "$file")
  "${target}_send" "$database" "$file" "$source" "$object"
  if is_encrypting; then encryption='{"encryption": "age"}'; fi
  jq --slurpfile facts "$COPY_WORK/facts" --arg object "$object" --argjson encryption "$encryption" \
    '. + {off_host: ({file: $object} + $encryption + $facts[0])}' -- "$BACKUP_DIRECTORY/$file.json" >"$COPY_WORK/manifest"
  "${target}_send_manifest" "$file" "$object"
  note_copied "$target" "$database" "$file"
  say "off-host: $("${target}_place" "$object") with its manifest, $((SECONDS - started)) s"
}

begin_copy_work() {
  COPY_WORK=$1
  mkdir -p -- "$COPY_WORK"
  : >"$COPY_WORK/empty"
}

end_copy() {
  local target=$1 status=$?
  trap - ERR EXIT
  be_deaf
  stop_running
  if ((status)); then "${target}_abandon" || true; fi
  rm -rf -- "$COPY_WORK"
  exit "$status"
}
