# shellcheck shell=bash
# A dump that is a directory, as one tar file, made while pg_dump writes: of each file once it is whole.

# SOURCE, which may have got its name meanwhile.
is_packed() { [[ -d $1 || -d $(whole_of "$1") ]]; }

print_packed() {
  (
    cd -- "$1" 2>/dev/null || cd -- "$(whole_of "$1")" || exit 1 # it is renamed meanwhile
    print_whole_files | tar --create --file=- --no-recursion --verbatim-files-from --files-from=-
  )
}

# Names of the files of this directory that nobody writes to any more; all of them once ENDED is closed. pg_dump opens
# each file once; which are open for writing now, the system knows: of this account's processes, this one's output for one.
print_whole_files() {
  local open=1 place file written
  local -A printed=()
  place=$(pwd -P)
  while ((open)); do
    if ! wait_at_gate ENDED; then open=0; fi
    set -- *
    written=''
    if ((open)); then
      written=$(find /proc/[0-9]*/fd -type l -perm -u=w -printf '%l/\n' 2>/dev/null || true)
      if [[ -z $written ]]; then continue; fi # nobody could be asked
    fi
    for file in "$@"; do
      if [[ -n ${printed[$file]:-} || ! -e $file || $written == *"$place/$file/"* ]]; then continue; fi
      printed[$file]=1
      printf '%s\n' "$file"
    done
  done
}

# Of a tar file on standard input, what hash_dump gives of the directory.
hash_packed() {
  # shellcheck disable=SC2016 # for the shell that tar runs
  tar --extract --file=- --to-command='printf "%s  %s\n" "$(openssl dgst -sha256 -r | cut -c 1-64)" "$TAR_FILENAME"' |
    sort_hashes | hash_input
}
