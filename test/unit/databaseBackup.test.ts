import assert from "node:assert/strict";
import * as pulumi from "@pulumi/pulumi";
import { BackupBucket, type ContainerSettings, DatabaseBackup } from "../../components";
import { Receipts } from "../../components/container/drift";

const settings: ContainerSettings = {
  label: "ct2320",
  connection: { host: "pve", port: 22, user: "root", hostKey: "ssh-ed25519 AAAA", privateKey: "the private key" },
  vmid: 2320,
  databases: ["expense_app_production", "a b"],
  role: "trade_show_backup_prod",
  grants: "all",
  bypassRls: false,
  largeObjects: false,
  name: "trade-show-db",
  commandDirectory: "/usr/local/bin",
  configDirectory: "/etc/trade-show-app",
  backupDirectory: "/var/backups/trade-show-app",
  calendar: "*-*-* 02:00:00 UTC",
  jitter: "0",
  timeLimit: "12h",
  hardening: "auto",
  retentionDays: 14,
  compression: "auto",
  dumpJobs: 1,
  countTables: [],
  checksumTables: ["public.expenses"],
  drillCalendar: "Sun *-*-* 04:00:00 UTC",
  drillMemory: "1G",
  drillFrom: "local",
  newestRecords: [],
  s3Prefix: "ct2320/",
  ageRecipients: [],
  outcome: {},
  unreachableTarget: "local",
};

const bucketSettings = { bucket: "copies", region: "eu-central-1", without: [], retentionDays: 14, noncurrentDays: 14 };

interface Declared {
  readonly type: string;
  readonly name: string;
  readonly inputs: Readonly<Record<string, unknown>>;
}

/** Everything a program declares. */
async function declare(program: () => unknown): Promise<Declared[]> {
  const declared: Declared[] = [];
  await pulumi.runtime.setMocks({
    newResource: ({ type, name, inputs }) => {
      declared.push({ type, name, inputs: inputs as Declared["inputs"] });
      return { id: `${name}-id`, state: { ...(inputs as object), arn: `arn:${name}`, secret: "the S3 secret" } };
    },
    call: () => ({}),
  });
  await pulumi.runtime.runInPulumiStack(async () => program());
  await pulumi.runtime.disconnect(); // once all is registered
  return declared;
}

function commands(declared: readonly Declared[]): Declared[] {
  return declared.filter(({ type }) => type === "command:remote:Command");
}

describe("DatabaseBackup", () => {
  const knowledge = new Receipts(new Map(), "full");
  let declared: Declared[];

  before(async () => {
    declared = await declare(() => {
      const offHost = new BackupBucket("off-host", bucketSettings);
      new DatabaseBackup("ct2320", { settings, knowledge, offHost });
    });
  });

  it("declares just these artefacts, named after what they are", () => {
    const names = commands(declared).map(({ name }) => name.replace("ct2320:", ""));
    assert.deepEqual(names.sort(), [
      "/etc/trade-show-app",
      "/etc/trade-show-app/backup-secrets.env",
      "/etc/trade-show-app/backup.env",
      "/usr/local/bin/trade-show-db-backup.sh",
      "/usr/local/bin/trade-show-db-drill.sh",
      "/usr/local/bin/trade-show-db-restore.sh",
      "/usr/local/bin/trade-show-db-verify.sh",
      "/usr/local/lib/pgbackup/agent",
      "/usr/local/lib/trade-show-db",
      "/var/backups/trade-show-app",
      "/var/lib/trade-show-db",
      "account-trade_show_backup_prod",
      "audit-/usr/local/bin/trade-show-db-backup.sh",
      "packages",
      "role-trade_show_backup_prod",
      "trade-show-db-backup.service",
      "trade-show-db-backup.timer",
      "trade-show-db-drill.service",
      "trade-show-db-drill.timer",
    ]);
  });

  it("passes settings on to backup.env", () => {
    const env = commands(declared).find(({ name }) => name.endsWith("/backup.env"));
    assert.match(String(env?.inputs.stdin), /^CHECKSUM_TABLES=\(\n {2}'public\.expenses'\n\)$/m);
  });

  it("applies and removes an artefact in short commands, its token on a line of its own", () => {
    const role = commands(declared).find(({ name }) => name.endsWith("role-trade_show_backup_prod"));
    const create = String(role?.inputs.create);
    assert.match(
      create,
      /^pct exec 2320 -- \/usr\/local\/lib\/pgbackup\/agent apply [0-9a-f]{8} \\\n {2}role trade_show_backup_prod 20 -- expense_app_production 'a b'$/,
    );
    assert.equal(
      role?.inputs.delete,
      `pct exec 2320 -- /usr/local/lib/pgbackup/agent remove \\
  role trade_show_backup_prod 20 -- expense_app_production 'a b' ||
  pct exec 2320 -- test ! -e /usr/local/lib/pgbackup/agent -a ! -e /var/lib/pgbackup/receipts 2>/dev/null ||
  { pct config 2320 2>&1 | grep -q 'does not exist' && ! ls /etc/pve/nodes/*/lxc/2320.conf >/dev/null 2>&1; }`,
    );
  });

  it("grants the role nothing in databases that are not there; settings and units name them all the same", async () => {
    const declaredWith = async (databases: readonly string[]) => {
      const found = new Receipts(new Map(), "full", 150018, databases);
      const all = commands(await declare(() => new DatabaseBackup("ct2320", { settings, knowledge: found })));
      const find = (end: string) => all.find(({ name }) => name.endsWith(end))?.inputs;
      const role = find("role-trade_show_backup_prod");
      assert.match(String(find("/backup.env")?.stdin), /^DATABASES=\(\n {2}'expense_app_production'\n {2}'a b'\n\)$/m);
      assert.match(String(find("backup.service")?.stdin), /^Description=.*expense_app_production.*a b$/m);
      assert.equal(find("audit-/usr/local/bin/trade-show-db-backup.sh")?.stdin, role?.stdin);
      const sql = String(role?.stdin).match(/^(GRANT CONNECT|\\connect) .*$/gm) ?? [];
      return [String(role?.create).split("\n  ")[1], ...sql];
    };
    assert.deepEqual(await declaredWith(["a b", "postgres", "template1"]), [
      "role trade_show_backup_prod 20 -- 'a b'",
      'GRANT CONNECT ON DATABASE "a b" TO "trade_show_backup_prod";',
      `\\connect "dbname='a b'"`,
    ]);
    assert.deepEqual(await declaredWith(["postgres", "template1"]), ["role trade_show_backup_prod 20 --"]);
  });

  it("lets no secret into a command, and no line grow longer than a diff shows", () => {
    for (const { name, inputs } of commands(declared)) {
      const text = `${String(inputs.create)}\n${String(inputs.delete)}`;
      assert.doesNotMatch(text, /the private key|the S3 secret/, name);
      for (const line of text.split("\n")) assert.ok(line.length < 120, `${name}: ${line}`);
    }
    const secrets = commands(declared).filter(({ inputs }) =>
      JSON.stringify(inputs.stdin ?? "").includes("the S3 secret"),
    );
    assert.deepEqual(
      secrets.map(({ name }) => name),
      ["ct2320:/etc/trade-show-app/backup-secrets.env"],
    );
  });

  it("never uses triggers or environment, which replace a command or need AcceptEnv", () => {
    for (const { inputs } of commands(declared)) {
      assert.equal(inputs.triggers, undefined);
      assert.equal(inputs.environment, undefined);
      assert.equal(inputs.addPreviousOutputInEnv, false);
    }
  });

  it("lets the writer put, tag and abort under its prefix, and nothing else", () => {
    const policy = declared.find(({ type }) => type === "aws:iam/userPolicy:UserPolicy");
    assert.deepEqual(JSON.parse(String(policy?.inputs.policy)), {
      Version: "2012-10-17",
      Statement: [
        {
          Sid: "PutAndTag",
          Effect: "Allow",
          Action: ["s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload"],
          Resource: "arn:off-host/ct2320/*",
        },
      ],
    });
  });

  it("declares no writer for a key that the user brings, and no off-host part without a bucket", async () => {
    const s3Key = { accessKeyId: "theirs", secretAccessKey: pulumi.secret("the S3 secret") };
    const own = await declare(() => {
      const offHost = new BackupBucket("off-host", bucketSettings);
      new DatabaseBackup("ct2320", { settings: { ...settings, s3Key }, knowledge, offHost });
    });
    assert.deepEqual(
      own.filter(({ type }) => type.startsWith("aws:iam/")),
      [],
    );
    const kept = await declare(() => {
      const offHost = new BackupBucket("off-host", { ...bucketSettings, without: ["lifecycle"] });
      new DatabaseBackup("ct2320", { settings: { ...settings, s3Key }, knowledge, offHost });
    });
    const days = [own, kept].map((each) => {
      const [found] = commands(each).filter(({ name }) => name.endsWith("/backup.env"));
      return /^S3_RETENTION_DAYS=(\d+)$/m.exec(String(found?.inputs.stdin))?.[1];
    });
    assert.deepEqual(days, ["14", "0"], "nothing expires without a lifecycle rule");
    const local = await declare(() => new DatabaseBackup("ct2320", { settings, knowledge }));
    assert.deepEqual(
      local.filter(({ type }) => type.startsWith("aws:")),
      [],
    );
    assert.ok(!commands(local).some(({ name }) => name.includes("secrets")));
  });

  it("declares the NAS's key as a file of its own, and the programs that NAS and encryption need", async () => {
    const key = ["ct2320:/etc/trade-show-app/nas-key"];
    const nas = {
      ...{ host: "nas", port: 2222, user: "pgbackup", directory: "/ct2320", hostKey: "ssh-ed25519 AAAA" },
      ...{ privateKey: pulumi.secret("the NAS key"), publicKey: "ssh-ed25519 BBBB", retentionDays: 30 },
    };
    const declaredWith = async (more: Partial<ContainerSettings>) =>
      commands(await declare(() => new DatabaseBackup("ct2320", { settings: { ...settings, ...more }, knowledge })));
    const words = (each: readonly Declared[], name: string) =>
      String(each.find((one) => one.name === name)?.inputs.create).split("\n  ")[1];
    const setting = (each: readonly Declared[], name: string) =>
      new RegExp(`^${name}=(.*(?:\n  .*)*)$`, "m").exec(
        String(each.find((one) => one.name.endsWith("/backup.env"))?.inputs.stdin),
      )?.[1];

    const with_ = await declaredWith({ nas, unreachableTarget: "refuse" });
    const holders = with_.filter(({ inputs }) => JSON.stringify(inputs).includes("the NAS key"));
    assert.deepEqual(
      holders.map(({ name }) => name),
      key,
    );
    assert.equal(words(with_, key[0] ?? ""), "file /etc/trade-show-app/nas-key 0600 trade_show_backup_prod:root");
    assert.equal(
      words(with_, "ct2320:packages"),
      "packages curl=curl jq=jq openssl=openssl rsync=rsync ssh=openssh-client",
    );
    const expected = {
      ...{ NAS_HOST: "'nas'", NAS_PORT: "2222", NAS_USER: "'pgbackup'", NAS_DIRECTORY: "'/ct2320'" },
      ...{
        NAS_HOST_KEY: "'ssh-ed25519 AAAA'",
        NAS_KEY_FILE: "'/etc/trade-show-app/nas-key'",
        NAS_RETENTION_DAYS: "30",
      },
      ...{ AGE_RECIPIENTS: "()", UNREACHABLE_TARGET: "'refuse'" },
    };
    for (const [name, value] of Object.entries(expected)) assert.equal(setting(with_, name), value, name);

    const without = await declaredWith({ ageRecipients: ["age1a", "ssh-rsa b"] });
    assert.equal(words(without, "ct2320:packages"), "packages curl=curl jq=jq openssl=openssl age=age");
    assert.ok(!without.some(({ name }) => name === key[0]));
    assert.deepEqual([setting(without, "NAS_HOST"), setting(without, "NAS_KEY_FILE")], ["''", "''"]);
    assert.equal(setting(without, "S3_RETENTION_DAYS"), "0", "no bucket");
    assert.equal(setting(without, "AGE_RECIPIENTS"), "(\n  'age1a'\n  'ssh-rsa b'");
  });

  it("declares a drill in a directory of its own if one is set, and none if it is off", async () => {
    const elsewhere = await declare(
      () => new DatabaseBackup("ct2320", { settings: { ...settings, drillDirectory: "/mnt/drill" }, knowledge }),
    );
    const stdin = (end: string) => String(commands(elsewhere).find(({ name }) => name.endsWith(end))?.inputs.stdin);
    assert.match(stdin("drill.service"), /^ReadWritePaths=\/var\/lib\/trade-show-db \/mnt\/drill$/m);
    assert.match(stdin("drill.service"), /^MemoryMax=1G$/m);
    assert.match(stdin("drill.service"), /^RestrictAddressFamilies=AF_UNIX$/m);
    assert.match(stdin("drill.service"), /^InaccessiblePaths=-\/run\/postgresql$/m);
    assert.match(stdin("drill.timer"), /^OnCalendar=Sun \*-\*-\* 04:00:00 UTC$/m);
    assert.match(stdin("/backup.env"), /^DRILL_DIRECTORY='\/mnt\/drill'$/m);
    assert.ok(commands(elsewhere).some(({ name }) => name === "ct2320:/mnt/drill"));

    const off = await declare(
      () => new DatabaseBackup("ct2320", { settings: { ...settings, drillCalendar: undefined }, knowledge }),
    );
    assert.deepEqual(
      commands(off).filter(({ name }) => /drill\.(service|timer)$/.test(name)),
      [],
    );
  });

  it("declares a reader for drills from S3, whose key is in a file of its own and no other unit's to see", async () => {
    const drilling = async (more: Partial<ContainerSettings>) =>
      declare(() => {
        const offHost = new BackupBucket("off-host", bucketSettings);
        new DatabaseBackup("ct2320", { settings: { ...settings, drillFrom: "s3", ...more }, knowledge, offHost });
      });
    const found = await drilling({});
    const policy = found.find(({ type, name }) => type === "aws:iam/userPolicy:UserPolicy" && name === "ct2320-reader");
    assert.deepEqual(JSON.parse(String(policy?.inputs.policy)), {
      Version: "2012-10-17",
      Statement: [
        {
          Sid: "List",
          Effect: "Allow",
          Action: "s3:ListBucket",
          Resource: "arn:off-host",
          Condition: { StringLike: { "s3:prefix": "ct2320/*" } },
        },
        { Sid: "Get", Effect: "Allow", Action: "s3:GetObject", Resource: "arn:off-host/ct2320/*" },
      ],
    });
    const one = (all: readonly Declared[], end: string) => commands(all).find(({ name }) => name.endsWith(end));
    const stdin = (end: string) => String(one(found, end)?.inputs.stdin);
    assert.match(stdin("/backup.env"), /^DRILL_FROM='s3'$/m);
    assert.match(stdin("/backup.env"), /^DRILL_SECRETS='\/etc\/trade-show-app\/drill-secrets\.env'$/m);
    assert.match(
      String(one(found, "/drill-secrets.env")?.inputs.create),
      /file \/etc\/trade-show-app\/drill-secrets\.env 0600 trade_show_backup_prod:root/,
    );
    assert.match(stdin("-drill.service"), /^RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6$/m);
    assert.match(stdin("-drill.service"), /^InaccessiblePaths=-\/etc\/trade-show-app\/backup-secrets\.env$/m);
    assert.match(stdin("-drill.service"), /^InaccessiblePaths=-\/etc\/trade-show-app\/nas-key$/m);
    assert.doesNotMatch(stdin("-drill.service"), /drill-secrets/);
    assert.match(stdin("-backup.service"), /^InaccessiblePaths=-\/etc\/trade-show-app\/drill-secrets\.env$/m);

    const s3ReaderKey = { accessKeyId: "theirs", secretAccessKey: pulumi.secret("the reader's secret") };
    const own = await drilling({ s3ReaderKey });
    assert.ok(!own.some(({ name }) => name.includes("reader")));
    const holders = commands(own).filter(({ inputs }) => JSON.stringify(inputs).includes("the reader"));
    assert.deepEqual(
      holders.map(({ name }) => name),
      ["ct2320:/etc/trade-show-app/drill-secrets.env"],
    );
    const unused = await drilling({ s3ReaderKey, drillFrom: "local" });
    assert.ok(!commands(unused).some(({ inputs }) => JSON.stringify(inputs).includes("the reader")));
    assert.doesNotMatch(String(one(unused, "-backup.service")?.inputs.stdin), /InaccessiblePaths/);
    assert.match(String(one(unused, "/backup.env")?.inputs.stdin), /^DRILL_FROM='local'$[^]*^DRILL_SECRETS=''$/m);
  });

  it("lets a drill from a NAS reach that and see its key, and nothing else", async () => {
    const nas = {
      ...{ host: "10.0.0.9", port: 22, user: "pgbackup", directory: "/ct2320", hostKey: "ssh-ed25519 AAAA" },
      ...{ privateKey: pulumi.secret("the NAS key"), publicKey: "ssh-ed25519 BBBB", retentionDays: 30 },
    };
    const found = await declare(() => {
      const offHost = new BackupBucket("off-host", bucketSettings);
      new DatabaseBackup("ct2320", { settings: { ...settings, nas, drillFrom: "nas" }, knowledge, offHost });
    });
    const unit = String(commands(found).find(({ name }) => name.endsWith("-drill.service"))?.inputs.stdin);
    assert.match(unit, /^IPAddressDeny=any\nIPAddressAllow=10\.0\.0\.9$/m);
    assert.match(unit, /^InaccessiblePaths=-\/etc\/trade-show-app\/backup-secrets\.env$/m);
    assert.doesNotMatch(unit, /nas-key/);
    assert.ok(!found.some(({ name }) => /reader|drill-secrets/.test(name)));
  });

  it("declares what tells of a night and a drill, where there is something to tell, and keeps its URLs to one file", async () => {
    const outcome = {
      command: "/usr/local/bin/page --team db",
      mail: "ops@example.org",
      webhook: pulumi.secret("https://hooks.example/the-hook"),
      pingUrl: pulumi.secret("https://ping.example/the-ping"),
      metricsDirectory: "/var/lib/prometheus/node-exporter",
    };
    const told = commands(
      await declare(() => new DatabaseBackup("ct2320", { settings: { ...settings, outcome }, knowledge })),
    );
    const before = commands(await declare(() => new DatabaseBackup("ct2320", { settings, knowledge })));
    const names = (all: readonly Declared[]) => all.map(({ name }) => name.replace("ct2320:", ""));
    assert.deepEqual(
      names(told)
        .filter((name) => !names(before).includes(name))
        .sort(),
      [
        "/etc/trade-show-app/outcome-secrets.env",
        "/var/lib/prometheus/node-exporter",
        "trade-show-db-backup-failed.service",
        "trade-show-db-backup-started.service",
        "trade-show-db-backup-succeeded.service",
        "trade-show-db-drill-failed.service",
        "trade-show-db-drill-succeeded.service",
      ],
    );
    const withUrls = told.filter(({ inputs }) => /the-hook|the-ping/.test(JSON.stringify(inputs)));
    assert.deepEqual(names(withUrls), ["/etc/trade-show-app/outcome-secrets.env"]);
    assert.doesNotMatch(String(withUrls[0]?.inputs.create) + String(withUrls[0]?.inputs.delete), /the-hook|the-ping/);
    const packages = told.find(({ name }) => name === "ct2320:packages");
    assert.match(String(packages?.inputs.create), / \/usr\/local\/bin\/page= sendmail=$/);
    const environment = String(told.find(({ name }) => name.endsWith("/backup.env"))?.inputs.stdin);
    for (const line of [
      "BACKUP_HOST='pve'",
      "BACKUP_VMID='2320'",
      "BACKUP_COMMAND='/usr/local/bin/trade-show-db-backup.sh'",
      "DRILL_COMMAND='/usr/local/bin/trade-show-db-drill.sh'",
      "NOTIFY_COMMAND='/usr/local/bin/page --team db'",
      "NOTIFY_MAIL='ops@example.org'",
      "METRICS_DIRECTORY='/var/lib/prometheus/node-exporter'",
      "OUTCOME_SECRETS='/etc/trade-show-app/outcome-secrets.env'",
    ])
      assert.ok(environment.split("\n").includes(line), line);
  });

  it("ties each service to what tells of it: a drill where there are drills and somebody to tell, for it pings nothing", async () => {
    const mail = "ops@example.org";
    const pingUrl = pulumi.secret("https://ping.example/the-ping");
    const ties = async (more: Partial<ContainerSettings>) => {
      const each = commands(
        await declare(() => new DatabaseBackup("ct2320", { settings: { ...settings, ...more }, knowledge })),
      );
      const tied = ["backup", "drill"].map((subject) => {
        const unit = each.find(({ name }) => name === `ct2320:trade-show-db-${subject}.service`);
        return String(unit?.inputs.stdin)
          .split("\n")
          .filter((line) => /^(Wants=trade|OnFailure=|OnSuccess=)/.test(line))
          .map((line) => line.replace("trade-show-db-", "").replace(".service", ""));
      });
      const units = each.map(({ name }) => /-drill-(failed|succeeded)\.service$/.exec(name)?.[1]);
      return [...tied, units.filter((unit) => unit !== undefined)];
    };
    const backup = ["OnFailure=backup-failed", "OnSuccess=backup-succeeded"];
    const drill = ["OnFailure=drill-failed", "OnSuccess=drill-succeeded"];
    const pinging = ["Wants=backup-started", ...backup];
    assert.deepEqual(await ties({}), [[], [], []]);
    assert.deepEqual(await ties({ outcome: { mail } }), [backup, drill, ["failed", "succeeded"]]);
    assert.deepEqual(await ties({ outcome: { metricsDirectory: "/m" } }), [backup, drill, ["failed", "succeeded"]]);
    assert.deepEqual(await ties({ outcome: { mail, pingUrl } }), [pinging, drill, ["failed", "succeeded"]]);
    assert.deepEqual(await ties({ outcome: { pingUrl } }), [pinging, [], []]);
    assert.deepEqual(await ties({ outcome: { mail }, drillCalendar: undefined }), [backup, [], []]);
  });

  it("leaves out the parts of a bucket that a server does not know", async () => {
    const without = ["publicAccessBlock", "ownershipControls", "policy"] as const;
    const some = await declare(() => new BackupBucket("off-host", { ...bucketSettings, without: [...without] }));
    assert.deepEqual(
      some
        .filter(({ type }) => type.startsWith("aws:s3/"))
        .map(({ type }) => type.split(":")[2])
        .sort(),
      ["Bucket", "BucketLifecycleConfiguration", "BucketServerSideEncryptionConfiguration", "BucketVersioning"],
    );
  });
});
