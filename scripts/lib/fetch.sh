# shellcheck shell=bash
# Brings a dump back from off-host, and globals, into DIRECTORY, where each is an ordinary one with its manifest
# afterwards. It does not exist there before its SHA-256, after decryption, is what its manifest says.
#
# Sources, like the targets of offhost.sh, are each in a file of sources/ behind these verbs:
#   <source>_place OBJECT      where an object lies there, for people; of '': what identifies the source
#   <source>_begin             finds the key to read with; stops, saying why, if there is none
#   <source>_list              names of the objects there, one a line
#   <source>_get OBJECT FILE   stops, saying why, unless the object is in FILE then
#   <source>_end               forgets the key
#
# Whoever fetches has three more:
#   pass_over WHY                        hears of a newer copy that is damaged
#   check_room_to_fetch MANIFEST BYTES   stops unless that much fits into DIRECTORY
#   note_download FILE...                is told what is there by halves from now on

# A reader's key out of the environment is for this shell alone: programs that it starts, some of them as postgres, do not
# get it.
keep_reader_key() { export -n S3_READER_ACCESS_KEY_ID S3_READER_SECRET_ACCESS_KEY; }

check_from() {
  if [[ -n $FROM && $FROM != @(s3|nas) ]]; then refuse_usage "--from is '$FROM': must be s3 or nas"; fi
}

# From FROM. The key, and the identity once it is needed, last until end_fetching.
begin_fetching() {
  IDENTITY=''
  COPY_WORK=$WORK/remote
  mkdir -- "$COPY_WORK"
  "${FROM}_begin"
  "${FROM}_list" >"$COPY_WORK/all"
  grep -E '^[A-Za-z0-9._~-]+$' "$COPY_WORK/all" >"$COPY_WORK/list" || true
}

end_fetching() {
  "${FROM}_end"
  unset -v IDENTITY
}

# FILE, or the newest of DATABASE, taken not after MOMENT if there is one. Sets FETCHED, its path.
fetch_dump() {
  local file=$1 database=$2 moment=$3
  if [[ -n $file ]]; then
    choose_remote true < <(list_remote dump | grep -xF -- "$file" || true)
  else
    choose_remote is_wanted "$database" "$moment" < <(list_remote dump | order_dumps "$database")
  fi
  if [[ -n $REMOTE ]]; then
    bring
    return
  fi
  if [[ -n $file ]]; then
    fail "there is no dump '$file' at $("${FROM}_place" ''), with a manifest that fits: there are" \
      "$(list_remote dump | sort | tail -n 5 | paste -sd ' ')"
  fi
  fail "there is no dump of database '$database'${moment:+ taken not after $moment} at $("${FROM}_place" '')"
}

# Those that belong to the dump of MANIFEST. Sets FETCHED, the path, empty if there are none.
fetch_globals() {
  FETCHED=''
  choose_remote is_globals < <(list_remote sql | order_globals "$1")
  if [[ -z $REMOTE ]]; then return; fi
  bring
  check_content "$FETCHED"
}

# dump or sql: names of what has a manifest there. What has none does not exist: it is half uploaded.
list_remote() { sed -n "s/\.$1\.json\$/.$1/p" "$COPY_WORK/list"; }

# CHECK ARGUMENT...: of the names on standard input, the first whose manifest fits and passes the check. Sets REMOTE, the
# name, empty if there is none; its manifest is in COPY_WORK.
choose_remote() {
  local check=$1 file names
  shift
  mapfile -t names
  for file in "${names[@]}"; do
    "${FROM}_get" "$file.json" "$COPY_WORK/$file.json"
    if ! is_complete "$file"; then
      pass_over "$("${FROM}_place" "$file.json") does not fit $file"
    elif "$check" "$COPY_WORK/$file.json" "$@"; then
      REMOTE=$file
      return
    fi
  done
  REMOTE=''
}

# As is_verified, of what is not here yet.
is_complete() {
  jq -es --arg file "$1" --argjson format "$MANIFEST_FORMAT" 'length == 1 and (.[0] | .format == $format and .file == $file
    and (.size | type == "number") and (.sha256 | test("^[0-9a-f]{64}$")))' -- "$COPY_WORK/$1.json" >/dev/null 2>&1
}

# MANIFEST: the name of the object that it speaks of.
read_object() { read_manifest "$1" '.off_host.file // .file'; }

# OBJECT
is_remote() { grep -qFx -- "$1" "$COPY_WORK/list"; }

is_globals() { [[ $(read_manifest "$1" .kind) == globals ]]; }

# Brings what REMOTE names. Sets FETCHED.
bring() {
  local object manifest=$COPY_WORK/$REMOTE.json
  FETCHED=$DIRECTORY/$REMOTE
  if is_verified "$FETCHED" && [[ $(read_manifest "$FETCHED.json" .sha256) == "$(read_manifest "$manifest" .sha256)" ]]; then
    say "$FETCHED is here already"
    return
  fi
  if [[ -e $FETCHED || -e $FETCHED.json ]]; then
    fail "$FETCHED is here already, and is not what $("${FROM}_place" '') has under that name: give a --work directory," \
      "or move what is here away"
  fi
  object=$(read_object "$manifest")
  check_object "$object"
  download "$object" "$manifest"
}

# OBJECT: is it there, can it be decrypted, is there room for it?
check_object() {
  local object=$1 manifest=$COPY_WORK/$REMOTE.json size
  if ! is_remote "$object"; then
    fail "$REMOTE.json is at $("${FROM}_place" ''), but $object is not: the copy is no longer whole, take another"
  fi
  if [[ $object == *.age ]]; then read_identity; fi
  size=$(read_manifest "$manifest" .size)
  if [[ $object == *.@(tar|age) ]]; then size=$((2 * size)); fi # encrypted and plain, packed and unpacked, for a moment
  check_room_to_fetch "$manifest" "$size"
}

# Sets IDENTITY, the text of the private key, for this run only.
read_identity() {
  if [[ -n $IDENTITY ]]; then return; fi
  require_commands age
  if [[ -n $IDENTITY_FILE ]]; then
    if [[ ! -r $IDENTITY_FILE ]]; then fail "--identity is '$IDENTITY_FILE': must be a readable file with an age identity"; fi
    IDENTITY=$(<"$IDENTITY_FILE")
  else
    printf 'The copy is encrypted. Its age identity, AGE-SECRET-KEY-… (not shown): ' >&2
    read -rs IDENTITY || true
    printf '\n' >&2
  fi
  if [[ -z $IDENTITY ]]; then fail "no age identity: type it, or name its file with --identity"; fi
}

# OBJECT MANIFEST
download() {
  local object=$1 manifest=$2 partial=$DIRECTORY/.$REMOTE.download found right
  PARTIALS=("$partial" "$partial.age" "$partial.tar" "$partial.json")
  rm -rf -- "${PARTIALS[@]}"
  note_download "${PARTIALS[@]}"
  say "fetching $("${FROM}_place" "$object"), $(format_size "$(read_manifest "$manifest" .size)")"
  if [[ $object == *.age ]]; then
    "${FROM}_get" "$object" "$partial.age"
    if ! age --decrypt --identity - --output "$partial" -- "$partial.age" < <(printf '%s\n' "$IDENTITY") 2>"$WORK/age.err"; then
      fail "$object cannot be decrypted with this identity: $(head -n 1 "$WORK/age.err")"
    fi
    rm -f -- "$partial.age"
  else
    "${FROM}_get" "$object" "$partial"
  fi
  if [[ ${object%.age} == *.tar ]]; then unpack "$object" "$partial"; fi
  found=$(hash_dump "$partial") right=$(read_manifest "$manifest" .sha256)
  if [[ $found != "$right" ]]; then
    fail "$object is damaged off-host: its SHA-256 is $found, its manifest says $right"
  fi
  keep_download "$partial" "$manifest"
}

# OBJECT PARTIAL: a tar file becomes the directory that it was.
unpack() {
  local object=$1 partial=$2
  mv -- "$partial" "$partial.tar"
  mkdir -- "$partial"
  if ! tar --extract --file="$partial.tar" --directory="$partial" --no-same-owner --no-same-permissions 2>"$WORK/tar.err"; then
    fail "$object is damaged off-host: tar says: $(head -n 1 "$WORK/tar.err")"
  fi
  rm -f -- "$partial.tar"
}

# As the night leaves it, the manifest last.
keep_download() {
  local partial=$1 manifest=$2
  install -m 0640 -- "$manifest" "$partial.json"
  chmod -R u=rwX,g=rX,o= "$partial"
  if ((EUID == 0)); then chown -R "$BACKUP_ROLE:postgres" "$partial" "$partial.json"; fi
  sync -- "$partial" "$partial.json"
  give_names "$partial" "$partial.json" "$FETCHED"
  # shellcheck disable=SC2034 # removed by restore.sh
  PARTIALS=()
  say "fetched: $FETCHED, SHA-256 as its manifest says"
}
