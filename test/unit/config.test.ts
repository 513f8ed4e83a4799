import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as pulumi from "@pulumi/pulumi";
import { parse } from "yaml";
import { readSettings } from "../../components/config";

interface Schema {
  readonly config: Readonly<Record<string, { readonly default?: unknown }>>;
}

const schema = parse(readFileSync(join(__dirname, "../../Pulumi.yaml"), "utf8")) as Schema;

const HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGzWR4hmq5ZzbLS1dh4YFhnnFGPZMW2xNvIkCIrrjdSe";

/** What must be set: everything else has a default in Pulumi.yaml. */
const required = {
  host: "pve.example.lan",
  hostKey: HOST_KEY,
  vmid: 2320,
  databases: ["expense_app_production"],
  role: "trade_show_backup_prod",
};

/** Reads settings as the engine hands them over: defaults filled in, everything as text. */
function read(settings: Record<string, unknown> = {}) {
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
  );
  return readSettings();
}

/** The lines of the one message that refuses the settings. */
function problems(settings: Record<string, unknown>): string[] {
  try {
    read(settings);
  } catch (error) {
    assert.ok(pulumi.RunError.isInstance(error), String(error));
    return error.message.split("\n");
  }
  return [];
}

describe("config", () => {
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
        role: "trade_show_backup_prod",
        name: "trade-show-db",
        commandDirectory: "/usr/local/bin",
        configDirectory: "/etc/trade-show-app",
        backupDirectory: "/var/backups/trade-show-app",
        calendar: "*-*-* 02:00:00 UTC",
        jitter: "0",
        retentionDays: 14,
        compression: "auto",
        countTables: [],
        newestRecords: [],
        s3Prefix: "ct2320/",
        s3Key: undefined,
      },
    ]);
  });

  it("reads what Pulumi.prod.yaml sets", () => {
    const { config } = parse(readFileSync(join(__dirname, "../../Pulumi.prod.yaml"), "utf8")) as {
      config: Record<string, unknown>;
    };
    const settings = Object.fromEntries(
      Object.entries(config).map(([key, value]) => [key.replace("pgbackup:", ""), value]),
    );
    const { containers, bucket } = read(settings);
    assert.equal(containers[0]?.vmid, 2320);
    assert.deepEqual(containers[0]?.databases, ["expense_app_production"]);
    assert.equal(containers[0]?.role, "trade_show_backup_prod");
    assert.equal(bucket?.bucket, "trade-show-db-backups-prod");
    assert.equal(bucket?.retentionDays, 14);
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
    ["configDirectory", "/etc", /^project:configDirectory is "\/etc"; right would be an absolute path/],
    ["backupDirectory", "/var/../etc", /^project:backupDirectory is "\/var\/\.\.\/etc"/],
    ["s3Endpoint", "minio:9000", /^project:s3Endpoint is "minio:9000"; right would be a URL/],
    ["s3Without", ["acl"], /^project:s3Without is "acl"; right would be some of versioning, /],
    ["compression", "lz4", /^project:compression is "lz4"; right would be auto, none, gzip/],
    ["countTables", ["expenses"], /^project:countTables is "expenses"; right would be schema\.table/],
    ["s3Prefix", "no-slash", /^project:s3Prefix is "no-slash"/],
    ["s3AccessKeyId", "AKIA", /^project:s3SecretAccessKey is ""; right would be set/],
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

  it("never shows a secret", () => {
    const [line = ""] = problems({ privateKey: "hunter2" });
    assert.match(line, /^project:privateKey is "\(not shown: it is a secret\)"; right would be a private key/);
    assert.doesNotMatch(line, /hunter2/);
  });
});
