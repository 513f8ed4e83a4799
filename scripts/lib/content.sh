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

# The SHA-256 of standard input, as sha256sum prints it; by OpenSSL, which makes use of the processor's own instructions
# for it. Debian 12's sha256sum does not, and a dump is read for this again and again.
hash_input() { openssl dgst -sha256 -r; }

# FILE [BYTES]: standard input, or so much of it, to standard output and to FILE. For a process of its own: the program
# takes its place.
copy_to_both() { exec perl "${BASH_SOURCE[0]%/*}/tee.pl" "$@"; }

# Hexadecimal digits.
hash_file() {
  local sha256
  read -r sha256 _ < <(hash_input <"$1")
  printf '%s' "$sha256"
}

# Of a directory, it is the SHA-256 of what sha256sum prints of its files, in the order of their names.
hash_dump() {
  if [[ -d $1 ]]; then hash_file <(hash_directory "$1"); else hash_file "$1"; fi
}

hash_directory() {
  cd -- "$1" || exit 1
  find . -type f -printf '%P\0' | hash_names | sort_hashes
}

# FILE...: as sha256sum prints them: two blanks before the name.
list_hashes() { printf '%s\0' "$@" | hash_names; }

hash_names() { xargs --null --no-run-if-empty openssl dgst -sha256 -r -- | sed 's/ \*/  /'; }

# By name.
sort_hashes() { LC_ALL=C sort --key=2; }

# FILE...: onto the disk and out of memory, so that what is read next is what the disk holds.
settle_on_disk() {
  local file
  sync -- "$@"
  for file in "$@"; do dd if="$file" iflag=nocache count=0 status=none 2>/dev/null || true; done
}
