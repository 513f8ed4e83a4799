# file PATH MODE OWNER:GROUP

observe_file() {
  observe_path "$1"
  observe_content "$1"
}

apply_file() { # CONTENT-FILE PATH MODE OWNER
  local content=$1 path=$2 mode=$3 owner=$4
  keep_aside "$path" file "${@:2}"
  mkdir -p -- "$(dirname -- "$path")"
  install_file "$path" "$mode" "$owner" "$content"
  printf 'type regular file\nmode %s\nowner %s\ncontent %s\n' "$mode" "$owner" "$(digest <"$content")" |
    expect_state file "${@:2}"
}

remove_file() {
  keep_aside "$1" file "$@"
  rm -f -- "$1"
}
