import { shellWord } from "./quote";

/** Renders the command that operators type: it names the settings and hands over to the program. */
export function renderLauncher(settings: string, program: string): string {
  return `#!/bin/bash
# Managed by pulumi up (pgbackup). Settings: ${settings}
export BACKUP_ENV=${shellWord(settings)}
exec ${shellWord(program)} "$@"
`;
}
