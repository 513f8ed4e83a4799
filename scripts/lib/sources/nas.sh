# shellcheck shell=bash
# Source NAS: rsync over SSH, with the container's own key, or with a reader's for this run, because an append-only account
# cannot read.

nas_begin() {
  if [[ -z $NAS_HOST ]]; then fail "NAS_HOST is '': there are no off-host copies on a NAS to take a dump from"; fi
  require_commands rsync ssh ssh-keygen
  if [[ -n ${NAS_READER_KEY_FILE:-} ]]; then
    if [[ ! $NAS_READER_KEY_FILE =~ ^/[^[:cntrl:]\"]+$ ]]; then
      fail "NAS_READER_KEY_FILE is '$NAS_READER_KEY_FILE': must be the absolute path of a private key"
    fi
    # shellcheck disable=SC2034 # read by nas.sh
    NAS_KEY=NAS_READER_KEY_FILE
  fi
  check_nas_key "$(nas_place '')"
}

nas_end() { :; } # the key stayed in its file

nas_list() {
  mkdir -p -- "$COPY_WORK/nothing"
  read_from_nas "$COPY_WORK/nas.out" --dirs --dry-run --out-format=%n "$(nas_path '')" "$COPY_WORK/nothing/"
  cat -- "$COPY_WORK/nas.out"
}

# A broken transfer goes on where it was. What is no file is passed over there, without a failure.
nas_get() {
  read_from_nas "$2" --append "$(nas_path "$1")" "$2"
  if [[ ! -f $2 ]]; then fail "$(nas_place "$1") is not a file"; fi
}

# FILE RSYNC-ARGUMENT...: the file is what grows while it reads.
read_from_nas() {
  # shellcheck disable=SC2034 # read by nas.sh
  NAS_RECEIVED=$1
  shift
  insist_on_nas "$NAS_STALL_SECONDS" "$@"
  if ((NAS_STATUS)); then fail "$(nas_place ''): $(describe_nas_failure read)"; fi
}
