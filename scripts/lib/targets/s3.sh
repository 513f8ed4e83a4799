# shellcheck shell=bash
# Target S3: AWS or a compatible server. The key may put, tag and abort, nothing else. A large dump goes up in parts while
# it is written; the request that makes an object of them, or a dump that is smaller than one, is sent once the dump exists.

# Bytes of the smallest part, and how many parts a dump is expected to have at most. S3 takes 10,000, so a dump may be
# four times as large as expected; and all but the last have one size, since Cloudflare R2 takes no others. Each part
# costs a connection, and the last one is sent when the file has ended: so few parts, unless they become large.
readonly S3_LEAST_PART=$((8 * 1024 * 1024)) S3_EXPECTED_PARTS=2500
readonly S3_USUAL_PARTS=16 S3_LARGE_PART=$((64 * 1024 * 1024))

S3_UPLOAD=''

s3_days() { printf '%s' "$S3_RETENTION_DAYS"; }

s3_takes_room() { false; } # a part

s3_expires() { false; } # the bucket's lifecycle rule does

# It counts whole days from when the copy was made, and takes up to a day more.
s3_remove_expired() {
  local file superseded copies
  if ((S3_RETENTION_DAYS == 0)); then return; fi
  copies=$(list_copies s3 "$1")
  while IFS=$'\t' read -r file superseded; do
    if [[ -n $file && $superseded != null ]] && is_older "_$(read_ledger s3 "$file" .copied)" "$((S3_RETENTION_DAYS + 1))"; then
      note_expired s3 "$file"
    fi
  done <<<"$copies"
}

# Any answer of the server will do but one that says there is no such bucket: a key that may only put cannot be tried
# without putting.
s3_probe() {
  local code region
  try_s3 HEAD "$(s3_url '')" "$COPY_WORK/empty"
  code=$(<"$COPY_WORK/s3.code")
  case $S3_STATUS in
    0 | 22) ;;
    6) fail "$(name_s3): its name is not known: must be an address or a name that this machine can resolve" ;;
    7) fail "$(name_s3): connection refused or no way there: $(<"$COPY_WORK/s3.err")" ;;
    28) fail "$(name_s3): no answer in time: $(<"$COPY_WORK/s3.err")" ;;
    35 | 60) fail "$(name_s3): no TLS connection: $(<"$COPY_WORK/s3.err"); S3_CA_FILE is '$S3_CA_FILE': must hold the authority that signed its certificate, if it is a private one" ;;
    *) fail "$(name_s3): $(<"$COPY_WORK/s3.err")" ;;
  esac
  region=$(read_s3_header x-amz-bucket-region)
  if [[ -n $region && $region != "$S3_REGION" ]]; then
    fail "$(name_s3): S3_REGION is '$S3_REGION': must be '$region', where bucket '$S3_BUCKET' is"
  fi
  case $code in
    404) fail "$(name_s3): there is no bucket '$S3_BUCKET' (S3_BUCKET)" ;;
    5??) fail "$(name_s3): HTTP $code" ;;
  esac
}

name_s3() {
  if [[ -n $S3_ENDPOINT ]]; then printf "off-host target S3, S3_ENDPOINT '%s'" "$S3_ENDPOINT"; else printf 'off-host target S3, %s' "$(s3_url '')"; fi
}

s3_send() {
  local database=$1 file=$2 source=$3 key=$S3_PREFIX$4 number=1 part_size expected
  S3_DATABASE=$database S3_FILE=$file
  read_earlier_attempt "$source"
  open_content "$source"
  if [[ $source == *.partial ]]; then expected=$EXPECTED_SIZE; else expected=$(size_of_dump "$source"); fi
  part_size=$(choose_part_size "$expected")
  : >"$COPY_WORK/parts"
  take_content "$part_size" "$COPY_WORK/part"
  while ((TAKEN_SIZE == part_size)); do
    if [[ -z $S3_UPLOAD ]]; then begin_upload "$key"; fi
    send_part "$key" "$number"
    number=$((number + 1))
    take_content "$part_size" "$COPY_WORK/part"
  done
  if [[ -n $S3_UPLOAD ]] && ((TAKEN_SIZE)); then send_part "$key" "$number"; fi
  settle_content "$file"
  if [[ -z $S3_UPLOAD ]]; then
    note_sending s3 "$database" "$file" '{"perhaps": true}'
    put_object "$COPY_WORK/part" "$key" application/octet-stream
  else
    complete_upload "$key"
  fi
  describe_object >"$COPY_WORK/facts"
}

s3_send_manifest() { put_object "$COPY_WORK/manifest" "$S3_PREFIX$1.json" application/json; }

# What the server was told, and checked, of the content: size and SHA-256 of each part.
describe_object() {
  jq -Rn '[inputs | split(" ") | {size: .[1] | tonumber, sha256: .[2]}] | {size: (map(.size) | add), parts: .}' \
    <"$COPY_WORK/parts"
}

# Bytes of a part, for that many bytes in all.
choose_part_size() {
  local size=$S3_LEAST_PART
  while ((size < S3_LARGE_PART && size * S3_USUAL_PARTS < $1 || size * S3_EXPECTED_PARTS < $1)); do size=$((2 * size)); done
  printf '%s' "$size"
}

begin_upload() {
  local key=$1
  ask_s3 POST "$(s3_url "$key")?uploads=" "$COPY_WORK/empty" --header 'x-amz-checksum-algorithm: SHA256' \
    --header 'content-type: application/octet-stream'
  S3_UPLOAD=$(jq -rn --arg id "$(read_s3_element UploadId)" '$id | @uri')
  if [[ -z $S3_UPLOAD ]]; then fail "off-host copy: $(s3_url "$key"): the server began no upload: $(<"$COPY_WORK/s3.body")"; fi
  note_sending s3 "$S3_DATABASE" "$S3_FILE" "$(jq -n --arg id "$S3_UPLOAD" '{upload: $id}')"
}

send_part() {
  local key=$1 number=$2
  ask_s3 PUT "$(s3_url "$key")?partNumber=$number&uploadId=$S3_UPLOAD" "$COPY_WORK/part"
  check_stored "$key, part $number"
  note_part "$number" "$COPY_WORK/part" "$(read_s3_header etag)"
}

# NUMBER FILE ETAG: what was put.
note_part() { printf '%s %s %s %s %s\n' "$1" "$(stat -c %s -- "$2")" "$S3_SHA256" "$S3_CHECKSUM" "$3" >>"$COPY_WORK/parts"; }

# WHAT: what the server says it stored, if it says so.
check_stored() {
  local stored
  stored=$(read_s3_header x-amz-checksum-sha256)
  if [[ -n $stored && $stored != "$S3_CHECKSUM" ]]; then
    fail "off-host copy: S3 stored something else as $1: its SHA-256 is $stored, must be $S3_CHECKSUM"
  fi
}

# Makes the object of its parts. AWS may take minutes, sends a blank now and then, and reports failure with HTTP 200.
complete_upload() {
  local key=$1 composite right
  print_parts >"$COPY_WORK/complete.xml"
  note_sending s3 "$S3_DATABASE" "$S3_FILE" "$(jq -n --arg id "$S3_UPLOAD" '{upload: $id, perhaps: true}')"
  ask_s3_for_new POST "$(s3_url "$key")?uploadId=$S3_UPLOAD" "$COPY_WORK/complete.xml" --speed-limit 1 \
    --header 'content-type: application/xml'
  if [[ $(<"$COPY_WORK/s3.body") != *'<CompleteMultipartUploadResult'* ]]; then
    fail "off-host copy: POST $(s3_url "$key"): the server could not put the parts together: $(<"$COPY_WORK/s3.body")"
  fi
  S3_UPLOAD=''
  composite=$(read_s3_element ChecksumSHA256)
  right=$(hash_parts)
  if [[ -n $composite && ${composite%-*} != "$right" ]]; then
    fail "off-host copy: S3 put together something else as $key: its SHA-256 is $composite, must be $right"
  fi
}

print_parts() {
  local number checksum etag
  printf '<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
  while read -r number _ _ checksum etag; do
    printf '<Part><PartNumber>%s</PartNumber><ETag>%s</ETag><ChecksumSHA256>%s</ChecksumSHA256></Part>' \
      "$number" "$etag" "$checksum"
  done <"$COPY_WORK/parts"
  printf '</CompleteMultipartUpload>'
}

# What S3 gives as the SHA-256 of an object in parts: that of their SHA-256s.
hash_parts() {
  decode_hex "$(cut -d ' ' -f 3 <"$COPY_WORK/parts")" >"$COPY_WORK/hashes"
  encode_base64 "$(hash_file "$COPY_WORK/hashes")"
}

# FILE KEY TYPE
put_object() {
  local file=$1 key=$2 type=$3
  ask_s3_for_new PUT "$(s3_url "$key")" "$file" --header "content-type: $type"
  check_stored "$key"
  : >"$COPY_WORK/parts"
  note_part 1 "$file" ''
}

# What an attempt that failed, or was cut off, may have left: parts, which go; or even the object. A dump that stands
# here from an earlier night may have been copied before the ledger was lost, or before the job got another name.
read_earlier_attempt() {
  S3_PERHAPS=$(read_ledger s3 "$S3_FILE" .perhaps)
  # shellcheck disable=SC2034 # read by s3.sh
  if [[ $1 == "$BACKUP_DIRECTORY/$S3_FILE" ]]; then S3_PERHAPS=true; fi
  s3_clear "$S3_FILE"
}

s3_clear() {
  local upload
  upload=$(read_ledger s3 "$1" .upload)
  if [[ -n $upload ]]; then abort_upload "$S3_PREFIX$(read_ledger s3 "$1" .object)" "$upload"; fi
}

s3_abandon() {
  if [[ -n $S3_UPLOAD ]] && ! is_dead s3; then abort_upload "$S3_PREFIX$(object_of "$S3_FILE")" "$S3_UPLOAD"; fi
}

# KEY UPLOAD. A key that may not abort leaves the parts to the bucket's lifecycle rule.
abort_upload() {
  try_s3 DELETE "$(s3_url "$1")?uploadId=$2" "$COPY_WORK/empty" --max-time "$S3_STALL_SECONDS"
}

# Tags dump and manifest for the bucket's lifecycle rule.
s3_supersede() {
  local key
  printf '<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet><Tag><Key>superseded</Key>%s' \
    '<Value>true</Value></Tag></TagSet></Tagging>' >"$COPY_WORK/tagging.xml"
  for key in "$1.json" "$2"; do
    ask_s3 PUT "$(s3_url "$S3_PREFIX$key")?tagging=" "$COPY_WORK/tagging.xml" --header 'content-type: application/xml'
  done
}
