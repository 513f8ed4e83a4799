import { shellWord } from "./quote";
import type { RunbookFacts } from "./runbook";

/** A command on the host that runs in the container. */
export function inContainer({ vmid }: RunbookFacts, ...words: string[]): string {
  return `pct exec ${vmid} -- ${words.join(" ")}`;
}

/** A command for each database, one a line, as the runbook prints them. */
export function eachDatabase({ databases }: RunbookFacts, line: (database: string) => string): string {
  return databases.map((name) => `    ${line(name)}`).join("\n");
}

/** Where the restore command looks for a dump, if not in the backup directory. */
export interface Source {
  /** Its option. */
  readonly option: string;
  /** Variables of its environment. */
  readonly environment?: string;
}

/** Restores the newest dump of a database. @param target options that say where to, quoted */
export function restoreLatest(facts: RunbookFacts, database: string, target: string, source?: Source): string {
  const command = source?.environment === undefined ? [] : ["env", source.environment];
  const which = ["latest --database", shellWord(database), ...(source ? [source.option] : [])];
  return inContainer(facts, ...command, facts.commands.restore, ...which, target);
}
