# shellcheck shell=bash
# Source S3: AWS or a compatible server. The container's own key cannot read: a reader's is found in the environment, or
# asked for, and kept nowhere.

readonly NO_CONTENT_SHA256=e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855

s3_begin() {
  local id=${S3_READER_ACCESS_KEY_ID:-} secret=${S3_READER_SECRET_ACCESS_KEY:-}
  unset -v S3_READER_ACCESS_KEY_ID S3_READER_SECRET_ACCESS_KEY S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY
  require_commands curl
  if [[ -z $S3_BUCKET ]]; then fail "S3_BUCKET is '': there are no off-host copies in S3 to take a dump from"; fi
  if [[ -z $id ]]; then
    printf 'Access key id of a reader of %s: ' "$(s3_place '')" >&2
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

s3_end() { unset -v S3_ACCESS_KEY_ID S3_SECRET_ACCESS_KEY; }

s3_list() {
  local token='' prefix
  prefix=$(jq -rn --arg prefix "$S3_PREFIX" '$prefix | @uri')
  while :; do
    get_s3 "$(s3_url '')?${token:+continuation-token=$token&}list-type=2&prefix=$prefix" "$COPY_WORK/page"
    grep -oE '<Key>[^<]*</Key>' "$COPY_WORK/page" | sed -e 's/<[^>]*>//g' -e "s|^$S3_PREFIX||" || true
    token=$(sed -n 's/.*<NextContinuationToken>\([^<]*\)<.*/\1/p' "$COPY_WORK/page")
    if [[ -z $token ]]; then return; fi
    token=$(jq -rn --arg token "$token" '$token | @uri')
  done
}

s3_get() { get_s3 "$(s3_place "$1")" "$2"; }

# URL FILE
get_s3() {
  local url=$1 file=$2 status=0 code
  local options=(--silent --show-error --globoff --fail-with-body --connect-timeout 20 --retry 2 --speed-limit 1024
    --speed-time "$S3_STALL_SECONDS" --aws-sigv4 "aws:amz:$S3_REGION:s3" --header "x-amz-content-sha256: $NO_CONTENT_SHA256"
    --output "$file" --write-out '%{http_code}')
  if [[ -n $S3_CA_FILE ]]; then options+=(--cacert "$S3_CA_FILE"); fi
  curl -q --config - "${options[@]}" "$url" < <(print_credentials) >"$COPY_WORK/get.code" 2>"$COPY_WORK/get.err" &
  RUNNING+=("$!")
  await "$!" || status=$?
  if ((status == 0)); then return; fi
  # No answer, no file.
  code=$(head -c 4000 -- "$file" 2>/dev/null | tr -d '\0' | sed -n 's/.*<Code>\([^<]*\)<.*/ \1/p') || true
  fail "GET ${url%%\?*}: HTTP $(<"$COPY_WORK/get.code")$code: $(<"$COPY_WORK/get.err")"
}
