# shellcheck shell=bash
# Requests to an S3 server, signed by curl. The secret goes through a pipe, never through arguments. What a request
# answers is in COPY_WORK/s3.{code,headers,body}.

s3_url() {
  local key=$1
  if [[ -n $S3_ENDPOINT ]]; then
    printf '%s/%s/%s' "$S3_ENDPOINT" "$S3_BUCKET" "$key"
  elif [[ $S3_BUCKET == *.* ]]; then # a dot does not fit the wildcard certificate
    printf 'https://s3.%s.amazonaws.com/%s/%s' "$S3_REGION" "$S3_BUCKET" "$key"
  else
    printf 'https://%s.s3.%s.amazonaws.com/%s' "$S3_BUCKET" "$S3_REGION" "$key"
  fi
}

s3_place() { s3_url "$S3_PREFIX$1"; }

# A SHA-256 as S3 wants it.
encode_base64() { decode_hex "$1" | base64 --wrap=0; }

# DIGITS, of any case, and line ends: the bytes that they stand for.
decode_hex() { basenc --base16 --decode <<<"${1^^}"; }

print_credentials() {
  local pair=$S3_ACCESS_KEY_ID:$S3_SECRET_ACCESS_KEY
  pair=${pair//\\/\\\\}
  printf 'user = "%s"\n' "${pair//\"/\\\"}"
}

# METHOD URL FILE [CURL-OPTION...]: sends the file as body. Stops if it is refused or does not come through; S3 servers
# fail in passing, so that is tried three times, but no stall is waited for twice.
ask_s3() {
  local attempt
  for attempt in 1 2 3; do
    try_s3 "$@"
    if ((S3_STATUS == 0)); then return; fi
    if is_s3_error NotImplemented && ((${#S3_CONDITION[@]})); then
      : >"$NIGHT/s3.unconditional"
    elif has_failed_in_passing && ((attempt < 3)); then
      sleep "$attempt"
    else
      break
    fi
    S3_CONDITION=() # what failed in passing may have got through
  done
  case $S3_STATUS in 5 | 6 | 7 | 28 | 35 | 60) mark_dead s3 ;; esac
  fail "off-host copy: $1 ${2%%\?*}: $(describe_s3_failure)"
}

# The same for what must not be there yet, unless an attempt of ours may have got through.
ask_s3_for_new() {
  if [[ -z $S3_PERHAPS && ! -e $NIGHT/s3.unconditional ]]; then S3_CONDITION=(--header 'If-None-Match: *'); fi
  ask_s3 "$@"
  S3_CONDITION=()
}

S3_CONDITION=() S3_PERHAPS=''

# Sets S3_STATUS, as curl says it, and S3_SHA256, of the body. What is put, the server compares with it: S3_CHECKSUM.
try_s3() {
  local method=$1 url=$2 file=$3
  shift 3
  S3_SHA256=$(hash_file "$file")
  local options=(--silent --show-error --globoff --fail-with-body --request "$method"
    --connect-timeout "$((S3_STALL_SECONDS < 20 ? S3_STALL_SECONDS : 20))" --speed-limit 1024 --speed-time "$S3_STALL_SECONDS"
    --aws-sigv4 "aws:amz:$S3_REGION:s3" --header "x-amz-content-sha256: $S3_SHA256"
    --dump-header "$COPY_WORK/s3.headers" --output "$COPY_WORK/s3.body" --write-out '%{http_code}')
  if [[ -n $S3_CA_FILE ]]; then options+=(--cacert "$S3_CA_FILE"); fi
  if [[ $method == HEAD ]]; then options+=(--head); else options+=(--upload-file "$file"); fi
  if [[ $method == PUT ]]; then
    S3_CHECKSUM=$(encode_base64 "$S3_SHA256")
    options+=(--header "x-amz-checksum-sha256: $S3_CHECKSUM" --header 'x-amz-sdk-checksum-algorithm: SHA256')
  fi
  rm -f -- "$COPY_WORK"/s3.*
  : >"$COPY_WORK/s3.body"
  curl -q --config - "${options[@]}" "${S3_CONDITION[@]}" "$@" "$url" \
    < <(print_credentials) >"$COPY_WORK/s3.code" 2>"$COPY_WORK/s3.err" &
  RUNNING+=("$!")
  S3_STATUS=0
  await "$!" || S3_STATUS=$?
}

# The connection was cut, or the server has a bad moment.
has_failed_in_passing() {
  case $S3_STATUS in
    52 | 55 | 56) ;;
    22) [[ $(<"$COPY_WORK/s3.code") =~ ^(408|409|429|5..)$ ]] && ! is_s3_error NotImplemented ;;
    *) return 1 ;;
  esac
}

is_s3_error() { [[ $(read_s3_element Code) == "$1" ]]; }

# ELEMENT: its first text in the answer.
read_s3_element() { sed -n "s/.*<$1>\([^<]*\)<.*/\1/p" "$COPY_WORK/s3.body" | head -n 1; }

# HEADER, in lower case: its text in the answer. By bash itself: it is asked for with each part.
read_s3_header() {
  local line text=''
  while IFS= read -r line; do
    if [[ $line =~ ^([^:]+):[[:space:]]*([^[:space:]]*)[[:space:]]*$ && ${BASH_REMATCH[1],,} == "$1" ]]; then text=${BASH_REMATCH[2]}; fi
  done <"$COPY_WORK/s3.headers"
  printf '%s' "$text"
}

describe_s3_failure() {
  local code text
  if ((S3_STATUS == 28)); then
    printf 'stalled or unreachable (less than 1 kB/s for %s s): %s' "$S3_STALL_SECONDS" "$(<"$COPY_WORK/s3.err")"
  elif ((S3_STATUS == 22)); then
    code=$(read_s3_element Code) text=$(read_s3_element Message)
    printf 'refused with HTTP %s%s' "$(<"$COPY_WORK/s3.code")" "${code:+ $code}${text:+: $text}"
    case $code in
      PreconditionFailed) printf ': an object of this name is there, and not from this attempt. If another machine writes here too, give each an S3_PREFIX of its own; if this one was set back in time, remove its dump of this name here' ;;
      NoSuchBucket) printf ": S3_BUCKET is '%s': must be a bucket that exists at %s" "$S3_BUCKET" "$(s3_url '')" ;;
    esac
  else
    printf '%s' "$(<"$COPY_WORK/s3.err")"
  fi
}
