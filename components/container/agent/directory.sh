# directory PATH MODE OWNER:GROUP [HEIR FILE-MODE NAME-PATTERN]
#
# With an heir the directory holds data: what has a name that matches the pattern is (re-)given to the owner when it is
# applied, and everything goes to the heir, closed to all others, when the artefact is removed. Nothing is deleted.

observe_directory() {
  observe_path "$1"
}

apply_directory() { # CONTENT-FILE PATH MODE OWNER [HEIR FILE-MODE NAME-PATTERN]
  local path=$2 mode=$3 owner=$4 heir=${5:-} file_mode=${6:-} pattern=${7:-}
  [[ ! -L $path ]] || fail "$path is a symbolic link; a directory is to stand there. Mount or bind the target instead."
  [[ -d $path || ! -e $path ]] || fail "$path is not a directory. Move it away and run again."
  mkdir -p -- "$path"
  chown -- "$owner" "$path"
  chmod -- "$mode" "$path"
  if [[ -n $heir ]]; then
    find "$path" -xdev -mindepth 1 -name "$pattern" -not -name 'manual_*' -not -type l -exec chown -- "$owner" {} + \
      -type f -exec chmod -- "$file_mode" {} +
  fi
  printf 'type directory\nmode %s\nowner %s\n' "$mode" "$owner" | expect_state directory "${@:2}"
}

remove_directory() { # PATH MODE OWNER [HEIR …]
  local path=$1 heir=${4:-}
  [[ -d $path && ! -L $path ]] || return 0
  if [[ -n $heir ]]; then
    chown -R --no-dereference -- "$heir:$heir" "$path"
    chmod -R -- u=rwX,go=,-s,-t "$path"
  else
    rmdir --ignore-fail-on-non-empty -- "$path"
  fi
}
