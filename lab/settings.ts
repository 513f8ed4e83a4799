/** The configuration of a stack that deploys to a container of a lab. */
import type { Host } from "./host";
import type { Nas } from "./nas";
import type { S3 } from "./s3";

/** Settings of Pulumi.yaml by their names there, without the `pgbackup:` in front. */
export type Settings = Readonly<Record<string, unknown>>;

/** Settings the engine must encrypt. */
export const secretSettings: readonly string[] = [
  "privateKey",
  "privateKeyPassword",
  "s3SecretAccessKey",
  "s3ReaderSecretAccessKey",
  "nasPrivateKey",
  "notifyWebhook",
  "pingUrl",
];

/** What a lab serves. */
export interface Servers {
  readonly host: Host;
  readonly s3: S3;
}

/** What is true of the lab and nowhere else: how to reach its host and its S3 server. */
export function labFacts(lab: Servers): Settings {
  return {
    host: lab.host.address,
    hostPort: lab.host.port,
    hostUser: lab.host.user,
    hostKey: lab.host.hostKey,
    privateKey: lab.host.privateKey,
    s3Endpoint: lab.s3.endpoint,
    s3Region: lab.s3.region,
    s3CaCertificate: lab.s3.caCertificate,
  };
}

/** Settings with which copies go to the lab's NAS as well. */
export function nasFacts({ nas }: { readonly nas: Nas }): Settings {
  return {
    nasHost: nas.address,
    nasPort: nas.server.port,
    nasUser: nas.user,
    nasHostKey: nas.server.hostKey,
    nasPrivateKey: nas.server.privateKey,
  };
}

/** All settings of a stack for one container with the sample database, as Pulumi.prod.yaml has them for CT 2320. */
export function settingsFor(lab: Servers, vmid: number): Settings {
  return {
    ...labFacts(lab),
    vmid,
    databases: ["expense_app_production"],
    role: "trade_show_backup_prod",
    newestRecords: [
      {
        database: "expense_app_production",
        table: "public.expenses",
        timeColumn: "created_at",
        columns: ["id", "merchant", "amount", "created_at"],
      },
    ],
    s3Bucket: `trade-show-db-backups-${vmid}`,
  };
}
