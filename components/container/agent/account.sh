# account NAME: a system account that nobody can log in to, with a group of its own and no other

observe_account() {
  local name=$1 entry
  entry=$(getent passwd -- "$name") || {
    echo missing
    return
  }
  local home_directory shell
  IFS=: read -r _ _ _ _ _ home_directory shell <<<"$entry"
  printf 'home %s\nshell %s\ngroups %s\n' "$home_directory" "$shell" "$(id -nG -- "$name")"
  printf 'password %s\n' "$(passwd --status "$name" | awk '{ print ($2 == "L") ? "locked" : "usable" }')"
}

apply_account() { # CONTENT-FILE NAME
  local name=$2 uid
  if uid=$(id -u -- "$name" 2>/dev/null); then
    ((uid < 1000)) || fail "account $name exists with uid $uid: that is a person's. Choose another role name (setting role)."
    usermod --home /nonexistent --shell /usr/sbin/nologin --groups '' --lock -- "$name"
  else
    getent group -- "$name" >/dev/null || groupadd --system -- "$name"
    useradd --system --gid "$name" --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin -- "$name"
  fi
  printf 'home /nonexistent\nshell /usr/sbin/nologin\ngroups %s\npassword locked\n' "$name" | expect_state account "$name"
}

remove_account() {
  ! id -- "$1" >/dev/null 2>&1 || userdel -- "$1"
}
