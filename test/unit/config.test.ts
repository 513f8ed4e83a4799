import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { readSettings } from "../../components/config";

interface Schema {
  readonly config: Readonly<Record<string, { readonly default?: unknown }>>;
}

const repository = join(__dirname, "../..");
const schema = parse(readFileSync(join(repository, "Pulumi.yaml"), "utf8")) as Schema;

const HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGzWR4hmq5ZzbLS1dh4YFhnnFGPZMW2xNvIkCIrrjdSe";

/** What must be set: everything else has a default in Pulumi.yaml. */
const required = {
  host: "pve.example.lan",
  hostKey: HOST_KEY,
  vmid: 2320,
  databases: ["expense_app_production"],
  role: "trade_show_backup_prod",
};

/** A key pair as users make it. (ssh2's own generator writes, two times in a thousand, one that nobody can read.) */
function makeKeys(type: string, passphrase = ""): { private: string; public: string } {
  const directory = mkdtempSync(join(tmpdir(), "key-"));
  try {
    const file = join(directory, "key");
    execFileSync("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "", "-f", file]);
    return { private: readFileSync(file, "utf8"), public: readFileSync(`${file}.pub`, "utf8").trim() };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const KEYS = makeKeys("ed25519");
const RECIPIENT = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const nas = { nasHost: "nas.example.lan", nasUser: "pgbackup", nasHostKey: HOST_KEY, nasPrivateKey: KEYS.private };

/** What `pulumi config set --secret` was used for, unless a test says otherwise. */
const encrypted = [
  "privateKey",
  "privateKeyPassword",
  "s3SecretAccessKey",
  "s3ReaderSecretAccessKey",
  "nasPrivateKey",
  "notifyWebhook",
  "pingUrl",
];

/** Reads settings as the engine hands them over: defaults filled in, everything as text. */
function read(settings: Record<string, unknown> = {}, secrets: readonly string[] = encrypted) {
  const defaults = Object.entries(schema.config).flatMap(([key, { default: value }]) =>
    value === undefined ? [] : [[key, value]],
  );
  const all = { ...(Object.fromEntries(defaults) as object), ...required, ...settings };
  const text = (value: unknown) => (typeof value === "string" ? value : JSON.stringify(value));
  pulumi.runtime.setAllConfig(
    Object.fromEntries(
      Object.entries(all)
        .filter(([, value]) => value !== undefined)
        .map(([key, value]) => [`project:${key}`, text(value)]),
    ),
    secrets.map((key) => `project:${key}`),
  );
  return readSettings();
}

/** The lines of the one message that refuses the settings. */
function problems(settings: Record<string, unknown>, secrets?: readonly string[]): string[] {
  try {
    read(settings, secrets);
  } catch (error) {
    assert.ok(pulumi.RunError.isInstance(error), String(error));
    return error.message.split("\n");
  }
  return [];
}

describe("config", () => {
  it("switches drills off", () => {
    assert.equal(read({ drillSchedule: "off" }).containers[0]?.drillCalendar, undefined);
  });

  it("fills in defaults for the smallest configuration", () => {
    const { containers, bucket, driftDetection } = read();
    assert.equal(bucket, undefined);
    assert.equal(driftDetection, true);
    assert.deepEqual(containers, [
      {
        label: "ct2320",
        connection: {
          host: "pve.example.lan",
          port: 22,
          user: "root",
          hostKey: HOST_KEY,
          privateKey: undefined,
          privateKeyPassword: undefined,
          jumpHost: undefined,
        },
        vmid: 2320,
        databases: ["expense_app_production"],
        grants: "all",
        bypassRls: false,
        largeObjects: false,
        role: "trade_show_backup_prod",
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
        checksumTables: [],
        drillCalendar: "Sun *-*-* 04:00:00 UTC",
        drillDirectory: undefined,
        drillMemory: "1G",
        drillFrom: "local",
        newestRecords: [],
        s3Prefix: "ct2320/",
        s3Key: undefined,
        s3ReaderKey: undefined,
        nas: undefined,
        ageRecipients: [],
        unreachableTarget: "local",
        outcome: {
          command: undefined,
          mail: undefined,
          webhook: undefined,
          pingUrl: undefined,
          metricsDirectory: undefined,
        },
      },
    ]);
  });

  it("reads what each Pulumi.<stack>.yaml of the repository sets", () => {
    // Pulumi.lab.yaml is the quick start's, and not in the repository.
    const files = readdirSync(repository).filter((file) => /^Pulumi\.(?!lab\.)[a-z]+\.yaml$/.test(file));
    const found = files.map((file) => {
      const { config } = parse(readFileSync(join(repository, file), "utf8")) as { config: Record<string, unknown> };
      const { containers, bucket } = read(
        Object.fromEntries(Object.entries(config).map(([key, value]) => [key.replace("pgbackup:", ""), value])),
      );
      const [{ vmid, databases, role, retentionDays } = assert.fail(file), ...others] = containers;
      assert.deepEqual(others, [], file);
      return [file, vmid, databases, role, retentionDays, bucket?.bucket, bucket?.retentionDays];
    });
    const sandbox = ["expense_app_sandbox"];
    assert.deepEqual(found.sort(), [
      [
        ...["Pulumi.prod.yaml", 2320, ["expense_app_production"], "trade_show_backup_prod", 14],
        ...["trade-show-db-backups-prod", 14],
      ],
      ["Pulumi.sandbox.yaml", 2300, sandbox, "trade_show_backup_sandbox", 3, "trade-show-db-backups-sandbox", 3],
    ]);
  });

  it("lets further containers inherit all but what is theirs", () => {
    const { containers } = read({
      schedule: "*-*-* 03:00:00",
      s3Prefix: "first/",
      containers: [{ vmid: 2400, databases: ["crm", "billing"], retentionDays: 30 }],
    });
    const [first, second] = containers;
    assert.equal(first?.s3Prefix, "first/");
    assert.deepEqual(
      [second?.label, second?.vmid, second?.databases, second?.retentionDays, second?.calendar, second?.s3Prefix],
      ["ct2400", 2400, ["crm", "billing"], 30, "*-*-* 03:00:00 UTC", "ct2400/"],
    );
    assert.equal(second?.role, "trade_show_backup_prod");
  });

  it("reads which schemas the role reads, for each database", () => {
    const settings = {
      databases: ["shop", "crm"],
      grants: "schemas",
      grantSchemas: ["public", "crm|sales", "crm|public"],
      grantOwners: ["app", "shop|migrator"],
      bypassRls: true,
      containers: [
        { vmid: 2400, databases: ["billing"] },
        { vmid: 2401, databases: ["shop"], grants: "all" },
      ],
    };
    const found = read(settings).containers.map(({ grants, bypassRls, largeObjects }) => [
      grants,
      bypassRls,
      largeObjects,
    ]);
    assert.deepEqual(found, [
      [
        [
          { database: "shop", schemas: ["public"], owners: ["app", "migrator"] },
          { database: "crm", schemas: ["public", "sales"], owners: ["app"] },
        ],
        true,
        false,
      ],
      [[{ database: "billing", schemas: ["public"], owners: ["app"] }], true, false],
      ["all", true, false],
    ]);
  });

  it("refuses grants by schema that leave a database without any, or speak of another", () => {
    const schemas = { databases: ["shop", "crm"], grants: "schemas" };
    assert.deepEqual(problems({ ...schemas, grantSchemas: ["shop|s"], grantOwners: ["nobody|app"] }), [
      'project:grantOwners is ["nobody|app"]; right would be the name of at least one role that makes tables for database shop: grants is "schemas".',
      'project:grantSchemas is ["shop|s"]; right would be the name of at least one schema for database crm: grants is "schemas".',
      'project:grantOwners is ["nobody|app"]; right would be the name of at least one role that makes tables for database crm: grants is "schemas".',
      'project:grantOwners is "nobody|app"; right would be one of databases in front of the |: shop, crm.',
    ]);
    assert.match(problems({ ...schemas, grantSchemas: ["a|b|c"] })[0] ?? "", /"a\|b\|c"; right would be name or/);
    assert.deepEqual(problems({ grants: "some" }), ['project:grants is "some"; right would be one of all, schemas.']);
  });

  it("reads a NAS, with a directory for each container unless it is named one", async () => {
    const { containers } = read({
      ...nas,
      nasPort: 2222,
      nasRetentionDays: 0,
      nasHostKey: `${HOST_KEY} root@nas`,
      containers: [
        { vmid: 2400, databases: ["crm"], nasDirectory: "/other/crm", unreachableTarget: "refuse" },
        { vmid: 2401, databases: ["crm"], nasHost: "", ageRecipients: [RECIPIENT] },
      ],
    });
    const [first, second, third] = containers;
    const { privateKey, ...rest } = first?.nas ?? assert.fail("no NAS");
    assert.deepEqual(rest, {
      host: "nas.example.lan",
      port: 2222,
      user: "pgbackup",
      directory: "/ct2320",
      hostKey: HOST_KEY,
      publicKey: `ssh-ed25519 ${KEYS.public.split(" ")[1]}`,
      retentionDays: 0,
    });
    assert.ok(await pulumi.isSecret(privateKey));
    const text = await new Promise((resolve) => privateKey.apply(resolve));
    assert.equal(text, `${KEYS.private.trim()}\n`, "with the line feed that ssh wants at its end");
    assert.deepEqual([second?.nas?.directory, second?.nas?.host], ["/other/crm", "nas.example.lan"]);
    assert.deepEqual([first?.unreachableTarget, second?.unreachableTarget], ["local", "refuse"]);
    assert.equal(third?.nas, undefined, "an entry may do without");
    assert.deepEqual([first?.ageRecipients, third?.ageRecipients], [[], [RECIPIENT]]);
  });

  const s3 = { s3Bucket: "copies" };
  const readerKey = { s3ReaderAccessKeyId: "AKIAREADER", s3ReaderSecretAccessKey: "reader-secret" };
  const writerKey = { s3AccessKeyId: "AKIAWRITER", s3SecretAccessKey: "writer-secret" };

  it("drills from off-host where that can be read, and from where it is told", () => {
    const drillsFrom = (settings: Record<string, unknown>) => read(settings).containers.map((each) => each.drillFrom);
    assert.deepEqual(drillsFrom(s3), ["local"], "the writer cannot read");
    assert.deepEqual(drillsFrom({ ...s3, ...readerKey, ...nas }), ["s3"]);
    assert.deepEqual(drillsFrom({ ...readerKey, ...nas }), ["nas"], "there is no bucket");
    assert.deepEqual(drillsFrom({ ...s3, ...nas }), ["nas"]);
    assert.deepEqual(drillsFrom({ ...nas, nasRetentionDays: 0 }), ["local"], "append-only");
    assert.deepEqual(drillsFrom({ ...s3, ...readerKey, ...nas, ageRecipients: [RECIPIENT] }), ["local"]);
    assert.deepEqual(drillsFrom({ ...s3, ...readerKey, ...nas, drillFrom: "local" }), ["local"]);
    assert.deepEqual(drillsFrom({ ...s3, drillFrom: "s3" }), ["s3"]);
    assert.deepEqual(drillsFrom({ ...nas, nasRetentionDays: 0, drillFrom: "nas" }), ["nas"]);
    const other = { vmid: 2400, databases: ["crm"], ageRecipients: [RECIPIENT], drillFrom: "auto" };
    assert.deepEqual(drillsFrom({ ...s3, drillFrom: "s3", containers: [other] }), ["s3", "local"]);
    const { s3ReaderKey } = read({ ...s3, ...readerKey }).containers[0] ?? {};
    assert.equal(s3ReaderKey?.accessKeyId, "AKIAREADER");
    assert.ok(pulumi.Output.isInstance(s3ReaderKey.secretAccessKey));
  });

  it("refuses to drill from where there are no copies, or none that can be read", () => {
    const encrypted = `local or auto: ageRecipients is set, and no private key that could read the copies is on a machine of the stack`;
    for (const [settings, key, shown, right] of [
      [{ drillFrom: "s3" }, "drillFrom", 'is "s3"', "local, auto, or s3Bucket set: there are no copies in S3"],
      [{ drillFrom: "nas" }, "drillFrom", 'is "nas"', "local, auto, or nasHost set: there are no copies on a NAS"],
      [{ ...s3, drillFrom: "s3", ageRecipients: [RECIPIENT] }, "drillFrom", 'is "s3"', encrypted],
      [{ ...nas, drillFrom: "nas", ageRecipients: [RECIPIENT] }, "drillFrom", 'is "nas"', encrypted],
      [
        { ...s3, ...writerKey, drillFrom: "s3" },
        "s3ReaderAccessKeyId",
        "is not set",
        'a key that may list and get under s3Prefix: drillFrom is "s3", and no users are declared beside an s3AccessKeyId that you made',
      ],
      [{ drillFrom: "tape" }, "drillFrom", 'is "tape"', "one of auto, local, s3, nas"],
      [
        { s3ReaderAccessKeyId: "AKIA" },
        "s3ReaderSecretAccessKey",
        "is not set",
        "a value: an access key has two halves",
      ],
    ] as const) {
      assert.deepEqual(problems(settings), [`project:${key} ${shown}; right would be ${right}.`]);
    }
    assert.deepEqual(problems({ ...s3, ...writerKey, ...readerKey, drillFrom: "s3" }), []);
  });

  it("says all that a NAS still lacks", () => {
    assert.deepEqual(
      problems({ nasHost: "nas.example.lan" }),
      ["nasUser", "nasHostKey", "nasPrivateKey"].map(
        (key) =>
          `project:${key} is not set; right would be a value: nasHost is set, and nothing can be copied there without it.`,
      ),
    );
  });

  it("refuses a NAS directory that two containers share, unless it is on two machines", () => {
    const shared = { vmid: 2400, databases: ["crm"], nasDirectory: "/ct2320" };
    assert.deepEqual(problems({ ...nas, containers: [shared] }), [
      `project:nasDirectory is "/ct2320"; right would be another one for container 2400: those are 2320's copies.`,
    ]);
    assert.deepEqual(problems({ ...nas, containers: [{ ...shared, nasHost: "other.example.lan" }] }), []);
  });

  it("refuses a private key for the NAS that has a passphrase or is none, and shows nothing of it", () => {
    const locked = makeKeys("ed25519", "hunter2").private;
    const right =
      "right would be a private key in OpenSSH format without a passphrase, made by: ssh-keygen -t ed25519 -N '' -f nas-key";
    const hidden = 'project:nasPrivateKey is "(not shown: it is a secret)"';
    for (const [nasPrivateKey, why] of [
      [locked, ". This one has a passphrase, which nobody types at night"],
      [KEYS.public, ". This is the public half"],
      ["hunter2", ""],
    ] as const) {
      assert.deepEqual(problems({ ...nas, nasPrivateKey }), [`${hidden}; ${right}${why}.`]);
    }
  });

  it("accepts what age encrypts to, and nothing else", () => {
    const rsa = makeKeys("rsa").public;
    const { containers } = read({ ageRecipients: [RECIPIENT, `${HOST_KEY} ada@desk`, rsa] });
    assert.deepEqual(containers[0]?.ageRecipients, [RECIPIENT, `${HOST_KEY} ada@desk`, rsa]);
    const ecdsa = makeKeys("ecdsa").public;
    for (const wrong of [
      "",
      "age1",
      RECIPIENT.slice(0, -1),
      RECIPIENT.toUpperCase(),
      "ada@desk",
      "ssh-rsa AAAA",
      ecdsa,
    ]) {
      assert.match(
        problems({ ageRecipients: [wrong] })[0] ?? "",
        /^project:ageRecipients is ".*; right would be a public key of age: age1…/,
      );
    }
    const secret = `AGE-SECRET-KEY-1${"Q".repeat(58)}`;
    assert.match(
      problems({ ageRecipients: [secret] })[0] ?? "",
      /This is a private key: it belongs on no machine of this stack\.$/,
    );
  });

  it("names the key, the value and what is right, for every wrong setting at once", () => {
    assert.deepEqual(problems({ vmid: 5, retentionDays: 0, role: "Backup" }), [
      'project:vmid is "5"; right would be a whole number from 100 to 999999999.',
      'project:role is "Backup"; right would be 1 to 31 characters of a-z, 0-9, _ and -, beginning with a letter or _.',
      'project:retentionDays is "0"; right would be a whole number from 1 to 36500.',
    ]);
  });

  const wrong: [string, unknown, RegExp][] = [
    ["retentionDay", 3, /^project:retentionDay is "3"; right would be no such setting; there are .*retentionDays/],
    ["vmid", "abc", /^project:vmid is "abc"; right would be a whole number from 100/],
    ["host", "", /^project:host is ""; right would be a host name/],
    ["host", "a b", /^project:host is "a b"; right would be a host name/],
    ["hostKey", "", /^project:hostKey is ""; right would be the public key/],
    ["hostKey", "ssh-ed25519 garbage", /^project:hostKey is "ssh-ed25519 garbage"/],
    ["hostKey", undefined, /^project:hostKey is not set; right would be the public key/],
    ["databases", [], /^project:databases is \[\]; right would be the name of at least one database/],
    ["databases", ['a"b'], /^project:databases is "a\\"b"; right would be a name of 1 to 63 bytes without quotes/],
    ["databases", ["a'b"], /^project:databases is "a'b"; right would be a name/],
    ["databases", ["a\nb"], /^project:databases is "a\\nb"; right would be a name/],
    ["databases", ["a", "a"], /^project:databases is "a"; right would be each entry once/],
    ["databases", "expense", /^project:databases is "expense"; right would be a list/],
    ["schedule", "02:00; rm", /^project:schedule is "02:00; rm"; right would be a calendar expression/],
    ["timeLimit", "0", /^project:timeLimit is "0"; right would be a time span of systemd\.time\(7\), e\.g\. "12h"/],
    ["hardening", "none", /^project:hardening is "none"; right would be one of auto, full, basic/],
    ["configDirectory", "/etc", /^project:configDirectory is "\/etc"; right would be an absolute path/],
    ["backupDirectory", "/var/../etc", /^project:backupDirectory is "\/var\/\.\.\/etc"/],
    ["s3Endpoint", "minio:9000", /^project:s3Endpoint is "minio:9000"; right would be a URL/],
    ["s3Without", ["acl"], /^project:s3Without is "acl"; right would be some of versioning, /],
    ["dumpJobs", 17, /^project:dumpJobs is "17"; right would be a whole number from 1 to 16/],
    ["compression", "lz4", /^project:compression is "lz4"; right would be auto, none, gzip/],
    ["drillSchedule", "", /^project:drillSchedule is ""; right would be a calendar expression .*, or off/],
    ["drillMemory", "lots", /^project:drillMemory is "lots"; right would be a size in M or G/],
    ["drillDirectory", "drill", /^project:drillDirectory is "drill"; right would be an absolute path/],
    ["checksumTables", [".x"], /^project:checksumTables is "\.x"; right would be schema\.table/],
    ["countTables", ["expenses"], /^project:countTables is "expenses"; right would be schema\.table/],
    ["s3Prefix", "no-slash", /^project:s3Prefix is "no-slash"/],
    ["nasHost", "a b", /^project:nasHost is "a b"; right would be a host name/],
    ["nasPort", 0, /^project:nasPort is "0"; right would be a whole number from 1 to 65535/],
    ["nasUser", "Ada", /^project:nasUser is "Ada"; right would be a user name/],
    ["nasDirectory", "ct2320", /^project:nasDirectory is "ct2320"; right would be an absolute path/],
    ["nasDirectory", "/a/../b", /^project:nasDirectory is "\/a\/\.\.\/b"; right would be an absolute path/],
    ["nasHostKey", "SHA256:abc", /^project:nasHostKey is "SHA256:abc"; right would be the public key the host shows/],
    ["nasRetentionDays", -1, /^project:nasRetentionDays is "-1"; right would be a whole number from 0/],
    ["unreachableTarget", "skip", /^project:unreachableTarget is "skip"; right would be refuse or local/],
    ["s3AccessKeyId", "AKIA", /^project:s3SecretAccessKey is not set; right would be a value: an access key/],
    ["driftDetection", "maybe", /^project:driftDetection is "maybe"; right would be true or false/],
    ["jumpHost", { host: "jump" }, /^project:jumpHost\.user is not set/],
    ["containers", [{ databases: ["a"] }], /^project:containers\[0\]\.vmid is not set/],
    ["containers", [{ vmid: 2400, databases: ["a"], shedule: "x" }], /^project:containers\[0\]\.shedule is "x"/],
    ["containers", [{ vmid: 2320, databases: ["a"] }], /^project:containers is 2320; right would be a vmid/],
    [
      "newestRecords",
      [{ database: "x" }],
      /^project:newestRecords\[0\]\.database is "x"; right would be one of databases/,
    ],
  ];
  for (const [key, value, message] of wrong) {
    it(`refuses ${key} ${JSON.stringify(value)}`, () => {
      assert.match(problems({ [key]: value })[0] ?? "", message);
    });
  }

  it("reads whom nights are told to; a ping's URL is one container's", () => {
    const told = {
      notifyCommand: "/usr/local/bin/page --team 'data base'",
      notifyMail: "ops@example.org",
      notifyWebhook: "https://hooks.example/services/T0/B0/x",
      pingUrl: "https://hc.example/ping/uuid",
      metricsDirectory: "/var/lib/prometheus/node-exporter",
    };
    const { containers } = read({ ...told, containers: [{ vmid: 2400, databases: ["crm"], notifyMail: "root" }] });
    const [first, second] = containers.map(({ outcome }) => outcome);
    assert.equal(first?.command, told.notifyCommand);
    assert.equal(first?.mail, "ops@example.org");
    assert.ok(pulumi.Output.isInstance(first?.webhook) && pulumi.Output.isInstance(first?.pingUrl));
    assert.equal(first?.metricsDirectory, told.metricsDirectory);
    assert.equal(second?.command, told.notifyCommand);
    assert.equal(second?.mail, "root");
    assert.ok(pulumi.Output.isInstance(second?.webhook));
    assert.equal(second?.pingUrl, undefined);
  });

  it("says what is wrong with whom nights are told to, and shows no URL", () => {
    assert.deepEqual(
      problems({
        notifyCommand: "mail -s x",
        notifyMail: "a@b, c@d",
        notifyWebhook: "https://hooks.example/x#key",
        pingUrl: "hc.example",
        metricsDirectory: "/var",
      }).sort(),
      [
        'project:metricsDirectory is "/var"; right would be an absolute path at least two levels deep, of letters, digits, . _ - and /, without a trailing /.',
        'project:notifyCommand is "mail -s x"; right would be the absolute path of a program in the container, with its arguments.',
        'project:notifyMail is "a@b, c@d"; right would be one mail address, e.g. ops@example.org.',
        'project:notifyWebhook is "(not shown: it is a secret)"; right would be an http or https URL without quotes and #.',
        'project:pingUrl is "(not shown: it is a secret)"; right would be an http or https URL without quotes and #.',
      ],
    );
  });

  it("never shows a secret", () => {
    const [line = ""] = problems({ privateKey: "hunter2" });
    assert.match(line, /^project:privateKey is "\(not shown: it is a secret\)"; right would be a private key/);
    assert.doesNotMatch(line, /hunter2/);
    const [misspelt = ""] = problems({ privatKey: "hunter2" }, ["privatKey"]);
    assert.match(misspelt, /^project:privatKey is "\(not shown: it is a secret\)"; right would be no such setting/);
  });

  it("refuses a secret that stands in the stack's file in plain text, wherever it stands", () => {
    const key = "-----BEGIN OPENSSH PRIVATE KEY-----";
    const right = 'is "(not shown: it is a secret)"; right would be an encrypted value: `pulumi config set --secret`.';
    const container = { vmid: 2400, databases: ["crm"] };
    assert.deepEqual(problems({ privateKey: key, containers: [container] }, []), [`project:privateKey ${right}`]);
    assert.deepEqual(problems({ containers: [{ ...container, privateKey: key }] }), [
      `project:containers[0].privateKey ${right}`,
    ]);
    assert.deepEqual(problems({ containers: [{ ...container, privateKey: key }] }, ["containers"]), []);
  });
});
