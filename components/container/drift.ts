import { createHash, randomBytes } from "node:crypto";
import * as pulumi from "@pulumi/pulumi";
import { shellWord } from "../render/quote";
import type { Grants } from "../render/roleSql";
import { AGENT } from "./agent";
import { type Artefact, grantWords } from "./artefact";
import { type Answer, type Connection, runOnHost } from "./connection";

/**
 * What an applied artefact left in the container: the token it was applied with, a salted digest of what it was applied
 * with, and what the agent saw of it afterwards, one fact a line.
 */
export interface Receipt {
  readonly token: string;
  readonly salt: string;
  readonly inputs: string;
  readonly observed: readonly string[];
}

/** A receipt, and what stands in the container now. */
export interface Finding {
  readonly receipt: Receipt;
  readonly now: readonly string[];
}

/** Whether systemd may give units a file system view of their own in the container (Proxmox: nesting=1). */
export type Sandbox = "full" | "basic";

/** What is known of the container before anything is declared. */
export interface Knowledge {
  /** The most it permits. */
  readonly sandbox: Sandbox;
  /** Version of its PostgreSQL as `server_version_num` has it, e.g. 150018; undefined where it was not asked. */
  readonly serverVersion?: number;
  /** Databases that there are; undefined where it was not asked. */
  readonly databases?: readonly string[];
  /**
   * The token to declare an artefact with: the one it was last applied with, if it still stands as it was left and was
   * left with just these inputs; else one that was never used before, which makes the engine apply it again. A digest
   * of what is seen would not do: after `pct rollback` the same sight comes back with the same token, and the preview
   * would be clean over an old state.
   */
  token(artefact: Artefact): pulumi.Input<string>;
  /** What changed in the container since the artefact was applied, in words; empty where nothing did. */
  drift(artefact: Artefact): string | undefined;
}

/** What the probe is to look at. */
export interface ProbeRequest extends Grants {
  readonly connection: Connection;
  readonly vmid: number;
  /** Calendar expression with its time zone. */
  readonly calendar: string;
  readonly drillCalendar?: string;
  /** Time span. */
  readonly jitter: string;
  /** Time span. */
  readonly timeLimit: string;
}

/**
 * Asks the container in one round trip. Changes nothing there.
 *
 * @throws pulumi.RunError in words, for everything that would make the deployment fail: host, host key, login,
 * container, PostgreSQL, schemas, schedule.
 */
export async function probe(request: ProbeRequest): Promise<Knowledge> {
  const { connection, vmid, calendar, drillCalendar = "", jitter, timeLimit } = request;
  const words = ["probe", calendar, drillCalendar, jitter, timeLimit, ...grantWords(request)].map(shellWord).join(" ");
  const answer = await runOnHost(
    connection,
    `pct exec ${vmid} -- bash --norc -c 'eval "$(cat)"' agent ${words}`,
    AGENT,
  ).catch((error: unknown) => {
    throw new pulumi.RunError(error instanceof Error ? error.message : String(error));
  });
  const facts = readFacts(answer, request);
  const problems = facts.filter(([kind]) => kind === "problem").map((fact) => explainProblem(fact, request));
  if (problems.length > 0) throw new pulumi.RunError(problems.join("\n"));
  const sandbox = facts.some(([kind, value]) => kind === "sandbox" && value === "full") ? "full" : "basic";
  const said = (fact: string) => decode(facts.find(([kind]) => kind === fact)?.[1] ?? "");
  const receipts = new Map(facts.filter(([kind]) => kind === "receipt").map(readFinding));
  return new Receipts(receipts, sandbox, Number(said("version")), said("databases").split("\n"));
}

type Fact = readonly string[];

function readFacts({ code, stdout, stderr }: Answer, { connection, vmid }: ProbeRequest): Fact[] {
  const facts = stdout.split("\n").map((line) => line.split(" "));
  if (code === 0 && facts.some(([kind]) => kind === "complete")) return facts;
  const where = `container ${vmid} on ${connection.host}`;
  if (/not running/.test(stderr)) {
    throw new pulumi.RunError(`${where} is stopped. Start it on the host: pct start ${vmid}`);
  }
  if (/does not exist/.test(stderr)) {
    throw new pulumi.RunError(`vmid: there is no ${where}. \`pct list\` on the host shows those that exist.`);
  }
  if (/pct: (command )?not found/.test(stderr)) {
    throw new pulumi.RunError(`host: ${connection.host} has no pct, so it is not a Proxmox VE host.`);
  }
  throw new pulumi.RunError(`${where} could not be examined (status ${code}): ${stderr.trim() || stdout.trim()}`);
}

function explainProblem([, kind, text = ""]: Fact, request: ProbeRequest): string {
  const said = decode(text);
  const where = `container ${request.vmid}`;
  switch (kind) {
    case "schedule":
      return `schedule: systemd in ${where} does not understand ${JSON.stringify(request.calendar)} (with timeZone): ${said}. Right is e.g. "*-*-* 02:00:00" with a time zone of tzdata, e.g. "Europe/Berlin".`;
    case "drillSchedule":
      return `drillSchedule: systemd in ${where} does not understand ${JSON.stringify(request.drillCalendar)} (with timeZone): ${said}. Right is e.g. "Sun *-*-* 04:00:00", or off.`;
    case "jitter":
      return `jitter: systemd in ${where} does not understand ${JSON.stringify(request.jitter)}: ${said}. Right is e.g. "0" or "10min".`;
    case "timeLimit":
      return `timeLimit: systemd in ${where} does not understand ${JSON.stringify(request.timeLimit)}: ${said}. Right is e.g. "12h" or "90min".`;
    case "grantSchemas":
    case "grantOwners":
      return `${kind}: ${where}: ${said}.`;
    case "superuser":
      return `PostgreSQL in ${where} lets its account postgres in as a role that is no superuser: it can neither make the read-only role nor look after it.`;
    default:
      return `PostgreSQL in ${where} does not answer: ${said}\nSee: pct exec ${request.vmid} -- systemctl status postgresql`;
  }
}

function readFinding([, receipt = "", now = ""]: Fact): [string, Finding] {
  const lines = decode(receipt).split("\n");
  const all = (key: string) =>
    lines.filter((line) => line.startsWith(`${key} `)).map((line) => line.slice(key.length + 1));
  const one = (key: string) => all(key)[0] ?? "";
  const [kind, first] = all("argument").map(decode);
  return [
    `${kind} ${first}`,
    {
      receipt: { token: one("token"), salt: one("salt"), inputs: one("inputs"), observed: all("observed") },
      now: decode(now)
        .split("\n")
        .filter((line) => line !== ""),
    },
  ];
}

function decode(base64: string): string {
  return Buffer.from(base64, "base64").toString("utf8");
}

/** Digest of what an artefact is applied with, as `inputs_digest` in agent/main.sh computes it. */
export function inputsDigest(salt: string, { kind, parameters }: Artefact, content: string): string {
  const hash = createHash("sha256");
  for (const word of [salt, kind, ...parameters]) hash.update(`${word}\0`);
  return hash.update(content).digest("hex");
}

/** A token that was never used before. */
function freshToken(): string {
  return randomBytes(4).toString("hex");
}

/** Name of an artefact within its container. */
export function artefactId({ kind, parameters }: Artefact): string {
  return `${kind} ${parameters[0]}`;
}

/** Knowledge from the receipts in the container. */
export class Receipts implements Knowledge {
  constructor(
    private readonly findings: ReadonlyMap<string, Finding>,
    readonly sandbox: Sandbox,
    readonly serverVersion?: number,
    readonly databases?: readonly string[],
  ) {}

  token(artefact: Artefact): pulumi.Input<string> {
    const finding = this.findings.get(artefactId(artefact));
    const fresh = freshToken();
    if (!finding || this.drift(artefact) !== undefined) return fresh;
    const { token, salt, inputs } = finding.receipt;
    // Only whether the inputs are the same becomes known, so a secret content does not make the token secret.
    return pulumi.unsecret(
      pulumi
        .output(artefact.content ?? "")
        .apply((content) => (inputsDigest(salt, artefact, content) === inputs ? token : fresh)),
    );
  }

  drift(artefact: Artefact): string | undefined {
    const finding = this.findings.get(artefactId(artefact));
    return finding && describeDrift(finding.receipt.observed, finding.now);
  }
}

/** Says how two observations differ; undefined where they do not. A digest never appears in the words. */
export function describeDrift(then: readonly string[], now: readonly string[]): string | undefined {
  const lost = then.filter((line) => !now.includes(line)).map(splitObservation);
  const gained = now.filter((line) => !then.includes(line)).map(splitObservation);
  if (lost.length === 0 && gained.length === 0) return undefined;
  if (gained.some(({ text }) => text === "missing")) return "it is missing";
  const words = lost.map(({ text, subject, value }) => {
    const index = gained.findIndex((other) => other.subject === subject);
    const [replaced] = index < 0 ? [] : gained.splice(index, 1);
    if (!replaced) return `lost "${text}"`;
    return value === undefined ? `${subject} was changed` : `${replaced.text} instead of ${value}`;
  });
  return [...words, ...gained.map(({ text }) => `gained "${text}"`)].join("; ");
}

interface Observation {
  readonly subject: string;
  /** Left out where it is, or holds, a digest. */
  readonly value?: string;
  /** The line for a reader. */
  readonly text: string;
}

/** Splits a line of an observation, `<subject> <value>`. */
function splitObservation(line: string): Observation {
  const end = line.lastIndexOf(" ");
  const subject = line.slice(0, Math.max(end, 0));
  const value = line.slice(end + 1);
  return /[0-9a-f]{64}/.test(value) ? { subject, text: subject } : { subject, value, text: line };
}
