# packages COMMAND=PACKAGE…: commands that must be there; the package is installed where the command is missing. Without
# a package, somebody else has to install it.

observe_packages() {
  local pair
  for pair in "$@"; do
    command -v -- "${pair%%=*}" >/dev/null || printf 'missing %s\n' "${pair%%=*}"
  done
}

apply_packages() { # CONTENT-FILE COMMAND=PACKAGE…
  local pair missing=()
  for pair in "${@:2}"; do
    command -v -- "${pair%%=*}" >/dev/null && continue
    [[ -n ${pair#*=} ]] ||
      fail "${pair%%=*}: there is no such program in the container. Install what brings it there, then run again."
    missing+=("${pair#*=}")
  done
  if ((${#missing[@]} > 0)); then
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2 ||
      fail "could not install ${missing[*]} with apt-get. Install them in the container, then run again."
    hash -r
  fi
  expect_state packages "${@:2}" </dev/null
}

# What was installed may serve others by now, so it stays.
remove_packages() { :; }
