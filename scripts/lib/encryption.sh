# shellcheck shell=bash
# Off-host copies for age recipients only: <dump>.age, beside a manifest that stays plain and says so. Whoever holds a
# private key can read them; this machine never does.

is_encrypting() { ((${#AGE_RECIPIENTS[@]})); }

# Standard input to standard output, as it goes off-host.
encrypt() {
  local recipient options=()
  for recipient in "${AGE_RECIPIENTS[@]}"; do options+=(--recipient "$recipient"); done
  age --encrypt "${options[@]}"
}

# age itself knows what a recipient is.
check_recipients() {
  local answer
  if ! is_encrypting; then return; fi
  require_commands age
  if ! answer=$(encrypt 2>&1 >/dev/null </dev/null); then
    fail "AGE_RECIPIENTS: age refuses them: ${answer%%$'\n'*}: must be public keys, 'age1…' or 'ssh-ed25519 AAAA…'"
  fi
}

# Stops at a copy that must be decrypted before it can be looked into.
refuse_encrypted() {
  if [[ $1 != *.age ]]; then return; fi
  fail "$1 is encrypted: decrypt it first, age --decrypt --identity KEY --output ${1%.age} $1, and lay its manifest" \
    "beside it, as ${1%.age}.json"
}
