# shellcheck shell=bash
# Reading a dump while pg_dump writes it. Readers follow the file and are never in pg_dump's pipe, so nothing that they
# do can hold it up. A gate tells them of a moment: a named pipe whose only writers are the process that makes the dump and
# the programs it runs. It closes when that process closes it, or dies, and they have ended. GATE is one of
#   ENDED      the file has ended
#   COMMITTED  a dump has been made of it

# GATE FIFO: sets GATE, for readers, and GATE_HOLD.
open_gate() {
  local -n gate=$1 hold=$1_HOLD
  mkfifo -- "$2"
  exec {hold}<>"$2" # opened both ways: it waits for no one
  # shellcheck disable=SC2034 # the caller's, by its name
  exec {gate}<"$2"
}

close_gate() {
  local -n hold=$1_HOLD
  exec {hold}>&-
}

# GATE...: a reader must not hold open what it waits for.
leave_gates() {
  local left
  for left in "$@"; do close_gate "$left"; done
}

# Waits a moment; fails once the gate is closed.
wait_at_gate() {
  local status=0
  read -r -t 0.5 -u "${!1}" _ || status=$?
  ((status > 128))
}

# Sets INPUT, a descriptor. A small dump may be whole, and have its name, before a reader has come to open it.
open_growing() {
  if ! { exec {INPUT}<"$1"; } 2>/dev/null; then exec {INPUT}<"$(whole_of "$1")"; fi
}

# A file from its beginning to where it ends when ENDED is closed.
print_growing() {
  local file=$1 open=1 INPUT
  open_growing "$file"
  while ((open)); do
    if ! wait_at_gate ENDED; then open=0; fi
    cat <&"$INPUT"
  done
}

# DUMP: begins to read what goes off-host of it: the dump itself, or where that is to be packed or encrypted, what another
# process makes of it. Must be settled before it may count.
open_content() {
  mkfifo -- "$COPY_WORK/plain"
  hash_content "$1" <"$COPY_WORK/plain" >"$COPY_WORK/sha256" &
  HASHER=$! READER='' TAKEN=0
  RUNNING+=("$HASHER")
  if is_transformed "$1"; then
    mkfifo -- "$COPY_WORK/content"
    print_content "$1" >"$COPY_WORK/content" 2>"$COPY_WORK/content.err" &
    READER=$!
    RUNNING+=("$READER")
    exec {CONTENT}<"$COPY_WORK/content" {PLAIN}>/dev/null # that process has it hashed
  else
    local INPUT
    open_growing "$1"
    CONTENT=$INPUT
    exec {PLAIN}>"$COPY_WORK/plain"
  fi
}

# Whether what goes off-host of a dump is not its file as it is.
is_transformed() { is_encrypting || is_packed "$1"; }

# BYTES FILE: the next so many bytes of it; fewer only at its end. Sets TAKEN_SIZE.
take_content() {
  if [[ -z $READER ]]; then wait_for_growth "$((TAKEN + $1))"; fi
  rm -f -- "$2" # written over, it would be written out at once by ext4 and XFS: as much as the whole dump again
  copy_to_both "$2" "$1" <&"$CONTENT" 1>&"$PLAIN" 2>"$COPY_WORK/take.err" &
  RUNNING+=("$!")
  await "$!" || fail_to_take "$?"
  TAKEN_SIZE=$(stat -c %s -- "$2")
  TAKEN=$((TAKEN + TAKEN_SIZE))
}

# STATUS of copy_to_both, whose standard output is hashed.
fail_to_take() {
  local status said
  status=$(describe_status "$1") said=$(<"$COPY_WORK/take.err")
  if [[ $said == 'standard output: '* || $status == 'signal PIPE' ]]; then
    fail "off-host copy: the SHA-256 of what is copied cannot be taken: $status, $said"
  fi
  fail "off-host copy: a part cannot be read, or not be written in $COPY_WORK: $status, $said"
}

# BYTES: until there are so many, or there will be no more.
wait_for_growth() {
  while (($(stat -L -c %s -- "/dev/fd/$CONTENT") < $1)) && wait_at_gate ENDED; do :; done
}

hash_content() { if is_packed "$1"; then hash_packed; else hash_input; fi; }

# What goes wrong is told by whoever waits for it.
print_content() {
  trap - ERR
  if is_encrypting; then
    print_plain "$1" | copy_to_both "$COPY_WORK/plain" | encrypt
  else
    print_plain "$1" | copy_to_both "$COPY_WORK/plain"
  fi
}

print_plain() { if is_packed "$1"; then print_packed "$1"; else print_growing "$1"; fi; }

# Stops unless what was read has become a dump, of the SHA-256 that its manifest says.
settle_content() {
  local dump=$BACKUP_DIRECTORY/$1 found
  exec {CONTENT}<&- {PLAIN}>&-
  if [[ -n $READER ]]; then
    await "$READER" || fail "off-host copy: $1 cannot be read: $(describe_status "$?"), $(head -n 1 -- "$COPY_WORK/content.err")"
  fi
  await "$HASHER" || fail "off-host copy: the SHA-256 of $1 cannot be taken"
  await_commit "$1"
  read -r found _ <"$COPY_WORK/sha256"
  refuse_damaged "$dump" "$found"
}

# Stops unless DUMP exists, committed. That its file has ended is no proof, as it also ends when pg_dump or its night dies.
await_commit() {
  while wait_at_gate COMMITTED; do :; done
  if ! is_verified "$BACKUP_DIRECTORY/$1"; then fail "off-host copy: given up, because $1 did not become a dump"; fi
}

# DUMP SHA256
refuse_damaged() {
  local dump=$1 found=$2 right
  right=$(read_manifest "$dump.json" .sha256)
  if [[ $found == "$right" ]]; then return; fi
  fail "$dump is damaged and therefore not copied: its SHA-256 is $found, its manifest says $right. Every night fails" \
    "and nothing is removed until you put the right file there, or remove this one: rm $dump $dump.json"
}
