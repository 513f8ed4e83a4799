import * as pulumi from "@pulumi/pulumi";
import type { Connection, JumpHost } from "./container";
import { type DrillSource, readDrillSource } from "./drillSource";
import { readGrants } from "./grantSettings";
import { type NasSettings, readNas } from "./nasSettings";
import { type OutcomeSettings, readOutcome } from "./outcomeSettings";
import type { Grants } from "./render/roleSql";
import {
  tableName,
  databaseName,
  HOST,
  HOST_RIGHT,
  PATH,
  PATH_RIGHT,
  hostKeyProblem,
  recipientProblem,
  USER,
  USER_RIGHT,
} from "./settingChecks";
import { matches, SettingsReader } from "./settingsReader";

/** A table whose newest rows verification shows. */
export interface NewestRecords {
  readonly database: string;
  /** `schema.table`. */
  readonly table: string;
  readonly timeColumn: string;
  readonly columns: readonly string[];
}

/** Everything that is decided for one container. */
export interface ContainerSettings extends Grants {
  /** What its resources are named after, e.g. ct2320. */
  readonly label: string;
  readonly connection: Connection;
  readonly vmid: number;
  readonly role: string;
  /** Prefix of commands and units. */
  readonly name: string;
  readonly commandDirectory: string;
  readonly configDirectory: string;
  readonly backupDirectory: string;
  /** Calendar expression of systemd.time(7), its time zone included. */
  readonly calendar: string;
  /** Time span of systemd.time(7). */
  readonly jitter: string;
  /** Time span of systemd.time(7) after which a run is ended. */
  readonly timeLimit: string;
  /** How the job is sandboxed: `auto` is what the container permits, `basic` never has a file system view of its own. */
  readonly hardening: Hardening;
  readonly retentionDays: number;
  /** `auto`, `none`, `gzip[:level]` or `zstd[:level]`. */
  readonly compression: string;
  /** Tables dumped side by side; more than one makes the dump a directory. */
  readonly dumpJobs: number;
  /** Tables to count, `schema.table` or `database|schema.table`; all if empty. */
  readonly countTables: readonly string[];
  /** Tables whose rows get a checksum, `schema.table` or `database|schema.table`. */
  readonly checksumTables: readonly string[];
  /** When drills are done, as `calendar`; undefined: never. */
  readonly drillCalendar?: string;
  /** Most memory of a drill, as systemd.resource-control(5) has it. */
  readonly drillMemory: string;
  /** Directory of the drill's scratch server, if it is not to be beside the job's records. */
  readonly drillDirectory?: string;
  /** Which copies drills restore. */
  readonly drillFrom: DrillSource;
  readonly newestRecords: readonly NewestRecords[];
  readonly s3Prefix: string;
  /** A writer's key the user made; without one, an IAM user is declared. */
  readonly s3Key?: S3Key;
  /** A reader's key the user made, for drills from S3; without one, an IAM user is declared for those. */
  readonly s3ReaderKey?: S3Key;
  /** Left out where no copies go to a NAS. */
  readonly nas?: NasSettings;
  /** Public keys that off-host copies are encrypted to, `age1…` or `ssh-…`; none if empty. */
  readonly ageRecipients: readonly string[];
  /** What a night does when a target cannot be reached beforehand. */
  readonly unreachableTarget: "refuse" | "local";
  /** Who is told what came of a night or a drill. */
  readonly outcome: OutcomeSettings;
}

const HARDENINGS = ["auto", "full", "basic"] as const;

export type Hardening = (typeof HARDENINGS)[number];

export interface S3Key {
  readonly accessKeyId: string;
  readonly secretAccessKey: pulumi.Output<string>;
}

/** Parts of a bucket that an S3-compatible server may not know. */
export const BUCKET_PARTS = [
  "versioning",
  "encryption",
  "publicAccessBlock",
  "ownershipControls",
  "lifecycle",
  "policy",
] as const;

export type BucketPart = (typeof BUCKET_PARTS)[number];

export interface BucketSettings {
  readonly bucket: string;
  readonly region: string;
  /** URL of an S3-compatible server; AWS if left out. */
  readonly endpoint?: string;
  readonly caCertificate?: string;
  readonly without: readonly BucketPart[];
  readonly retentionDays: number;
  readonly noncurrentDays: number;
}

export interface Settings {
  readonly containers: readonly ContainerSettings[];
  /** Left out where no off-host copies are wanted. */
  readonly bucket?: BucketSettings;
  readonly driftDetection: boolean;
}

/**
 * Reads the stack's configuration, whose types and defaults are in Pulumi.yaml. The only reader of it.
 *
 * @throws pulumi.RunError that lists every wrong setting: its key, its value and what would be right.
 */
export function readSettings(): Settings {
  const reader = SettingsReader.ofStack(new pulumi.Config().name);
  const bucket = readBucket(reader);
  const driftDetection = reader.flag("driftDetection");
  const containers = [readContainer(reader, bucket)];
  for (const entry of reader.entries("containers")) {
    containers.push(readContainer(entry, bucket));
    entry.refuseUnread();
  }
  reader.refuseUnread();
  refuseTwins(reader, containers);
  reader.throwProblems();
  return { containers, bucket, driftDetection };
}

function readContainer(reader: SettingsReader, bucket?: BucketSettings): ContainerSettings {
  const vmid = reader.own("vmid").integer("vmid", 100, 999_999_999);
  const databases = reader.own("databases").list("databases", databaseName);
  if (databases.length === 0) reader.problem("databases", [], "the name of at least one database");
  const copies = {
    s3Key: readKey(reader, "s3AccessKeyId", "s3SecretAccessKey"),
    s3ReaderKey: readKey(reader, "s3ReaderAccessKeyId", "s3ReaderSecretAccessKey"),
    nas: readNas(reader, vmid),
    ageRecipients: reader.list("ageRecipients", recipientProblem),
  };
  return {
    label: `ct${vmid}`,
    connection: readConnection(reader),
    vmid,
    ...readGrants(reader, databases),
    role: reader.text(
      "role",
      /^[a-z_][a-z0-9_-]{0,30}$/,
      "1 to 31 characters of a-z, 0-9, _ and -, beginning with a letter or _",
    ),
    name: reader.text(
      "name",
      /^[a-z][a-z0-9-]{0,39}$/,
      "1 to 40 characters of a-z, 0-9 and -, beginning with a letter",
    ),
    commandDirectory: readPath(reader, "commandDirectory"),
    configDirectory: readPath(reader, "configDirectory"),
    backupDirectory: readPath(reader, "backupDirectory"),
    calendar: `${readCalendar(reader, "schedule", 'a calendar expression of systemd.time(7), e.g. "*-*-* 02:00:00"')} ${readTimeZone(reader)}`,
    jitter: reader.text("jitter", /^[0-9][0-9a-z. ]*$/, 'a time span of systemd.time(7), e.g. "0" or "10min"'),
    timeLimit: reader.text("timeLimit", /^[1-9][0-9a-z. ]*$/, 'a time span of systemd.time(7), e.g. "12h" or "90min"'),
    hardening: reader.choice("hardening", HARDENINGS),
    retentionDays: reader.integer("retentionDays", 1, 36_500),
    compression: reader.text(
      "compression",
      /^(auto|none|gzip(:[1-9])?|zstd(:([1-9]|1[0-9]|2[0-2]))?)$/,
      "auto, none, gzip, gzip:1 to gzip:9, zstd, or zstd:1 to zstd:22",
    ),
    dumpJobs: reader.integer("dumpJobs", 1, 16),
    countTables: reader.list("countTables", tableName),
    checksumTables: reader.list("checksumTables", tableName),
    drillCalendar: readDrillCalendar(reader),
    drillMemory: reader.text("drillMemory", /^[1-9][0-9]{0,9}[MG]$/, "a size in M or G, e.g. 1G"),
    drillDirectory: reader.optionalText("drillDirectory", PATH, PATH_RIGHT),
    drillFrom: readDrillSource(reader, { ...copies, bucket: bucket !== undefined }),
    newestRecords: readNewestRecords(reader, databases),
    s3Prefix:
      reader
        .own("s3Prefix")
        .optionalText("s3Prefix", /^([A-Za-z0-9._~-]+\/)+$/, "letters, digits, . _ ~ - and /, ending in /") ??
      `ct${vmid}/`,
    ...copies,
    unreachableTarget:
      reader.text("unreachableTarget", /^(refuse|local)$/, "refuse or local") === "refuse" ? "refuse" : "local",
    outcome: readOutcome(reader),
  };
}

function readConnection(reader: SettingsReader): Connection {
  return {
    host: reader.text("host", HOST, HOST_RIGHT),
    port: reader.integer("hostPort", 1, 65_535),
    user: reader.text("hostUser", USER, USER_RIGHT),
    hostKey: reader.check("hostKey", hostKeyProblem),
    privateKey: reader.optionalSecret(
      "privateKey",
      matches(/-----BEGIN [A-Z ]*PRIVATE KEY-----/, "a private key in OpenSSH or PEM format"),
    ),
    privateKeyPassword: reader.optionalSecret("privateKeyPassword", matches(/./, "the passphrase of privateKey")),
    jumpHost: readJumpHost(reader),
  };
}

function readJumpHost(reader: SettingsReader): JumpHost | undefined {
  const jump = reader.object("jumpHost");
  if (jump.isEmpty) return undefined;
  const jumpHost = {
    host: jump.text("host", HOST, HOST_RIGHT),
    port: jump.has("port") ? jump.integer("port", 1, 65_535) : 22,
    user: jump.text("user", USER, USER_RIGHT),
    hostKey: jump.check("hostKey", hostKeyProblem),
  };
  jump.refuseUnread();
  return jumpHost;
}

function readPath(reader: SettingsReader, key: string): string {
  return reader.text(key, PATH, PATH_RIGHT);
}

function readCalendar(reader: SettingsReader, key: string, right: string): string {
  return reader.text(key, /^[A-Za-z0-9*][A-Za-z0-9*~,.:/ -]*$/, right);
}

function readTimeZone(reader: SettingsReader): string {
  return reader.text("timeZone", /^[A-Za-z][A-Za-z0-9_+/-]*$/, 'a time zone of tzdata, e.g. "Europe/Berlin"');
}

function readDrillCalendar(reader: SettingsReader): string | undefined {
  const right = 'a calendar expression of systemd.time(7), e.g. "Sun *-*-* 04:00:00", or off';
  const calendar = readCalendar(reader, "drillSchedule", right);
  return calendar === "off" ? undefined : `${calendar} ${readTimeZone(reader)}`;
}

function readNewestRecords(reader: SettingsReader, databases: readonly string[]): NewestRecords[] {
  const column = /^[A-Za-z_][A-Za-z0-9_$]*$/;
  return reader.entries("newestRecords", { inherit: false }).map((entry) => {
    const database = entry.text("database", /./, "one of databases");
    if (!databases.includes(database)) entry.problem("database", database, `one of databases: ${databases.join(", ")}`);
    const record = {
      database,
      table: entry.text(
        "table",
        /^[A-Za-z_][A-Za-z0-9_$]*\.[A-Za-z_][A-Za-z0-9_$]*$/,
        "schema.table, e.g. public.expenses",
      ),
      timeColumn: entry.text("timeColumn", column, "a column's name, e.g. created_at"),
      columns: entry.list("columns", (name) => (column.test(name) ? undefined : "a column's name, e.g. merchant")),
    };
    entry.refuseUnread();
    return record;
  });
}

function readKey(reader: SettingsReader, id: string, secretHalf: string): S3Key | undefined {
  const accessKeyId = reader.optionalText(id, /^[A-Za-z0-9_.-]+$/, "an access key's id");
  const secret = reader.optionalSecret(secretHalf, matches(/^[\x21-\x7e]+$/, `the secret half of ${id}`));
  if ((accessKeyId === undefined) !== (secret === undefined)) {
    reader.problem(secret === undefined ? secretHalf : id, undefined, "a value: an access key has two halves");
  }
  return accessKeyId !== undefined && secret !== undefined
    ? { accessKeyId, secretAccessKey: pulumi.secret(secret) }
    : undefined;
}

function readBucket(reader: SettingsReader): BucketSettings | undefined {
  const bucket = reader.optionalText(
    "s3Bucket",
    /^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/,
    "3 to 63 characters of a-z, 0-9 and -",
  );
  const settings = {
    region: reader.text("s3Region", /^[a-z0-9-]+$/, "a region, e.g. eu-central-1"),
    endpoint: reader.optionalText(
      "s3Endpoint",
      /^https?:\/\/[A-Za-z0-9.:[\]-]+$/,
      "a URL without a path, e.g. https://minio.example.lan:9000",
    ),
    caCertificate: reader.optionalText("s3CaCertificate", /-----BEGIN CERTIFICATE-----/, "a certificate in PEM format"),
    without: reader.list("s3Without", (part) =>
      BUCKET_PARTS.some((known) => known === part) ? undefined : `some of ${BUCKET_PARTS.join(", ")}`,
    ) as BucketPart[],
    retentionDays: reader.integer("s3RetentionDays", 1, 36_500),
    noncurrentDays: reader.integer("s3NoncurrentDays", 1, 36_500),
  };
  return bucket === undefined ? undefined : { bucket, ...settings };
}

function refuseTwins(reader: SettingsReader, containers: readonly ContainerSettings[]): void {
  const seen = new Set<number>();
  for (const { vmid } of containers) {
    if (seen.has(vmid))
      reader.problem("containers", vmid, "a vmid that the stack does not have yet: one entry a container");
    seen.add(vmid);
  }
  const owners = new Map<string, number>();
  for (const { vmid, nas } of containers) {
    if (!nas) continue;
    const place = `${nas.user}@${nas.host}:${nas.port}${nas.directory}`;
    const owner = owners.get(place);
    if (owner !== undefined) {
      reader.problem("nasDirectory", nas.directory, `another one for container ${vmid}: those are ${owner}'s copies`);
    }
    owners.set(place, vmid);
  }
}
