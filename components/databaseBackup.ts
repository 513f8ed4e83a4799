import * as pulumi from "@pulumi/pulumi";
import type { BackupBucket } from "./backupBucket";
import { BackupDirectory } from "./backupDirectory";
import { BackupDrill } from "./backupDrill";
import {
  BackupEnvironment,
  drillSecretsPath,
  nasKeyPath,
  type S3Credentials,
  type S3Target,
  secretsPath,
  settingsPath,
} from "./backupEnvironment";
import { BackupOutcome } from "./backupOutcome";
import { BackupReader } from "./backupReader";
import { BackupRole } from "./backupRole";
import { BackupSchedule } from "./backupSchedule";
import { BackupScript } from "./backupScript";
import { BackupWriter } from "./backupWriter";
import type { ContainerSettings } from "./config";
import { Container, type Knowledge, type Memory } from "./container";
import { chooseSandbox } from "./knowledge";
import type { NasSettings } from "./nasSettings";
import { programsOf } from "./outcomeSettings";
import type { BucketFacts, NasFacts } from "./render/offHostCopies";
import { describeAbsence } from "./render/recovery";
import { renderRunbook, type RunbookFacts } from "./render/runbook";
import type { TellingFacts } from "./render/telling";

export interface DatabaseBackupArgs {
  readonly settings: ContainerSettings;
  /** What the probe found in the container. */
  readonly knowledge: Knowledge;
  /** Bucket of the off-host copies, if they go to one. */
  readonly offHost?: BackupBucket;
}

/** Everything that keeps the databases of one container backed up. */
export class DatabaseBackup extends pulumi.ComponentResource {
  /** Structured facts for other programs. */
  readonly facts: RunbookFacts;
  /** The operations runbook, Markdown. */
  readonly runbook: string;
  /** What previews without access to the host compare with. */
  readonly memory: pulumi.Output<Memory>;

  constructor(name: string, args: DatabaseBackupArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:DatabaseBackup", name, {}, opts);
    const { settings, knowledge, offHost } = args;
    const { role, databases, commandDirectory, configDirectory, backupDirectory } = settings;
    const parent = { parent: this };
    const stateDirectory = `/var/lib/${settings.name}`;
    const drillDirectory = settings.drillDirectory ?? `${stateDirectory}/drill`;

    const container = new Container(
      name,
      { ...settings, knowledge, sandbox: chooseSandbox(settings.hardening, knowledge.sandbox) },
      parent,
    );
    const { databases: present = databases } = knowledge;
    const backupRole = new BackupRole(
      name,
      // What is restored later comes to the role by the next `up`: its SQL is another then.
      { ...settings, container, databases: databases.filter((database) => present.includes(database)) },
      parent,
    );
    const directories = new BackupDirectory(
      name,
      { container, account: role, path: backupDirectory, statePath: stateDirectory, after: [backupRole.account] },
      parent,
    );
    const s3 = offHost && declareTarget(name, settings, offHost, parent);
    const reader = offHost && declareReader(name, settings, offHost, parent);
    const script = new BackupScript(
      name,
      {
        container,
        name: settings.name,
        commandDirectory,
        settings: settingsPath(configDirectory),
        nas: settings.nas !== undefined,
        encryption: settings.ageRecipients.length > 0,
        programs: programsOf(settings.outcome),
      },
      parent,
    );
    const environment = new BackupEnvironment(
      name,
      {
        ...settings,
        container,
        stateDirectory,
        drillDirectory,
        s3,
        reader,
        host: settings.connection.host,
        commands: script.commands,
        after: [backupRole.account],
      },
      parent,
    );
    const installed = [...directories.artefacts, ...environment.artefacts, ...script.artefacts];
    const outcome = new BackupOutcome(
      name,
      {
        ...settings,
        container,
        account: role,
        settings: settingsPath(configDirectory),
        library: script.library,
        drills: settings.drillCalendar !== undefined,
        after: [backupRole.account, ...environment.artefacts, ...script.artefacts],
      },
      parent,
    );
    backupRole.declareAudit(script.commands.backup, installed);
    const writable = [backupDirectory, stateDirectory];
    const hosts = [...listNasHosts(settings), ...listS3Hosts(offHost)];
    const schedule = new BackupSchedule(
      name,
      {
        ...settings,
        container,
        account: role,
        command: script.commands.backup,
        writable,
        hosts,
        hidden: reader ? [drillSecretsPath(configDirectory)] : [],
        ...outcome.units.backup,
        after: [backupRole.role, ...installed, ...outcome.artefacts],
      },
      parent,
    );

    const { drillCalendar: calendar, drillMemory: memory } = settings;
    const drill =
      calendar === undefined
        ? undefined
        : new BackupDrill(
            name,
            {
              ...settings,
              container,
              account: role,
              command: script.commands.drill,
              stateDirectory,
              drillDirectory,
              hidden: ["/run/postgresql", secretsPath(configDirectory), ...hideNasKey(settings)],
              hosts: { local: [], s3: listS3Hosts(offHost), nas: listNasHosts(settings) }[settings.drillFrom],
              memory,
              calendar,
              ...outcome.units.drill,
              after: [...installed, ...outcome.artefacts],
            },
            parent,
          );

    this.facts = {
      host: settings.connection.host,
      vmid: settings.vmid,
      databases,
      role,
      grants: settings.grants,
      commands: script.commands,
      service: schedule.service,
      timer: schedule.timer,
      settings: settingsPath(configDirectory),
      backupDirectory,
      calendar: settings.calendar,
      retentionDays: settings.retentionDays,
      drill: drill && calendar !== undefined ? { service: drill.service, timer: drill.timer, calendar } : undefined,
      drillFrom: settings.drillFrom,
      sandbox: { sandbox: container.sandbox, writable, hosts, ownAccount: true },
      offHost: {
        s3: offHost && describeBucket(settings, offHost),
        nas: settings.nas && describeNas(settings, settings.nas),
        packed: settings.dumpJobs > 1,
        ageRecipients: settings.ageRecipients,
      },
      telling: describeTelling(settings, outcome),
    };
    this.runbook = renderRunbook(this.facts);
    for (const database of databases.filter((each) => !present.includes(each))) {
      void pulumi.log.warn(describeAbsence(this.facts, database, present), this);
    }
    this.memory = pulumi.all(container.tokens).apply((tokens) => ({ sandbox: knowledge.sandbox, tokens }));
    this.registerOutputs();
  }
}

function listNasHosts({ nas }: ContainerSettings): string[] {
  return nas ? [nas.host] : [];
}

function listS3Hosts(bucket?: BackupBucket): string[] {
  if (!bucket) return [];
  const { region, endpoint = `https://s3.${region}.amazonaws.com` } = bucket.settings;
  return [new URL(endpoint).hostname.replace(/^\[|\]$/g, "")];
}

/** A drill sees the NAS's key only if it is from there. */
function hideNasKey({ drillFrom, configDirectory }: ContainerSettings): string[] {
  return drillFrom === "nas" ? [] : [nasKeyPath(configDirectory)];
}

function declareTarget(
  name: string,
  { s3Prefix: prefix, s3Key }: ContainerSettings,
  bucket: BackupBucket,
  opts: pulumi.ComponentResourceOptions,
): S3Target {
  const key = s3Key ?? new BackupWriter(`${name}-writer`, { bucket, prefix }, opts);
  const { without, retentionDays, ...settings } = bucket.settings;
  return { ...settings, prefix, key, ...(without.includes("lifecycle") ? {} : { retentionDays }) };
}

/** What drills from S3 read with. */
function declareReader(
  name: string,
  { s3Prefix: prefix, s3ReaderKey, drillFrom }: ContainerSettings,
  bucket: BackupBucket,
  opts: pulumi.ComponentResourceOptions,
): S3Credentials | undefined {
  if (drillFrom !== "s3") return undefined;
  return s3ReaderKey ?? new BackupReader(`${name}-reader`, { bucket, prefix }, opts);
}

function describeBucket({ s3Prefix: prefix }: ContainerSettings, { settings }: BackupBucket): BucketFacts {
  const { bucket, region, endpoint, retentionDays, noncurrentDays } = settings;
  return { bucket, prefix, region, endpoint, retentionDays, noncurrentDays };
}

function describeNas({ configDirectory }: ContainerSettings, nas: NasSettings): NasFacts {
  const { host, port, user, directory, publicKey, retentionDays } = nas;
  return { host, port, user, directory, publicKey, keyFile: nasKeyPath(configDirectory), retentionDays };
}

function describeTelling({ outcome }: ContainerSettings, { units }: BackupOutcome): TellingFacts {
  const { command, mail, webhook, pingUrl, metricsDirectory } = outcome;
  return {
    unit: units.backup.failed,
    drills: units.drill.failed !== undefined,
    command,
    mail,
    webhook: webhook !== undefined,
    ping: pingUrl !== undefined,
    metricsDirectory,
  };
}
