#!/bin/bash
# Applies, observes and removes the artefacts that pgbackup declares in this container. Installed and called by
# `pulumi up`; nobody needs to call it by hand. Each applied artefact leaves a receipt, by which the next preview
# tells whether it still stands as it was left.
#
#   agent apply TOKEN KIND ARGUMENT…   content on stdin; may be run any number of times
#   agent remove KIND ARGUMENT…        succeeds where there is nothing to remove
#   agent probe                        read-only: every receipt, and what stands there now

set -Eeuo pipefail
umask 0022

readonly home=/var/lib/pgbackup
readonly receipts=$home/receipts
readonly set_aside=$home/set-aside
temporary=()
trap 'rm -f -- "${temporary[@]}"' EXIT

# `pct exec` hands the host's environment in; nothing of it may matter here.
clean_environment() {
  local name
  for name in $(compgen -e); do unset -v "$name" 2>/dev/null || true; done
  export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root
}

fail() {
  printf '%s\n' "$*" >&2
  exit 1
}

digest() {
  local sum
  sum=$(sha256sum)
  printf '%s\n' "${sum%% *}"
}

# Which receipt belongs to an artefact: its kind and its first argument (path, unit, account …), slashes made safe.
receipt_of() {
  local name="$1 $2"
  name=${name//%/%25}
  printf '%s/%s\n' "$receipts" "${name//\//%2F}"
}

# Digest of what an artefact was applied with. components/container/drift.ts computes the same.
inputs_digest() { # SALT CONTENT-FILE KIND ARGUMENT…
  local salt=$1 content=$2
  shift 2
  { printf '%s\0' "$salt" "$@" && cat -- "$content"; } | digest
}

# Keeps what is about to be overwritten or removed, unless it is what we left there ourselves.
keep_aside() { # PATH KIND ARGUMENT…
  local path=$1 receipt
  shift
  [[ -e $path || -L $path ]] || return 0
  receipt=$(receipt_of "$1" "$2")
  if [[ -e $receipt ]] && [[ $(grep '^observed ' "$receipt") == "$(observe "$@" | sed 's/^/observed /')" ]]; then
    return 0
  fi
  install -d -m 0700 -- "$home" "$set_aside"
  local kept
  kept=$(mktemp -d -- "$set_aside/$(date -u +%Y%m%dT%H%M%SZ).XXXX")
  cp -a -- "$path" "$kept/"
  printf 'what stood at %s was kept in %s\n' "$path" "$kept"
}

# Writes a file beside its target, then renames: a reader sees the old one or the new one, never a part.
install_file() { # PATH MODE OWNER CONTENT-FILE
  local path=$1 mode=$2 owner=$3 content=$4 partial
  [[ ! -d $path || -L $path ]] || fail "$path is a directory; a file is to stand there. Move it away and run again."
  partial=$(mktemp -- "$(dirname -- "$path")/.pgbackup.XXXXXX")
  temporary+=("$partial")
  cat -- "$content" >"$partial"
  chown -- "$owner" "$partial"
  chmod -- "$mode" "$partial"
  sync -- "$partial"
  mv -fT -- "$partial" "$path"
}

observe_path() { # PATH: type, mode, owner
  [[ -e $1 || -L $1 ]] || {
    echo missing
    return
  }
  stat -c $'type %F\nmode %04a\nowner %U:%G' -- "$1" | sed 's/^type regular empty file$/type regular file/'
}

observe_content() { # PATH
  if [[ -f $1 && ! -L $1 ]]; then printf 'content %s\n' "$(digest <"$1")"; fi
}

observe() { # KIND ARGUMENT…
  "observe_$1" "${@:2}"
}

apply() { # TOKEN KIND ARGUMENT…, content on stdin
  local token=$1 kind=$2 content receipt salt argument
  shift
  declare -F "apply_$kind" >/dev/null || fail "this agent knows no artefact of kind '$kind'"
  content=$(mktemp -p /run) # in memory: it may be a secret
  temporary+=("$content")
  cat >"$content"
  "apply_$kind" "$content" "${@:2}"
  salt=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
  install -d -m 0700 -- "$home" "$receipts"
  receipt=$(receipt_of "$kind" "$2")
  {
    printf 'token %s\nsalt %s\ninputs %s\n' "$token" "$salt" "$(inputs_digest "$salt" "$content" "$@")"
    for argument in "$@"; do printf 'argument %s\n' "$(printf '%s' "$argument" | base64 -w0)"; done
    observe "$@" | sed 's/^/observed /'
  } >"$receipt.partial"
  sync -- "$receipt.partial"
  mv -f -- "$receipt.partial" "$receipt"
}

remove() { # KIND ARGUMENT…
  local kind=$1
  declare -F "remove_$kind" >/dev/null || fail "this agent knows no artefact of kind '$kind'"
  "remove_$kind" "${@:2}"
  rm -f -- "$(receipt_of "$kind" "$2")"
  rmdir --ignore-fail-on-non-empty -- "$receipts" "$home" /usr/local/lib/pgbackup 2>/dev/null || true
}

# Refuses to leave a receipt for a state that is not the one asked for.
expect_state() { # KIND ARGUMENT… (wanted lines on stdin)
  local wanted found
  wanted=$(cat)
  found=$(observe "$@")
  [[ $wanted == "$found" ]] && return
  fail "$1 $2 could not be brought to the state declared (- wanted, + found):
$(diff -U0 <(printf '%s\n' "$wanted") <(printf '%s\n' "$found") | tail -n +3 | grep '^[-+]')"
}
