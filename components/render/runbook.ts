import { eachDatabase, inContainer, restoreLatest } from "./commandLine";
import { type DrilledCopies, type OffHostFacts, placeOf, renderOffHost } from "./offHostCopies";
import { connectionName, fileNamePart, shellWord } from "./quote";
import { renderFetching, renderRecovery } from "./recovery";
import type { Grants } from "./roleSql";
import { describeSandbox, type SandboxArgs } from "./sandbox";
import { renderTelling, type TellingFacts } from "./telling";

/** What the runbook is rendered from, and what other programs read from the stack's outputs. Holds no secret. */
export interface RunbookFacts {
  readonly host: string;
  readonly vmid: number;
  readonly databases: readonly string[];
  readonly role: string;
  /** What the role reads. */
  readonly grants: Grants["grants"];
  readonly commands: {
    readonly backup: string;
    readonly restore: string;
    readonly verify: string;
    readonly drill: string;
  };
  readonly service: string;
  readonly timer: string;
  readonly settings: string;
  readonly backupDirectory: string;
  readonly calendar: string;
  readonly retentionDays: number;
  /** When drills are done; left out where they are switched off. */
  readonly drill?: { readonly service: string; readonly timer: string; readonly calendar: string };
  /** Which copies drills restore. */
  readonly drillFrom: DrilledCopies;
  /** How the nightly job is sandboxed. */
  readonly sandbox: SandboxArgs;
  readonly offHost: OffHostFacts;
  readonly telling: TellingFacts;
}

/** Renders the operations runbook of one container, Markdown. Every command is complete: typed as it stands, it works. */
export function renderRunbook(facts: RunbookFacts): string {
  return [
    heading(facts),
    backUp(facts),
    restore(facts),
    renderRecovery(facts),
    drill(facts),
    byHand(facts),
    renderOffHost(facts.offHost, facts.drillFrom),
    renderTelling(facts.telling, (...words) => inContainer(facts, ...words)),
    confinement(facts),
    trouble(facts),
  ].join("\n");
}

function heading(facts: RunbookFacts): string {
  const { vmid, host, databases, role, backupDirectory, settings, timer, calendar, retentionDays } = facts;
  return `# Backups in container ${vmid}

All commands are typed on the Proxmox host ${host} (\`ssh root@${host}\`).

| what | where |
| --- | --- |
| databases | ${databases.join(", ")} |
| dumps | ${backupDirectory}, kept ${retentionDays} days, the newest verified one for ever |
| when | ${timer}: ${calendar} |
| role | ${role}: reads ${describeGrants(facts)}, writes nothing |
| settings | ${settings}, made by \`pulumi up\`: change them in the stack |
`;
}

function describeGrants({ databases, grants }: RunbookFacts): string {
  if (grants === "all") return "everything";
  return grants
    .map(({ database, schemas }) => schemas.join(", ") + (databases.length === 1 ? "" : ` (of ${database})`))
    .join(", ");
}

function backUp(facts: RunbookFacts): string {
  return `## Back up now

    ${inContainer(facts, "systemctl start", facts.service)}

Before something risky, a dump that the nightly job never removes:

    ${inContainer(facts, facts.commands.backup, "--now --label before-migration")}

## Did last night work?

    ${inContainer(facts, "systemctl list-timers", facts.timer)}
    ${inContainer(facts, "journalctl --no-pager --since yesterday --unit", facts.service)}
    ${inContainer(facts, facts.commands.backup, "--list")}

A dump counts once its manifest, the \`.json\` beside it, is there: it is written last, after the dump was verified.
Would the next night work? \`--dry-run\` checks everything and writes nothing here. Is a dump still whole?

    ${inContainer(facts, facts.commands.backup, "--dry-run")}
    ${inContainer(facts, facts.commands.backup, "--check", `${facts.backupDirectory}/<file>.dump`)}
`;
}

function restore(facts: RunbookFacts): string {
  const { commands } = facts;
  return `## Restore beside the original, to look first

${eachDatabase(facts, (name) => restoreLatest(facts, name, `--new ${shellWord(`${name}_restored`)}`))}

## Restore over the original

Takes a safety dump first, asks for the database's name, and changes all or nothing.

${eachDatabase(facts, (name) => restoreLatest(facts, name, `--into ${shellWord(name)}`))}

In place of \`latest\`: another dump, \`--file <name>.dump\`, or the last one before something went wrong,
\`--at '<date> <time>'\`, in UTC. What it would do: \`--plan\`.

A restore that was cut off, by a power failure for example, may have left the database closed to everybody. This opens it,
removes what is half, and says what holds:

    ${inContainer(facts, commands.restore, "--clean-up")}
${renderFetching(facts)}
## Verify

Row counts against the manifest, newest records, every foreign key.

${eachDatabase(facts, (name) => inContainer(facts, commands.verify, "--database", shellWord(`${name}_restored`), "--manifest", `${facts.backupDirectory}/<name>.dump.json`))}
`;
}

function drill(facts: RunbookFacts): string {
  const { commands, drill: units } = facts;
  const when = units ? `${units.timer}: ${units.calendar}.` : "Drills are switched off (`drillSchedule`).";
  const start = units ? ["systemctl start", units.service] : [commands.drill];
  return `## The drill

Restores the newest dump of every database with its roles into a scratch server, which has no network and a directory
of its own, proves it like a restore, measures how long that took, and throws it away. Then it reads every dump that is
kept here: one whose bits the disk has lost is named. ${describeProof(facts)} ${when}

One now:

    ${inContainer(facts, ...start)}

What the last one said, and how long a recovery takes; every report is kept 90 days:

    ${inContainer(facts, commands.drill, "--report")}
`;
}

/** Which copies a drill proves. */
function describeProof({ drillFrom, offHost }: RunbookFacts): string {
  if (drillFrom === "local") {
    return `It proves that the dumps of this
container can be restored by this version of PostgreSQL; not that the off-host copies can (\`drillFrom\`).`;
  }
  return `It proves that the off-host
copies ${placeOf(drillFrom, offHost)} can be restored by this version of PostgreSQL, without this container's disk. If
they cannot be had, it fails; it does not turn to the container's own dumps (\`--from local\` does).`;
}

function byHand(facts: RunbookFacts): string {
  const { databases, backupDirectory } = facts;
  const as = (...words: string[]) => inContainer(facts, "sudo -u postgres", ...words);
  // Two dumps within one second must not be one file.
  const suffix = (name: string) => (databases.length === 1 ? "" : `_${fileNamePart(name)}`);
  const lines = databases.flatMap((name) => [
    as(
      "pg_dump -d",
      shellWord(connectionName(name)),
      `--format=custom --file=${backupDirectory}/manual_$(date +%Y%m%d_%H%M%S)${suffix(name)}.dump`,
    ),
    as(
      `pg_restore --dbname=${shellWord(connectionName(name))} --verbose --clean --if-exists ${backupDirectory}/<file>.dump`,
    ),
  ]);
  return `## By hand

${lines.map((line) => `    ${line}`).join("\n")}

Manual dumps (\`manual_*\`) are never removed by the nightly job. Roles and their memberships, without passwords, are
beside each night's dumps: \`globals_<time>.sql\`.
`;
}

function confinement(facts: RunbookFacts): string {
  return `## What the nightly job can do

It runs as ${facts.role}, which owns nothing but its dumps, at low priority, and never twice at once.

${describeSandbox(facts.sandbox)}

What the role can and cannot read, and whether it can do more than that (exit status 0: all, and no more):

    ${inContainer(facts, facts.commands.backup, "--audit")}
`;
}

function trouble(facts: RunbookFacts): string {
  return `## When something looks wrong

    pulumi preview        # says in words what was changed in the container
    pulumi up             # puts it back
    ${inContainer(facts, "systemctl status", facts.service, facts.timer)}

To take all of this down but the data: \`npm run destroy\` where the stack is. Plain \`pulumi destroy\` refuses, because the
off-host copies are protected; do not unprotect them, as its message offers.
`;
}
