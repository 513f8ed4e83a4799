# shellcheck shell=bash
# Three requests to an S3 server, signed by curl. The secret goes through a pipe, never through arguments. The server
# checks what arrives against our SHA-256.

readonly S3_LARGEST_PUT=$((5 * 1024 * 1024 * 1024))

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

# Stores a file whose SHA-256 is known. Sets S3_CONFIRMED to the server's own SHA-256, empty if it does not say.
put_object() {
  local file=$1 key=$2 sha256=$3 size
  size=$(stat -c %s -- "$file")
  if ((size > S3_LARGEST_PUT)); then
    fail "$file has $(format_size "$size"): one S3 upload takes at most 5 GiB, and larger ones are not supported yet"
  fi
  send_to_s3 "$(s3_url "$key")" "$file" "$sha256" application/octet-stream
  if [[ -n $S3_CONFIRMED && $S3_CONFIRMED != "$(encode_base64 "$sha256")" ]]; then
    fail "S3 stored something else than $file: its SHA-256 is $S3_CONFIRMED, must be $(encode_base64 "$sha256")"
  fi
}

# Marks an object for the bucket's lifecycle rule.
tag_superseded() {
  local key=$1 work=$2 sha256
  printf '<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet><Tag><Key>superseded</Key>%s' \
    '<Value>true</Value></Tag></TagSet></Tagging>' >"$work/tagging.xml"
  read -r sha256 _ < <(sha256sum <"$work/tagging.xml")
  send_to_s3 "$(s3_url "$key")?tagging=" "$work/tagging.xml" "$sha256" application/xml
}

encode_base64() {
  local hex=$1
  # shellcheck disable=SC2001 # a replacement per two characters
  printf '%b' "$(sed 's/../\\x&/g' <<<"$hex")" | base64 --wrap=0
}

print_credentials() {
  local pair=$S3_ACCESS_KEY_ID:$S3_SECRET_ACCESS_KEY
  pair=${pair//\\/\\\\}
  printf 'user = "%s"\n' "${pair//\"/\\\"}"
}

# URL FILE SHA256 CONTENT-TYPE
send_to_s3() {
  local url=$1 file=$2 sha256=$3 type=$4 pid status=0
  local options=(--silent --show-error --globoff --fail-with-body --connect-timeout 20 --retry 2 --retry-max-time 120
    --speed-limit 1024 --speed-time "$S3_STALL_SECONDS" --aws-sigv4 "aws:amz:$S3_REGION:s3"
    --header "x-amz-content-sha256: $sha256" --header "x-amz-checksum-sha256: $(encode_base64 "$sha256")"
    --header 'x-amz-sdk-checksum-algorithm: SHA256' --header "content-type: $type"
    --dump-header "$WORK/s3.headers" --output "$WORK/s3.body" --write-out '%{http_code}')
  if [[ -n $S3_CA_FILE ]]; then options+=(--cacert "$S3_CA_FILE"); fi
  rm -f -- "$WORK"/s3.*
  : >"$WORK/s3.body"
  curl -q --config - "${options[@]}" --upload-file "$file" "$url" \
    < <(print_credentials) >"$WORK/s3.code" 2>"$WORK/s3.err" &
  pid=$!
  RUNNING+=("$pid")
  wait "$pid" || status=$?
  if ((status)); then fail "off-host copy: PUT $url: $(describe_s3_failure "$status")"; fi
  S3_CONFIRMED=$(sed -n 's/^x-amz-checksum-sha256:[[:space:]]*\([A-Za-z0-9+/=]*\).*/\1/Ip' "$WORK/s3.headers" | tail -n 1)
}

describe_s3_failure() {
  local status=$1 code body
  if ((status == 22)); then
    body=$(<"$WORK/s3.body")
    code=$(sed -n 's/.*<Code>\([^<]*\)<.*/\1/p' <<<"$body" | head -n 1)
    body=$(sed -n 's/.*<Message>\([^<]*\)<.*/\1/p' <<<"$body" | head -n 1)
    printf 'refused with HTTP %s%s' "$(<"$WORK/s3.code")" "${code:+ $code}${body:+: $body}"
  elif ((status == 28)); then
    printf 'stalled or unreachable (less than 1 kB/s for %s s): %s' "$S3_STALL_SECONDS" "$(<"$WORK/s3.err")"
  else
    printf '%s' "$(<"$WORK/s3.err")"
  fi
}
