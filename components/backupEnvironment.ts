import * as pulumi from "@pulumi/pulumi";
import type { NewestRecords, S3Key } from "./config";
import type { DrillSource } from "./drillSource";
import { type Container, directory, file } from "./container";
import { outcomeEnvironment } from "./backupOutcome";
import type { NasSettings } from "./nasSettings";
import type { OutcomeSettings } from "./outcomeSettings";
import { type EnvironmentValue, renderEnvironment } from "./render/environment";
import type { Grants } from "./render/roleSql";

export interface BackupEnvironmentArgs {
  readonly container: Container;
  readonly name: string;
  readonly role: string;
  readonly grants: Grants["grants"];
  readonly bypassRls: boolean;
  readonly largeObjects: boolean;
  readonly databases: readonly string[];
  readonly configDirectory: string;
  readonly backupDirectory: string;
  readonly stateDirectory: string;
  readonly retentionDays: number;
  readonly compression: string;
  readonly dumpJobs: number;
  readonly countTables: readonly string[];
  readonly checksumTables: readonly string[];
  readonly drillDirectory: string;
  /** Which copies drills restore. */
  readonly drillFrom: DrillSource;
  readonly newestRecords: readonly NewestRecords[];
  /** Where off-host copies go; without either, dumps stay in the container. */
  readonly s3?: S3Target;
  readonly nas?: NasSettings;
  /** The key that drills read S3 with, where they do. */
  readonly reader?: S3Credentials;
  readonly ageRecipients: readonly string[];
  readonly unreachableTarget: string;
  /** Who is told what came of a night or a drill, and what people know the container by. */
  readonly outcome: OutcomeSettings;
  readonly host: string;
  readonly vmid: number;
  /** Paths of the commands. */
  readonly commands: { readonly backup: string; readonly drill: string };
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

export interface S3Target {
  readonly bucket: string;
  readonly region: string;
  readonly endpoint?: string;
  readonly caCertificate?: string;
  readonly prefix: string;
  /** Days after which the bucket removes a superseded copy; none without its lifecycle rule. */
  readonly retentionDays?: number;
  readonly key: S3Credentials;
}

export interface S3Credentials {
  readonly accessKeyId: pulumi.Input<string>;
  readonly secretAccessKey: S3Key["secretAccessKey"];
}

/**
 * backup.env, plain so that preview shows what changes, and the secrets in a file of their own that only the job's
 * account can read.
 */
export class BackupEnvironment extends pulumi.ComponentResource {
  readonly artefacts: pulumi.Resource[];

  constructor(name: string, args: BackupEnvironmentArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupEnvironment", name, {}, opts);
    const { container, configDirectory, role, s3, nas, reader, after } = args;
    const folder = container.declare(directory({ path: configDirectory }), { parent: this });
    const files = [file({ path: settingsPath(configDirectory), mode: "0644", content: renderSettings(args) })];
    const owner = `${role}:root`;
    if (s3) {
      files.push(file({ path: secretsPath(configDirectory), mode: "0600", owner, content: renderKey("S3", s3.key) }));
    }
    if (reader) {
      const content = renderKey("S3_READER", reader);
      files.push(file({ path: drillSecretsPath(configDirectory), mode: "0600", owner, content }));
    }
    if (nas) {
      files.push(file({ path: nasKeyPath(configDirectory), mode: "0600", owner, content: nas.privateKey }));
    }
    if (s3?.caCertificate !== undefined) {
      files.push(file({ path: caPath(configDirectory), content: s3.caCertificate }));
    }
    const before = [folder, ...after];
    this.artefacts = files.map((artefact) => container.declare(artefact, { parent: this, dependsOn: before }));
    this.registerOutputs();
  }
}

/** Path of backup.env. */
export function settingsPath(configDirectory: string): string {
  return `${configDirectory}/backup.env`;
}

/** Path of the file of secrets. */
export function secretsPath(configDirectory: string): string {
  return `${configDirectory}/backup-secrets.env`;
}

/** Path of the file of the drill's secrets. */
export function drillSecretsPath(configDirectory: string): string {
  return `${configDirectory}/drill-secrets.env`;
}

/** Path of the private key that logs in to the NAS. */
export function nasKeyPath(configDirectory: string): string {
  return `${configDirectory}/nas-key`;
}

function caPath(configDirectory: string): string {
  return `${configDirectory}/s3-ca.pem`;
}

function renderSettings(args: BackupEnvironmentArgs): string {
  const { s3, nas, configDirectory, newestRecords } = args;
  const settings: [string, EnvironmentValue, string?][] = [
    ["BACKUP_NAME", args.name],
    ["BACKUP_ROLE", args.role, "PostgreSQL role and operating-system account"],
    ["GRANTS", args.grants === "all" ? "all" : "schemas", "What it is to be able to do, for --audit"],
    ["BYPASS_RLS", args.bypassRls ? "yes" : "no"],
    ["LARGE_OBJECTS", args.largeObjects ? "yes" : "no"],
    ["BACKUP_DIRECTORY", args.backupDirectory],
    ["BACKUP_STATE", args.stateDirectory],
    ["BACKUP_SECRETS", secretsPath(configDirectory)],
    ["DATABASES", args.databases],
    ["RETENTION_DAYS", args.retentionDays],
    ["COMPRESSION", args.compression],
    ["DUMP_JOBS", args.dumpJobs, "Tables dumped side by side; with 2 or more a dump is a directory"],
    ["COUNT_TABLES", args.countTables, "Tables whose rows are counted; all if empty"],
    ["DRILL_DIRECTORY", args.drillDirectory],
    ["DRILL_FROM", args.drillFrom, "Which copies a drill proves"],
    ["DRILL_SECRETS", args.reader ? drillSecretsPath(configDirectory) : ""],
    ["CHECKSUM_TABLES", args.checksumTables, "Tables whose rows get a checksum"],
    ["S3_BUCKET", s3?.bucket ?? "", "Off-host copies; an empty bucket means none"],
    ["S3_PREFIX", s3?.prefix ?? ""],
    ["S3_REGION", s3?.region ?? ""],
    ["S3_ENDPOINT", s3?.endpoint ?? ""],
    ["S3_CA_FILE", s3?.caCertificate === undefined ? "" : caPath(configDirectory)],
    [
      "S3_RETENTION_DAYS",
      s3?.retentionDays ?? 0,
      "Days a copy is kept there; 0: for good. The bucket itself removes it",
    ],
    ["NAS_HOST", nas?.host ?? "", "Off-host copies by rsync over SSH; an empty host means none"],
    ["NAS_PORT", nas?.port ?? 22],
    ["NAS_USER", nas?.user ?? ""],
    ["NAS_DIRECTORY", nas?.directory ?? ""],
    ["NAS_HOST_KEY", nas?.hostKey ?? ""],
    ["NAS_KEY_FILE", nas ? nasKeyPath(configDirectory) : ""],
    ["NAS_RETENTION_DAYS", nas?.retentionDays ?? 0, "Days a copy is kept on the NAS; 0: the job removes nothing there"],
    ["AGE_RECIPIENTS", args.ageRecipients, "Who can read off-host copies; anybody who has one if empty"],
    [
      "UNREACHABLE_TARGET",
      args.unreachableTarget,
      "local: dump all the same, and fail for the missing copy; or refuse",
    ],
    ...outcomeEnvironment(args.outcome, args),
    [
      "NEWEST_RECORDS",
      newestRecords.map(({ database, table, timeColumn, columns }) =>
        [database, table, timeColumn, columns.join(",")].join("|"),
      ),
      "What verification shows the newest rows of: database|table|time column|columns",
    ],
  ];
  return renderEnvironment("Managed by pulumi up (pgbackup); change the stack's settings instead.", settings);
}

function renderKey(prefix: string, { accessKeyId, secretAccessKey }: S3Credentials): pulumi.Output<string> {
  const text = pulumi.all([accessKeyId, secretAccessKey]).apply(([id, secret]) =>
    renderEnvironment("Managed by pulumi up (pgbackup). Secret.", [
      [`${prefix}_ACCESS_KEY_ID`, id],
      [`${prefix}_SECRET_ACCESS_KEY`, secret],
    ]),
  );
  return pulumi.secret(text);
}
