# shellcheck shell=bash
# Brings a dump back from off-host, into DIRECTORY, where it is an ordinary dump with its manifest afterwards. It does not
# exist there before its SHA-256, after decryption, is what its manifest says.

readonly NO_CONTENT_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

# Sets FETCHED, the path. FILE, or the newest of DATABASE, taken not after MOMENT if there is one.
fetch_dump() {
  local file=$1 database=$2 moment=$3 object
  check_work
  mkdir -- "$WORK/remote"
  begin_s3
  list_s3 >"$WORK/remote.list"
  choose_remote "$file" "$database" "$moment"
  FETCHED=$DIRECTORY/$REMOTE
  if is_verified "$FETCHED" && [[ $(read_manifest "$FETCHED.json" .sha256) == "$(read_manifest "$WORK/remote/$REMOTE.json" .sha256)" ]]; then
    say "$FETCHED is here already"
  else
    object=$(read_manifest "$WORK/remote/$REMOTE.json" '.off_host.file // .file')
    check_object "$object"
    download "$object"
  fi
  unset -v S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY IDENTITY
}

check_work() {
  if [[ ! -d $DIRECTORY ]]; then fail "--work is '$DIRECTORY': must be a directory that exists"; fi
  if ! "${AS_ACCOUNT[@]}" test -x "$DIRECTORY"; then
    fail "--work is '$DIRECTORY': postgres must be able to enter it, because pg_restore runs as postgres"
  fi
}

# The container's own key cannot read. A reader's is asked for, or found in the environment, and kept nowhere.
begin_s3() {
  local id=${S3_READER_ACCESS_KEY_ID:-} secret=${S3_READER_SECRET_ACCESS_KEY:-}
  unset -v S3_READER_ACCESS_KEY_ID S3_READER_SECRET_ACCESS_KEY S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY
  if [[ -z $S3_BUCKET ]]; then fail "S3_BUCKET is '': there are no off-host copies in S3 to take a dump from"; fi
  if [[ -z $id ]]; then
    printf 'Access key id of a reader of %s: ' "$(s3_url "$S3_PREFIX")" >&2
    read -r id || true
  fi
  if [[ -z $secret ]]; then
    printf 'Its secret (not shown): ' >&2
    read -rs secret || true
    printf '\n' >&2
  fi
  if [[ -z $id || -z $secret ]]; then
    fail "no reader's key: type it, or set S3_READER_ACCESS_KEY_ID and S3_READER_SECRET_ACCESS_KEY"
  fi
  # shellcheck disable=SC2034 # given to curl by s3.sh
  S3_ACCESS_KEY_ID=$id S3_SECRET_ACCESS_KEY=$secret
}

# Names of the objects under the prefix.
list_s3() {
  local token='' prefix
  prefix=$(jq -rn --arg prefix "$S3_PREFIX" '$prefix | @uri')
  while :; do
    get_s3 "$(s3_url '')?${token:+continuation-token=$token&}list-type=2&prefix=$prefix" "$WORK/page"
    grep -oE '<Key>[^<]*</Key>' "$WORK/page" | sed -e 's/<[^>]*>//g' -e "s|^$S3_PREFIX||" || true
    token=$(sed -n 's/.*<NextContinuationToken>\([^<]*\)<.*/\1/p' "$WORK/page")
    if [[ -z $token ]]; then return; fi
    token=$(jq -rn --arg token "$token" '$token | @uri')
  done
}

# URL FILE
get_s3() {
  local url=$1 file=$2 pid status=0 code
  local options=(--silent --show-error --globoff --fail-with-body --connect-timeout 20 --retry 2 --speed-limit 1024
    --speed-time "$S3_STALL_SECONDS" --aws-sigv4 "aws:amz:$S3_REGION:s3" --header "x-amz-content-sha256: $NO_CONTENT_SHA256"
    --output "$file" --write-out '%{http_code}')
  if [[ -n $S3_CA_FILE ]]; then options+=(--cacert "$S3_CA_FILE"); fi
  curl -q --config - "${options[@]}" "$url" < <(print_credentials) >"$WORK/get.code" 2>"$WORK/get.err" &
  pid=$!
  RUNNING=("$pid")
  wait "$pid" || status=$?
  # shellcheck disable=SC2034 # stopped by dump.sh
  RUNNING=()
  if ((status == 0)); then return; fi
  code=$(head -c 4000 -- "$file" 2>/dev/null | tr -d '\0' | sed -n 's/.*<Code>\([^<]*\)<.*/ \1/p')
  fail "GET ${url%%\?*}: HTTP $(<"$WORK/get.code")$code: $(<"$WORK/get.err")"
}

# Sets REMOTE, its manifest is in WORK/remote. A dump without a manifest does not exist: it is half uploaded.
choose_remote() {
  local wanted=$1 database=$2 moment=$3 file
  while IFS= read -r file <&3; do
    if [[ ! $file =~ ^[A-Za-z0-9._~-]+\.dump$ ]]; then continue; fi
    get_s3 "$(s3_url "$S3_PREFIX$file.json")" "$WORK/remote/$file.json"
    if is_complete "$file" && { [[ -n $wanted ]] || is_wanted "$WORK/remote/$file.json" "$database" "$moment"; }; then
      REMOTE=$file
      return
    fi
    warn "$file, off-host, is passed over: its manifest does not fit"
  done 3< <(sed -n 's/\.json$//p' "$WORK/remote.list" | if [[ -n $wanted ]]; then grep -Fx -- "$wanted" || true; else order_dumps "$database"; fi)
  if [[ -n $wanted ]]; then
    fail "there is no dump '$wanted' at $(s3_url "$S3_PREFIX"), with a manifest that fits: there are" \
      "$(sed -n 's/\.dump\.json$/.dump/p' "$WORK/remote.list" | sort | tail -n 5 | paste -sd ' ')"
  fi
  fail "there is no dump of database '$database'${moment:+ taken not after $moment} at $(s3_url "$S3_PREFIX")"
}

is_complete() {
  jq -e --arg file "$1" '.file == $file and (.size | type == "number") and (.sha256 | test("^[0-9a-f]{64}$"))' \
    -- "$WORK/remote/$1.json" >/dev/null 2>&1
}

# OBJECT: is it there, can it be decrypted, is there room for it?
check_object() {
  local object=$1 size free
  if ! grep -qFx -- "$object" "$WORK/remote.list"; then
    fail "$REMOTE.json is at $(s3_url "$S3_PREFIX"), but $object is not: the copy is no longer whole, take another"
  fi
  if [[ $object == *.age ]]; then read_identity; fi
  size=$(read_manifest "$WORK/remote/$REMOTE.json" .size)
  if [[ $object != *.dump ]]; then size=$((2 * size)); fi # encrypted and plain, packed and unpacked, for a moment
  free=$(df --output=avail --block-size=1 -- "$DIRECTORY" | tail -n 1)
  if ((size > free)); then
    fail "not enough space in $DIRECTORY: the dump takes $(format_size "$size"), $(format_size "$free") are free: give a --work directory"
  fi
}

# Sets IDENTITY, the text of the private key, for this run only.
read_identity() {
  require_commands age
  if [[ -n $IDENTITY_FILE ]]; then
    if [[ ! -r $IDENTITY_FILE ]]; then fail "--identity is '$IDENTITY_FILE': must be a readable file with an age identity"; fi
    IDENTITY=$(<"$IDENTITY_FILE")
  else
    printf 'The dump is encrypted. Its age identity, AGE-SECRET-KEY-… (not shown): ' >&2
    read -rs IDENTITY || true
    printf '\n' >&2
  fi
  if [[ -z ${IDENTITY:-} ]]; then fail "no age identity: type it, or name its file with --identity"; fi
}

download() {
  local object=$1 partial=$DIRECTORY/.$REMOTE.download manifest=$WORK/remote/$REMOTE.json found
  PARTIALS=("$partial" "$partial.age" "$partial.tar")
  rm -rf -- "${PARTIALS[@]}"
  printf '%s\n' "$WORK" "${PARTIALS[@]}" | write_note "$(work_note)"
  say "fetching $(s3_url "$S3_PREFIX$object"), $(format_size "$(read_manifest "$manifest" .size)")"
  if [[ $object == *.age ]]; then
    get_s3 "$(s3_url "$S3_PREFIX$object")" "$partial.age"
    if ! age --decrypt --identity - --output "$partial" -- "$partial.age" < <(printf '%s\n' "$IDENTITY") 2>"$WORK/age.err"; then
      fail "$object cannot be decrypted with this identity: $(head -n 1 "$WORK/age.err")"
    fi
    rm -f -- "$partial.age"
  else
    get_s3 "$(s3_url "$S3_PREFIX$object")" "$partial"
  fi
  if [[ ${object%.age} == *.tar ]]; then unpack "$partial"; fi
  found=$(hash_dump "$partial")
  if [[ $found != "$(read_manifest "$manifest" .sha256)" ]]; then
    fail "$object is damaged off-host: its SHA-256 is $found, its manifest says $(read_manifest "$manifest" .sha256)"
  fi
  keep_download "$partial" "$manifest"
}

# A tar file becomes the directory that it was.
unpack() {
  local partial=$1
  mv -- "$partial" "$partial.tar"
  mkdir -- "$partial"
  if ! tar --extract --file="$partial.tar" --directory="$partial" --no-same-owner --no-same-permissions 2>"$WORK/tar.err"; then
    fail "$object is damaged off-host: tar says: $(head -n 1 "$WORK/tar.err")"
  fi
  rm -f -- "$partial.tar"
}

# As the night leaves a dump, the manifest last.
keep_download() {
  local partial=$1 manifest=$2
  chown -R "$BACKUP_ROLE:postgres" "$partial"
  chmod -R u=rwX,g=rX,o= "$partial"
  install -o "$BACKUP_ROLE" -g postgres -m 0640 -- "$manifest" "$partial.json"
  sync -- "$partial" "$partial.json"
  mv -- "$partial" "$FETCHED"
  mv -- "$partial.json" "$FETCHED.json"
  # shellcheck disable=SC2034 # removed by restore.sh
  PARTIALS=()
  say "fetched: $FETCHED, SHA-256 as its manifest says"
}
