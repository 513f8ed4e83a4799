# shellcheck shell=bash
# What a dump is on disk: a file, in pg_dump's custom format, or a directory of files that were written side by side
# (DUMP_JOBS). Of both can be said how large they are and what their SHA-256 is.

size_of_dump() {
  if [[ -d $1 ]]; then
    find "$1" -type f -printf '%s\n' | awk '{ size += $1 } END { printf "%.0f", size }'
  else
    stat -L -c %s -- "$1"
  fi
}

# Of a directory, it is the SHA-256 of what sha256sum prints of its files, in the order of their names.
hash_dump() {
  local sha256
  if [[ -d $1 ]]; then
    read -r sha256 _ < <(list_hashes "$1" | sha256sum)
  else
    read -r sha256 _ < <(sha256sum <"$1")
  fi
  printf '%s' "$sha256"
}

list_hashes() {
  (cd -- "$1" && find . -type f -printf '%P\0' | sort --zero-terminated | xargs --null --no-run-if-empty sha256sum --)
}

# Onto the disk and out of memory, so that what is read next is what the disk holds.
settle_on_disk() {
  find "$1" -exec sync -- {} +
  find "$1" -type f -exec dd if={} iflag=nocache count=0 status=none \; 2>/dev/null || true
}
