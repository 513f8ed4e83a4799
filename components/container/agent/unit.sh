# unit NAME WANTED: a systemd unit in /etc/systemd/system. WANTED is "running" (enabled and started) or "on-demand".

# Drop-ins of this very unit: those systemd has loaded, and those it will load once something makes it reload (of a new
# directory NeedDaemonReload says nothing). Those for all units of a type are the container's affair.
list_drop_ins() {
  local path
  {
    for path in $(systemctl show --property=DropInPaths --value -- "$1"); do
      [[ $(dirname -- "$path") != */"$1.d" ]] || printf '%s\n' "$path"
    done
    for path in {/etc,/run}/systemd/{system,system.control}/"$1.d"/*.conf; do
      [[ ! -e $path && ! -L $path ]] || printf '%s\n' "$path"
    done
  } | sort -u
}

observe_unit() {
  local unit=$1 wanted=$2 path
  observe_path "/etc/systemd/system/$unit"
  observe_content "/etc/systemd/system/$unit"
  printf 'loaded from %s\n' "$(systemctl show --property=FragmentPath --value -- "$unit")"
  list_drop_ins "$unit" | while read -r path; do printf 'drop-in %s\n' "$path"; done
  printf "systemd's copy %s\n" "$(systemctl show --property=NeedDaemonReload --value -- "$unit" | sed 's/no/current/;s/yes/outdated/')"
  printf 'state %s\n' "$(systemctl is-enabled -- "$unit" 2>/dev/null || true)"
  if [[ $wanted == running ]]; then printf 'activity %s\n' "$(systemctl is-active -- "$unit" || true)"; fi
}

set_drop_ins_aside() {
  local unit=$1 directory
  for directory in /etc/systemd/system /run/systemd/system /etc/systemd/system.control /run/systemd/system.control; do
    [[ -d $directory/$unit.d ]] || continue
    keep_aside "$directory/$unit.d" drop-ins "$unit"
    rm -r -- "$directory/$unit.d"
  done
}

apply_unit() { # CONTENT-FILE NAME WANTED
  local content=$1 unit=$2 wanted=$3 path=/etc/systemd/system/$2 enabled=static
  keep_aside "$path" unit "${@:2}"
  set_drop_ins_aside "$unit"
  if [[ $(systemctl is-enabled -- "$unit" 2>/dev/null) == masked* ]]; then
    systemctl unmask --quiet -- "$unit"
    systemctl unmask --quiet --runtime -- "$unit"
  fi
  install_file "$path" 0644 root:root "$content"
  systemctl daemon-reload
  if [[ $wanted == running ]]; then
    systemctl reenable --quiet -- "$unit"
    systemctl restart -- "$unit"
    enabled=enabled
  fi
  {
    printf 'type regular file\nmode 0644\nowner root:root\ncontent %s\n' "$(digest <"$content")"
    printf "loaded from %s\nsystemd's copy current\nstate %s\n" "$path" "$enabled"
    if [[ $wanted == running ]]; then echo 'activity active'; fi
  } | expect_state unit "${@:2}"
}

remove_unit() { # NAME WANTED
  local unit=$1 wanted=$2
  keep_aside "/etc/systemd/system/$unit" unit "$@" # before it is stopped: that alone is no change of somebody's
  [[ $wanted != running ]] || systemctl disable --quiet --now -- "$unit" 2>/dev/null || true
  systemctl stop -- "$unit" 2>/dev/null || true
  [[ $unit != *.timer ]] || systemctl clean --what=state -- "$unit" 2>/dev/null || true
  set_drop_ins_aside "$unit"
  rm -f -- "/etc/systemd/system/$unit"
  systemctl daemon-reload
  systemctl reset-failed -- "$unit" 2>/dev/null || true
}
