import * as pulumi from "@pulumi/pulumi";
import { type Container, directory, file, systemdUnit } from "./container";
import { isTold, type OutcomeSettings } from "./outcomeSettings";
import { type EnvironmentValue, renderEnvironment } from "./render/environment";
import { renderOutcomeUnit, renderStartedUnit, type Subject, type TiedUnits } from "./render/outcomeUnits";

export interface BackupOutcomeArgs {
  readonly container: Container;
  /** Prefix of the units, e.g. trade-show-db. */
  readonly name: string;
  readonly account: string;
  readonly configDirectory: string;
  /** Path of backup.env. */
  readonly settings: string;
  /** Directory of the scripts in the container. */
  readonly library: string;
  readonly outcome: OutcomeSettings;
  /** Whether there are drills to tell of. */
  readonly drills: boolean;
  /** What has to stand in the container before. */
  readonly after: readonly pulumi.Resource[];
}

/** What tells people and programs what came of a night or a drill: units that start once the service of it has ended. */
export class BackupOutcome extends pulumi.ComponentResource {
  /** Units for the backup's service and for the drill's to start; none where nobody is to be told. */
  readonly units: Readonly<Record<Subject, TiedUnits>> = { backup: {}, drill: {} };
  readonly artefacts: pulumi.Resource[] = [];

  constructor(name: string, args: BackupOutcomeArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupOutcome", name, {}, opts);
    const { container, account, outcome, after } = args;
    if (isTold(outcome)) {
      const started = outcome.pingUrl && `${args.name}-backup-started.service`;
      // A drill pings nothing.
      const drills = args.drills && isTold({ ...outcome, pingUrl: undefined });
      this.units = {
        backup: { started, ...nameEnds(args.name, "backup") },
        drill: drills ? nameEnds(args.name, "drill") : {},
      };
      const unit = { account, settings: args.settings, program: `${args.library}/outcome.sh` };
      const texts = [
        ...(hasSecrets(outcome) ? [secretsFile(args)] : []),
        ...(outcome.metricsDirectory === undefined
          ? []
          : [directory({ path: outcome.metricsDirectory, owner: `${account}:root` })]),
        ...(["backup", "drill"] as const).flatMap((subject) => {
          const { started: after, failed, succeeded } = this.units[subject];
          const content = renderOutcomeUnit({ ...unit, subject, after, mail: outcome.mail !== undefined });
          return [failed, succeeded].flatMap((name) =>
            name === undefined ? [] : [systemdUnit({ unit: name, content, wanted: "on-demand" })],
          );
        }),
        ...(started === undefined
          ? []
          : [systemdUnit({ unit: started, content: renderStartedUnit(unit), wanted: "on-demand" })]),
      ];
      this.artefacts = texts.map((artefact) => container.declare(artefact, { parent: this, dependsOn: [...after] }));
    }
    this.registerOutputs();
  }
}

function nameEnds(name: string, subject: Subject): TiedUnits {
  return { failed: `${name}-${subject}-failed.service`, succeeded: `${name}-${subject}-succeeded.service` };
}

function hasSecrets({ webhook, pingUrl }: OutcomeSettings): boolean {
  return webhook !== undefined || pingUrl !== undefined;
}

function secretsPath(configDirectory: string): string {
  return `${configDirectory}/outcome-secrets.env`;
}

function secretsFile({ configDirectory, account, outcome }: BackupOutcomeArgs) {
  return file({
    path: secretsPath(configDirectory),
    mode: "0600",
    owner: `${account}:root`,
    content: pulumi.secret(
      pulumi.all([outcome.webhook ?? "", outcome.pingUrl ?? ""]).apply(([webhook, pingUrl]) =>
        renderEnvironment("Managed by pulumi up (pgbackup). Secret.", [
          ["NOTIFY_WEBHOOK", webhook],
          ["PING_URL", pingUrl],
        ]),
      ),
    ),
  });
}

/** The lines of backup.env that say whom to tell, and what of. */
export function outcomeEnvironment(
  outcome: OutcomeSettings,
  facts: {
    readonly configDirectory: string;
    readonly host: string;
    readonly vmid: number;
    readonly commands: Readonly<Record<Subject, string>>;
  },
): [string, EnvironmentValue, string?][] {
  return [
    ["BACKUP_HOST", facts.host, "For people, where they are told of a night or a drill"],
    ["BACKUP_VMID", String(facts.vmid)],
    ["BACKUP_COMMAND", facts.commands.backup],
    ["DRILL_COMMAND", facts.commands.drill],
    ["NOTIFY_COMMAND", outcome.command ?? "", "Who is told of one that failed; URLs are in the secrets file"],
    ["NOTIFY_MAIL", outcome.mail ?? ""],
    ["METRICS_DIRECTORY", outcome.metricsDirectory ?? "", "For node_exporter; no metrics if empty"],
    ["OUTCOME_SECRETS", hasSecrets(outcome) ? secretsPath(facts.configDirectory) : ""],
  ];
}
