#!/usr/bin/env bash
# shellcheck source-path=SCRIPTDIR
#
# The bench's measure for a copy: one signed PUT of a finished dump to S3, checked by the server. DUMP is a file in the
# backup directory. Sent to the container and run there by the job's account, beside the job's own programs.
set -Eeuo pipefail
library=$1 dump=$2
for part in log signals settings names content postgres offhost ledger encryption s3 targets/s3; do
  # shellcheck source=/dev/null
  source "$library/lib/$part.sh"
done
load_settings
# shellcheck source=/dev/null
source "$BACKUP_SECRETS"
NIGHT=$(mktemp -d)
trap 'rm -rf -- "$NIGHT"' EXIT
begin_copy_work "$NIGHT/put"
put_object "$dump" "${S3_PREFIX}bench_put_alone_${dump##*/}" application/octet-stream
