# tree PATH: a directory of programs that holds these files and no others, all root's and executable. The content is
# their texts one after another, each under a line "==> <relative path>, <number> lines".

observe_tree() {
  observe_path "$1"
  [[ -d $1 ]] || return 0
  (
    cd -- "$1"
    find . -mindepth 1 -type f -printf 'file %P %04m,%u:%g,' -exec sh -c 'sha256sum <"$1" | cut -c 1-64' - {} \; \
      -o -not -type d -printf 'no regular file %P\n'
  ) | sort
}

unpack_tree() { # CONTENT-FILE DIRECTORY
  awk -v directory="$2" '
    left == 0 { path = substr($0, 5); sub(/, [0-9]+ lines$/, "", path); left = $(NF - 1); file = directory "/" path
                parent = file; sub(/\/[^\/]*$/, "", parent); system("mkdir -p -- \"" parent "\""); next }
    { print > file; if (--left == 0) close(file) }' "$1"
}

# Each file is renamed into its place, so that at no moment a program is missing.
apply_tree() { # CONTENT-FILE PATH
  local content=$1 path=$2 partial=$2.partial wanted file
  keep_aside "$path" tree "$path"
  [[ -d $path && ! -L $path ]] || rm -f -- "$path"
  rm -rf -- "$partial"
  mkdir -p -- "$path" "$partial"
  unpack_tree "$content" "$partial"
  chown -R root:root -- "$path" "$partial"
  chmod -R 0755 -- "$path" "$partial"
  sync -f -- "$partial"
  wanted=$(observe_tree "$partial")
  find "$path" -mindepth 1 -not -type d -printf '%P\n' | while IFS= read -r file; do
    [[ -f $partial/$file ]] || rm -f -- "$path/$file"
  done
  (cd -- "$partial" && find . -mindepth 1 -type d -exec mkdir -p -- "$path/{}" \; -o -type f -exec mv -f -- {} "$path/{}" \;)
  rm -rf -- "$partial"
  expect_state tree "$path" <<<"$wanted"
}

remove_tree() {
  keep_aside "$1" tree "$1"
  rm -rf -- "$1"
}
