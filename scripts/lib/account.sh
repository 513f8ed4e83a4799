# shellcheck shell=bash
# Who a script runs as.

# Goes on as the account of the role. Started by root, the script starts over as that account, same terminal.
become_role() {
  local script=$1 me
  shift
  me=$(id -un)
  if [[ $me == "$BACKUP_ROLE" ]]; then return; fi
  if ((EUID != 0)); then fail "runs as $me: must be root or $BACKUP_ROLE"; fi
  if ! id -u -- "$BACKUP_ROLE" >/dev/null 2>&1; then
    fail "operating-system account $BACKUP_ROLE does not exist: run pulumi up"
  fi
  exec runuser -u "$BACKUP_ROLE" -- "$script" "$@"
}

require_root() {
  if ((EUID != 0)); then fail "runs as $(id -un): must be root"; fi
}
