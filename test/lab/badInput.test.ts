/** Wrong settings and things out of order: each ends preview and up in words, before anything is touched. */
import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { changed, Deployment, failure, warnings } from "./deployment";

const vmid = 2354;
const nobody = 2355;
const database = "expense_app_production";
const otherHostKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGhC9Ws5i4zKzsCDPlGkxfKBLdGSbHdWbF5cEVb0dmKa";

interface Wrong {
  readonly what: string;
  readonly settings: Readonly<Record<string, unknown>>;
  /** The whole of what is said, as lines. */
  readonly said: readonly (string | RegExp)[];
}

const hostKeyRight =
  "right would be the public key the host shows, e.g. `ssh-ed25519 AAAA…`, from /etc/ssh/ssh_host_*_key.pub there.";
const databaseRight =
  "right would be a name of 1 to 63 bytes without quotes, backslashes, slashes, line breaks and other control characters.";

const wrongSettings: readonly Wrong[] = [
  {
    what: "an unknown key",
    settings: { retentionDay: 7 },
    said: [/^pgbackup:retentionDay is "?7"?; right would be no such setting; there are .*\bretentionDays\b.*\.$/],
  },
  {
    what: "a vmid that is no number",
    settings: { vmid: "database" },
    said: ["validating stack config: Stack 'test-2354' with configuration key 'vmid' must be of type 'integer'"],
  },
  {
    what: "a retention of no days",
    settings: { retentionDays: 0 },
    said: ['pgbackup:retentionDays is "0"; right would be a whole number from 1 to 36500.'],
  },
  {
    what: "a database name with a quote",
    settings: { databases: ['expense"; DROP TABLE users --'] },
    said: [`pgbackup:databases is "expense\\"; DROP TABLE users --"; ${databaseRight}`],
  },
  {
    what: "a database name with a line break",
    settings: { databases: ["expense\napp"] },
    said: [`pgbackup:databases is "expense\\napp"; ${databaseRight}`],
  },
  {
    what: "an empty host key",
    settings: { hostKey: "" },
    said: [`pgbackup:hostKey is ""; ${hostKeyRight}`],
  },
  {
    what: "a host key that is none",
    settings: { hostKey: "ssh-ed25519 garbage" },
    said: [`pgbackup:hostKey is "ssh-ed25519 garbage"; ${hostKeyRight}`],
  },
  {
    what: "a private key that is none, which is not shown",
    settings: { privateKey: "hunter2" },
    said: [
      'pgbackup:privateKey is "(not shown: it is a secret)"; right would be a private key in OpenSSH or PEM format.',
    ],
  },
  {
    what: "several at once",
    settings: { retentionDays: -1, jitter: "soon" },
    said: [
      'pgbackup:jitter is "soon"; right would be a time span of systemd.time(7), e.g. "0" or "10min".',
      'pgbackup:retentionDays is "-1"; right would be a whole number from 1 to 36500.',
    ],
  },
  {
    what: "a schedule systemd does not understand",
    settings: { schedule: "*-*-* 25:00:00" },
    said: [
      `schedule: systemd in container ${vmid} does not understand "*-*-* 25:00:00 UTC" (with timeZone): ` +
        `Failed to parse calendar specification '*-*-* 25:00:00 UTC': Invalid argument. Right is e.g. "*-*-* 02:00:00" with a time zone of tzdata, e.g. "Europe/Berlin".`,
    ],
  },
  {
    what: "a time zone nobody knows",
    settings: { schedule: "*-*-* 02:00:00", timeZone: "Europe/Atlantis" },
    said: [
      /^schedule: systemd in container 2354 does not understand "\*-\*-\* 02:00:00 Europe\/Atlantis" \(with timeZone\): .* Right is e\.g\. /,
    ],
  },
  {
    what: "a jitter that is no time span",
    settings: { jitter: "10 bananas" },
    said: [
      /^jitter: systemd in container 2354 does not understand "10 bananas": .*\. Right is e\.g\. "0" or "10min"\.$/,
    ],
  },
  {
    what: "a container that does not exist",
    settings: { vmid: nobody },
    said: [`vmid: there is no container ${nobody} on 10.232.0.1. \`pct list\` on the host shows those that exist.`],
  },
  {
    what: "another host key than the host's",
    settings: { hostKey: otherHostKey },
    said: [
      "host 10.232.0.1:22 showed another host key than the one pinned in hostKey.",
      `  pinned ${otherHostKey}`,
      /^ {2}shown {2}ssh-ed25519 [A-Za-z0-9+/]{68}$/,
      "Compare the shown one with /etc/ssh/ssh_host_*_key.pub on the host's console before you pin it.",
    ],
  },
  {
    what: "a host nobody answers at",
    settings: { host: "10.232.9.9" },
    said: [/^host 10\.232\.9\.9:22 cannot be reached: .*\. Check host, hostPort and the network between\.$/],
  },
  {
    what: "a jump host nobody answers at",
    settings: { jumpHost: { host: "10.232.9.8", port: 2222, user: "jump", hostKey: otherHostKey } },
    said: [/^jumpHost 10\.232\.9\.8:2222 cannot be reached: .*\. Check jumpHost, .*$/],
  },
];

/** A value of the configuration file, without the file's own wrapping of lists. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value ?? null)) ?? undefined;
}

describe("bad input", function () {
  let deployed: Deployment;
  let before_: string;

  /** Every artefact and receipt, with the nanosecond it was last written in. */
  const look = () =>
    deployed.shell(`find /etc /usr/local /var/lib/pgbackup /var/backups /var/lib/trade-show-db -printf '%p %T@ %C@\\n' | sort
      runuser -u postgres -- pg_dumpall --schema-only | grep -E 'ROLE|GRANT' | sort`);

  before(async () => {
    deployed = await Deployment.create(vmid);
    await deployed.stack.up();
    before_ = await look();
  });

  after(() => deployed.remove());

  async function refused(settings: Wrong["settings"], said: Wrong["said"]): Promise<void> {
    const { lab, stack } = deployed;
    const usual = Object.fromEntries(
      Object.keys(settings).map((key) => [
        key,
        key === "privateKey" ? lab.host.privateKey : plain(stack.config.get(key)),
      ]),
    );
    for (const [key, value] of Object.entries(settings)) await deployed.stack.setConfig(key, value);
    try {
      for (const operation of ["preview", "up"] as const) {
        const started = Date.now();
        const text = await failure(deployed.stack[operation]());
        assert.ok(Date.now() - started < 60_000, `${operation} took ${Date.now() - started} ms`);
        const lines = text.split("\n").map((line) => line.replace(/^ {4}error: /, "").replace(/^ {4}/, ""));
        for (const each of said)
          assert.ok(
            lines.some((line) => (typeof each === "string" ? line.includes(each) : each.test(line.trimEnd()))),
            `${operation} should say ${String(each)} but says\n${text}`,
          );
        assert.doesNotMatch(text, /hunter2|BEGIN OPENSSH|\n +at /);
      }
    } finally {
      for (const [key, value] of Object.entries(usual)) await deployed.stack.setConfig(key, value);
    }
    assert.equal(await look(), before_);
  }

  describe("a setting", () => {
    for (const { what, settings, said } of wrongSettings) it(what, () => refused(settings, said));

    it("a private key that the host does not know", async () => {
      const folder = fs.mkdtempSync(path.join(os.tmpdir(), "key-"));
      try {
        execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", path.join(folder, "key")]);
        await refused({ privateKey: fs.readFileSync(path.join(folder, "key"), "utf8") }, [
          "host 10.232.0.1:22 does not let root in with this key: check hostUser and privateKey, and authorized_keys there.",
        ]);
      } finally {
        fs.rmSync(folder, { recursive: true });
      }
    });

    it("leaves the stack as it was: the right settings are clean", () => deployed.expectClean());
  });

  describe("the container", () => {
    it("stopped: said, and completed by the next up", async () => {
      await deployed.stack.setConfig("retentionDays", 21);
      await deployed.lab.stopContainer(vmid);
      for (const operation of ["preview", "up"] as const)
        assert.match(
          await failure(deployed.stack[operation]()),
          new RegExp(
            `error: container ${vmid} on 10\\.232\\.0\\.1 is stopped\\. Start it on the host: pct start ${vmid}\n`,
          ),
        );
      await deployed.type(`pct start ${vmid}`);
      await deployed.lab.startContainer(vmid);
      assert.deepEqual(changed(await deployed.stack.up()), ["update /etc/trade-show-app/backup.env"]);
      await deployed.expectClean();
    });

    it("without PostgreSQL: said, and completed by the next up", async () => {
      await deployed.stack.setConfig("retentionDays", 22);
      await deployed.shell("systemctl stop postgresql@15-main.service");
      before_ = await look().catch(() => "");
      for (const operation of ["preview", "up"] as const)
        assert.match(
          await failure(deployed.stack[operation]()),
          new RegExp(
            `error: PostgreSQL in container ${vmid} does not answer: .*connection to server on socket .* failed: No such file or directory\n` +
              `[^]*See: pct exec ${vmid} -- systemctl status postgresql\n`,
          ),
        );
      await deployed.shell(
        "systemctl start postgresql@15-main.service; grep -x RETENTION_DAYS=21 /etc/trade-show-app/backup.env",
      );
      assert.deepEqual(changed(await deployed.stack.up()), ["update /etc/trade-show-app/backup.env"]);
      await deployed.expectClean();
    });

    describe("without a database of the settings", () => {
      const absence = `databases: container ${vmid} has no database "later". It has: ${database}, postgres, template1. Until it is there, nights fail. Correct databases, or restore it, without --from where its dumps are still in /var/backups/trade-show-app, and run \`pulumi up\` again:
pct exec ${vmid} -- /usr/local/bin/trade-show-db-restore.sh latest --database later --from s3 --globals --as later`;
      const granting = ["update audit-/usr/local/bin/trade-show-db-backup.sh", "update role-trade_show_backup_prod"];

      it("is said by each preview and up, which make the rest so", async () => {
        await deployed.stack.setConfig("databases", [database, "later"]);
        for (const operation of ["preview", "up"] as const) {
          const outcome = await deployed.stack[operation]();
          assert.deepEqual(warnings(outcome), [absence]);
          assert.deepEqual(changed(outcome), [
            "update /etc/trade-show-app/backup.env",
            "update trade-show-db-backup.service",
            "update trade-show-db-backup.timer",
          ]);
        }
        assert.deepEqual(warnings(await deployed.stack.preview({ expectNoChanges: true })), [absence]);
      });

      it("is said by the night, which fails and backs up the others, and by the audit", async () => {
        const night = await deployed.lab.exec(vmid, ["/usr/local/bin/trade-show-db-backup.sh"]);
        assert.equal(night.code, 1);
        assert.match(
          night.stderr,
          /^later: error: cannot log in to database 'later' as role \S+: .*FATAL: {2}?database "later" does not exist$/m,
        );
        assert.match(night.stderr, /^error: the night failed for: 'later'\. Nothing was removed;/m);
        assert.match(night.stderr, new RegExp(`^${database}: dumped and verified: `, "m"));
        const audit = await deployed.lab.exec(vmid, ["/usr/local/bin/trade-show-db-backup.sh", "--audit"]);
        assert.equal(audit.code, 4);
        assert.match(audit.stdout, /^Database 'later'\n {2}CANNOT DUMP: .*database "later" does not exist$/m);
        assert.match(audit.stdout, /^The dump would be INCOMPLETE, or fail\. The role can do nothing but read\.$/m);
      });

      it("is completed by the next up, once it is there", async () => {
        await deployed.sql("CREATE DATABASE later");
        for (const operation of ["preview", "up"] as const) {
          const outcome = await deployed.stack[operation]();
          assert.deepEqual(warnings(outcome), []);
          assert.deepEqual(changed(outcome), granting);
        }
        await deployed.expectClean();
        await deployed.run(["systemctl", "start", "trade-show-db-backup.service"]);
      });

      it("that is gone again: what the role lost is said, too", async () => {
        await deployed.sql("DROP DATABASE later");
        const outcome = await deployed.stack.preview();
        assert.deepEqual(changed(outcome), granting);
        assert.deepEqual(warnings(outcome).sort(), [
          absence,
          `role-trade_show_backup_prod was changed in container ${vmid}: lost "CONNECT on database later"`,
        ]);
        await deployed.stack.up();
        await deployed.stack.setConfig("databases", [database]);
        await deployed.stack.up();
        await deployed.expectClean();
      });
    });

    it("with a root whose .bashrc talks and exits: no matter", async () => {
      await deployed.shell(`printf 'echo noise\\nexit 0\\n' | tee -a /root/.bashrc >/root/.profile`);
      await deployed.expectClean();
    });
  });
});
