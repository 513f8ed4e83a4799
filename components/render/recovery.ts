import { eachDatabase, inContainer, restoreLatest, type Source } from "./commandLine";
import { shellWord } from "./quote";
import type { RunbookFacts } from "./runbook";

/** A place off-host that dumps are fetched from. */
interface Place extends Source {
  readonly title: string;
  /** What the restore asks for. */
  readonly asks: readonly string[];
}

function listPlaces({ drillFrom, offHost: { s3, nas, ageRecipients } }: RunbookFacts): Place[] {
  const identity = ageRecipients.length === 0 ? [] : ["an age identity that decrypts it"];
  const places: Place[] = [];
  if (s3) {
    places.push({ title: "the bucket", option: "--from s3", asks: ["the key of a reader of the bucket", ...identity] });
  }
  if (nas && (nas.retentionDays > 0 || drillFrom === "nas")) {
    places.push({ title: "the NAS", option: "--from nas", asks: identity });
  } else if (nas) {
    // Where the job removes nothing, its account may be one that only writes.
    const title = "the NAS, by a private key that may read there: <file>, in the container, mode 600";
    places.push({ title, option: "--from nas", environment: "NAS_READER_KEY_FILE=<file>", asks: identity });
  }
  return places;
}

/** As it was, with its roles, on a server that lacks it. */
function restoreMissing(facts: RunbookFacts, database: string, source?: Source): string {
  return restoreLatest(facts, database, `--globals --as ${shellWord(database)}`, source);
}

/** Says that a database of the settings is not in the container, and what to do. */
export function describeAbsence(facts: RunbookFacts, database: string, present: readonly string[]): string {
  const { vmid, backupDirectory } = facts;
  const places = listPlaces(facts);
  const [remedy, commands] =
    places.length === 0
      ? ["restore it from a dump", [restoreMissing(facts, database)]]
      : [
          `restore it, without --from where its dumps are still in ${backupDirectory}`,
          places.map((place) => restoreMissing(facts, database, place)),
        ];
  return (
    `databases: container ${vmid} has no database ${JSON.stringify(database)}. It has: ${present.join(", ")}. ` +
    `Until it is there, nights fail. Correct databases, or ${remedy}, and run \`pulumi up\` again:\n${commands.join("\n")}`
  );
}

/** Renders the runbook's part on restoring an off-host copy into the container that made it; empty without such copies. */
export function renderFetching(facts: RunbookFacts): string {
  if (listPlaces(facts).length === 0) return "";
  return `
## Restore from off-host

With \`--from\`, which goes with \`--into\` as well, the dump is fetched into ${facts.backupDirectory},
checked, and stays there like one of the night's.${describeIdentity(facts)}

${renderPlaces(facts, (name, place) => restoreLatest(facts, name, `--new ${shellWord(`${name}_restored`)}`, place))}`;
}

/** Renders the runbook's part on a container that is lost with its disk. */
export function renderRecovery(facts: RunbookFacts): string {
  if (listPlaces(facts).length === 0) {
    return `## The container is gone

Then everything is lost: the dumps were on its disk and nowhere else. Set \`s3Bucket\` or \`nasHost\` before that.
`;
  }
  return `## The container is gone

With its disk, and so the dumps on it. What was written since the last copy is lost, the rest comes back from off-host.

Make container ${facts.vmid} anew on this host and start it: Debian 12 or 13, \`sudo\`, and PostgreSQL of the version that it had or
newer, with the extensions that the databases use. Make neither database nor role in it. Then, where the stack is:

    pulumi up             # with driftDetection on: puts everything back but the databases, of which it warns

Then each database with its roles. They come without passwords: whoever logs in with one needs a new one, by
\`\\password <role>\` in psql.${describeIdentity(facts)}

${renderPlaces(facts, (name, place) => restoreMissing(facts, name, place))}
Where the stack is again, and then a night:

    pulumi up             # lets the backup's role into what was restored; the next preview is clean
    ${inContainer(facts, "systemctl start", facts.service)}
${describeOrphans(facts)}`;
}

/** What is typed for each database, for each place. */
function renderPlaces(facts: RunbookFacts, line: (database: string, place: Place) => string): string {
  return listPlaces(facts)
    .map((place) => {
      const asked = place.asks.length === 0 ? "" : `; asked for, and kept nowhere: ${place.asks.join(", and ")}`;
      return `From ${place.title}${asked}:\n\n${eachDatabase(facts, (name) => line(name, place))}\n`;
    })
    .join("\n");
}

function describeIdentity({ offHost: { ageRecipients } }: RunbookFacts): string {
  if (ageRecipients.length === 0) return "";
  return "\nAn age identity that is a file, such as an SSH key, is given with `--identity <file in the container>`.";
}

/** The job removes what its own records name, and those are new. */
function describeOrphans({ offHost: { nas } }: RunbookFacts): string {
  if (nas === undefined || nas.retentionDays === 0) return "";
  return `
What the lost container had copied to the NAS and was not fetched from there stays: the job removes only what it knows of.
`;
}
