#!/bin/bash
# Checks every shell script: shellcheck for faults, shfmt for layout. Installs the two where they are missing.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for tool in shellcheck shfmt; do
  command -v "$tool" >/dev/null || { apt-get update -qq && apt-get install -qq -y --no-install-recommends "$tool" >/dev/null; }
done

mapfile -t files < <(git ls-files --cached --others --exclude-standard -- '*.sh' lab/host .ci)
mapfile -t scripts < <(grep -lE '^(#!.*sh$|# shellcheck shell=)' -- "${files[@]}")
shellcheck --external-sources --source-path=SCRIPTDIR -- "${scripts[@]}"
# The parts of the agent make sense as one program only.
node -r ts-node/register/transpile-only -e 'process.stdout.write(require("./components/container/agent").AGENT)' |
  shellcheck --shell=bash -
shfmt --indent 2 --case-indent --diff -- "${scripts[@]}" components/container/agent/*.sh
