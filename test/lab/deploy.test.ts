/** `pulumi up` on a new container: what stands there afterwards, what an operator can do with it, and what changes. */
import * as assert from "node:assert/strict";
import { changed, Deployment, timeOfDay } from "./deployment";

const vmid = 2340;
const database = "expense_app_production";
const dumps = "/var/backups/trade-show-app";
const timer = "trade-show-db-backup.timer";
const service = "trade-show-db-backup.service";
/** What the tests change the schedule to. */
const later = timeOfDay(11);

describe("deployment", function () {
  let deployment: Deployment;
  let created: string[];
  let output: string;
  /** Fingerprint of the database's content. */
  let content: string;

  before(async () => {
    deployment = await Deployment.create(vmid);
    content = await fingerprint(database);
    const outcome = await deployment.stack.up();
    created = changed(outcome);
    output = outcome.output;
  });

  after(() => deployment.remove());

  it("declares these artefacts in the container, and no others", () => {
    assert.deepEqual(
      created.filter((line) => !/^create (ct2340|ct2340-writer|off-host|default_\S+)$/.test(line)),
      [
        "create /etc/trade-show-app",
        "create /etc/trade-show-app/backup-secrets.env",
        "create /etc/trade-show-app/backup.env",
        "create /etc/trade-show-app/s3-ca.pem",
        "create /usr/local/bin/trade-show-db-backup.sh",
        "create /usr/local/bin/trade-show-db-drill.sh",
        "create /usr/local/bin/trade-show-db-restore.sh",
        "create /usr/local/bin/trade-show-db-verify.sh",
        "create /usr/local/lib/pgbackup/agent",
        "create /usr/local/lib/trade-show-db",
        "create /var/backups/trade-show-app",
        "create /var/lib/trade-show-db",
        "create account-trade_show_backup_prod",
        "create audit-/usr/local/bin/trade-show-db-backup.sh",
        "create packages",
        "create role-trade_show_backup_prod",
        "create trade-show-db-backup.service",
        "create trade-show-db-backup.timer",
        "create trade-show-db-drill.service",
        "create trade-show-db-drill.timer",
      ],
    );
  });

  it("says in `up` what the role can and cannot read", () => {
    assert.match(output, /reads: 3 of 3 tables, \d+ of \d+ sequences, 1 of 1 schemas, 0 of 0 large objects/);
    assert.match(output, /The dump would be complete\. The role can do nothing but read\./);
  });

  it("is clean in the next preview", () => deployment.expectClean());

  it("gives everything its owner and mode", async () => {
    const role = "trade_show_backup_prod";
    const expected = {
      "/etc/trade-show-app": "755 root:root",
      "/etc/trade-show-app/backup.env": "644 root:root",
      "/etc/trade-show-app/backup-secrets.env": `600 ${role}:root`,
      "/etc/trade-show-app/s3-ca.pem": "644 root:root",
      "/usr/local/bin/trade-show-db-backup.sh": "755 root:root",
      "/usr/local/bin/trade-show-db-restore.sh": "755 root:root",
      "/usr/local/bin/trade-show-db-verify.sh": "755 root:root",
      "/usr/local/lib/trade-show-db": "755 root:root",
      "/usr/local/lib/trade-show-db/backup.sh": "755 root:root",
      "/usr/local/lib/pgbackup/agent": "755 root:root",
      "/var/backups/trade-show-app": `3770 ${role}:postgres`,
      "/var/lib/trade-show-db": `750 ${role}:${role}`,
      "/var/lib/pgbackup": "700 root:root",
      "/var/lib/pgbackup/receipts": "700 root:root",
      [`/etc/systemd/system/${service}`]: "644 root:root",
      [`/etc/systemd/system/${timer}`]: "644 root:root",
    };
    const found = await deployment.run(["stat", "-c", "%n=%a %U:%G", ...Object.keys(expected)]);
    assert.deepEqual(
      Object.fromEntries(
        found
          .trim()
          .split("\n")
          .map((line) => line.split("=")),
      ),
      expected,
    );
  });

  it("makes an account that nobody can log in to", async () => {
    const [, , uid, , , home, shell] = (await deployment.run(["getent", "passwd", "trade_show_backup_prod"]))
      .trim()
      .split(":");
    assert.ok(Number(uid) < 1000, `uid ${uid} is a system account's`);
    assert.deepEqual([home, shell], ["/nonexistent", "/usr/sbin/nologin"]);
    assert.equal(await deployment.run(["id", "-nG", "trade_show_backup_prod"]), "trade_show_backup_prod\n");
    assert.match(await deployment.run(["passwd", "--status", "trade_show_backup_prod"]), /^trade_show_backup_prod L /);
  });

  it("leaves a timer that is enabled, active, persistent, and elapses next at the time of the schedule", async () => {
    assert.deepEqual(await timerFacts(timer), { enabled: "enabled", active: "active", persistent: "yes" });
    assert.equal(await nextElapse(timer), upcoming(deployment.calendar));
    assert.equal(await deployment.run(["systemctl", "show", "-P", "Unit", timer]), `${service}\n`);
    assert.equal((await deployment.lab.exec(vmid, ["systemctl", "is-enabled", service])).stdout, "static\n");
    assert.equal(await deployment.run(["systemctl", "--failed", "--no-legend"]), "");
  });

  describe("changing one setting", () => {
    afterEach(() => deployment.expectClean());

    it("schedule: previews the timer alone, with the line that changes, and the timer elapses at the new time", async () => {
      const before = deployment.calendar;
      await deployment.stack.setConfig("schedule", later);
      const { output, changes } = await preview();
      assert.deepEqual(changes, ["update trade-show-db-backup.timer"]);
      assertDiff(output, [`OnCalendar=${before}`], [`OnCalendar=${later} UTC`]);
      assert.equal(await nextElapse(timer), upcoming(before), "a preview changes nothing");

      assert.deepEqual(changed(await deployment.stack.up()), ["update trade-show-db-backup.timer"]);
      assert.deepEqual(await timerFacts(timer), { enabled: "enabled", active: "active", persistent: "yes" });
      assert.equal(await nextElapse(timer), upcoming(`${later} UTC`));
    });

    it("retentionDays: previews backup.env alone, with the line that changes", async () => {
      await deployment.stack.setConfig("retentionDays", 30);
      const { output, changes } = await preview();
      assert.deepEqual(changes, ["update /etc/trade-show-app/backup.env"]);
      assertDiff(output, ["RETENTION_DAYS=14"], ["RETENTION_DAYS=30"]);

      assert.deepEqual(changed(await deployment.stack.up()), ["update /etc/trade-show-app/backup.env"]);
      const settings = await deployment.run(["grep", "^RETENTION_DAYS=", "/etc/trade-show-app/backup.env"]);
      assert.equal(settings, "RETENTION_DAYS=30\n");
    });

    async function preview() {
      const outcome = await deployment.stack.preview({ diff: true });
      return { output: outcome.output, changes: changed(outcome) };
    }
  });

  describe("operators' commands, typed as they are", () => {
    const manual = `pct exec ${vmid} -- sudo -u postgres pg_dump -d ${database} --format=custom --file=${dumps}/manual_$(date +%Y%m%d_%H%M%S).dump`;

    /** Makes a dump and returns its file name without .dump. */
    const ways = {
      "a manual dump": () => newDump(() => deployment.type(manual), /^manual_[0-9]{8}_[0-9]{6}\.dump$/),
      "a scheduled dump": () =>
        newDump(
          () => deployment.type(`pct exec ${vmid} -- systemctl start ${service}`),
          new RegExp(`^${database}_[0-9]{8}T[0-9]{6}Z\\.dump$`),
        ),
    };

    for (const [what, makeDump] of Object.entries(ways)) {
      describe(what, () => {
        let file: string;

        before(async () => {
          file = await makeDump();
        });

        it("is restored over the existing database", async () => {
          await deployment.sql(
            "DELETE FROM expenses WHERE id % 3 = 0; DROP VIEW event_totals; TRUNCATE events CASCADE",
          );
          assert.notEqual(await fingerprint(database).catch(() => "broken"), content);
          await deployment.type(
            `pct exec ${vmid} -- sudo -u postgres pg_restore --dbname=${database} --verbose --clean --if-exists ${dumps}/${file}.dump`,
          );
          assert.equal(await fingerprint(database), content);
          assert.equal(await owners(database), "expense_app", "the application still owns everything");
        });

        for (const options of ["--no-owner", "--clean --if-exists --no-owner"]) {
          it(`is restored into a brand-new database with ${options}`, async () => {
            const target = "expense_app_brand_new";
            await deployment.type(`pct exec ${vmid} -- sudo -u postgres createdb ${target}`);
            await deployment.type(
              `pct exec ${vmid} -- sudo -u postgres pg_restore --dbname=${target} --verbose ${options} ${dumps}/${file}.dump`,
            );
            assert.equal(await fingerprint(target), content);
            assert.equal(await owners(target), "postgres");
            assert.equal(await fingerprint(database), content, "the original is untouched");
            await deployment.type(`pct exec ${vmid} -- sudo -u postgres dropdb ${target}`);
          });
        }
      });
    }
  });

  describe("dumps", () => {
    it("and restored tables are no drift", () => deployment.expectClean());

    it("and manifests that are scheduled cannot be deleted, renamed, overwritten or appended to by postgres", async () => {
      const file = `${dumps}/${await newestDump(database)}.dump`;
      for (const path of [file, `${file}.json`]) {
        const facts = await deployment.run(["stat", "-c", "%a %U:%G", path]);
        assert.equal(facts, "640 trade_show_backup_prod:postgres\n");
        const before = await deployment.run(["sha256sum", path]);
        for (const attempt of [`rm -f ${path}`, `mv ${path} ${path}.moved`, `echo >${path}`, `echo >>${path}`]) {
          const { code, stderr } = await deployment.lab.pct(`pct exec ${vmid} -- sudo -u postgres sh -c '${attempt}'`);
          assert.notEqual(code, 0, attempt);
          assert.match(stderr, /Operation not permitted|Permission denied/, attempt);
        }
        assert.equal(await deployment.run(["sha256sum", path]), before);
      }
    });

    it("are closed to every other account", async () => {
      for (const command of [
        ["ls", dumps],
        ["cat", `${dumps}/${await newestDump(database)}.dump`],
      ]) {
        const { code, stderr } = await deployment.lab.exec(vmid, command, { user: "nobody" });
        assert.notEqual(code, 0);
        assert.match(stderr, /Permission denied/);
      }
    });
  });

  describe("the runbook", () => {
    /** What a test knows to do with a command of the runbook; every command has just one of these. */
    const handlers: readonly [RegExp, (command: string) => Promise<void>][] = [
      [new RegExp(`^pct exec ${vmid} -- systemctl start ${service}$`), startsBackup],
      [new RegExp(`^pct exec ${vmid} -- systemctl list-timers ${timer}$`), (line) => says(line, timer)],
      [
        new RegExp(`^pct exec ${vmid} -- journalctl --no-pager --since yesterday --unit ${service}$`),
        (line) => says(line, "the night succeeded: 1 database(s)"),
      ],
      [/-backup\.sh --list$/, async (line) => says(line, `${await newestDump(database)}.dump`)],
      [/-backup\.sh --audit$/, (line) => says(line, "The role can do nothing but read.")],
      [/-backup\.sh --dry-run$/, (line) => reports(line, "the night would begin: every check passed")],
      [/-backup\.sh --now --label before-migration$/, labels],
      [
        /-backup\.sh --check \S+\/<file>\.dump$/,
        async (line) =>
          reports(line.replace("<file>", await newestDump(database)), "is whole, read through to its end"),
      ],
      [/systemctl start trade-show-db-drill\.service$/, async (line) => void (await deployment.type(line))],
      [/-drill\.sh --report$/, (line) => says(line, `${database}: restored and proved in`)],
      [/-restore\.sh latest --database \S+ --new \S+$/, restoresBeside],
      [/-restore\.sh latest --database \S+ --into \S+$/, restoresOver],
      [/-restore\.sh --clean-up$/, async (line) => void (await deployment.type(line))],
      [/-restore\.sh latest --database \S+ --from s3 --new \S+$/, restoresFromOffHost],
      // Typed in a container that was made anew: fireDrill.test.ts.
      [
        /-restore\.sh latest --database \S+ --from s3 --globals --as \S+$/,
        (line) =>
          equals(
            line,
            `pct exec ${vmid} -- /usr/local/bin/trade-show-db-restore.sh latest --database ${database} --from s3 --globals --as ${database}`,
          ),
      ],
      [/-verify\.sh --database \S+ --manifest \S+\/<name>\.dump\.json$/, verifies],
      [/ sudo -u postgres pg_dump -d \S+ --format=custom --file=\S+\/manual_\$\(date \S+\)\.dump$/, dumpsByHand],
      [/ sudo -u postgres pg_restore --dbname=\S+ --verbose --clean --if-exists \S+\/<file>\.dump$/, restoresByHand],
      // Typed on a machine with a reader's key: checked by what they say.
      [/^aws s3 ls /, (line) => equals(line, `aws s3 ls ${bucketOptions()} s3://${deployment.bucket}/ct${vmid}/`)],
      [
        /^aws s3 cp /,
        (line) => equals(line, `aws s3 cp ${bucketOptions()} s3://${deployment.bucket}/ct${vmid}/<file>.dump .`),
      ],
      // Typed where the stack is.
      [/^pulumi preview {2,}# /, () => deployment.expectClean()],
      [/^pulumi up {2,}# /, async () => assert.deepEqual(changed(await deployment.stack.up()), [])],
      [new RegExp(`^pct exec ${vmid} -- systemctl status ${service} ${timer}$`), showsStatus],
    ];

    it("has commands that all work as printed", async () => {
      const outputs = await deployment.stack.outputs();
      const runbook = String(outputs.runbook?.value);
      const commands = [...runbook.matchAll(/^ {4}(.+)$/gm)].map(([, command = ""]) => command);
      const used = new Set<number>();
      for (const command of commands) {
        const fitting = handlers.flatMap(([pattern], index) => (pattern.test(command) ? [index] : []));
        assert.equal(fitting.length, 1, `this test must learn what to do with: ${command}`);
        const [index = 0] = fitting;
        used.add(index);
        await handlers[index]?.[1](command);
      }
      const unused = handlers.filter((_, index) => !used.has(index)).map(([pattern]) => String(pattern));
      assert.deepEqual(unused, [], "commands that the runbook should have");
      assert.ok(runbook.includes(`| trade-show-db-backup.timer: ${later} UTC |`));
    });

    async function startsBackup(line: string) {
      await newDump(() => deployment.type(line), new RegExp(`^${database}_[0-9]{8}T[0-9]{6}Z\\.dump$`));
    }

    async function labels(line: string) {
      await newDump(() => deployment.type(line), /^manual_before-migration_/);
    }

    async function reports(line: string, expected: string) {
      const { code, stderr } = await deployment.lab.pct(line);
      assert.equal(code, 0, stderr);
      assert.ok(stderr.includes(expected), stderr);
    }

    async function restoresBeside(line: string) {
      await says(line, "Proved:");
      assert.equal(await fingerprint(`${database}_restored`), content);
      assert.equal(await owners(`${database}_restored`), "expense_app");
      assert.equal(await fingerprint(database), content);
    }

    async function restoresOver(line: string) {
      await deployment.sql("DELETE FROM expenses WHERE id % 2 = 0");
      const damaged = await fingerprint(database);
      const refused = await deployment.lab.pct(line, { input: "no\n" });
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /not confirmed \('no' is not 'expense_app_production'\): nothing was touched/);
      assert.equal(await fingerprint(database), damaged);
      assert.match(await deployment.type(line, `${database}\n`), /Proved:/);
      assert.equal(await fingerprint(database), content);
    }

    async function restoresFromOffHost(line: string) {
      await deployment.sql(`DROP DATABASE ${database}_restored`, "postgres");
      const { accessKeyId, secretAccessKey } = deployment.lab.s3.admin;
      assert.match(await deployment.type(line, `${accessKeyId}\n${secretAccessKey}\n`), /^Proved:$/m);
      assert.equal(await fingerprint(`${database}_restored`), content);
    }

    async function verifies(line: string) {
      const name = await newestDump(database);
      await says(line.replace("<name>", name), "0 orphans");
    }

    async function dumpsByHand(line: string) {
      await newDump(() => deployment.type(line), /^manual_[0-9]{8}_[0-9]{6}\.dump$/);
    }

    async function restoresByHand(line: string) {
      await deployment.sql("DELETE FROM expenses WHERE id % 5 = 0");
      await deployment.type(line.replace("<file>", await newestDump("manual")));
      assert.equal(await fingerprint(database), content);
    }

    /** systemctl status exits with 3 where a unit is not active, as a oneshot service between its nights. */
    async function showsStatus(line: string) {
      const { code, stdout } = await deployment.lab.pct(line);
      assert.equal(code, 3);
      assert.match(
        stdout,
        new RegExp(`${service} - Backup of database ${database}\n.*\n +Active: inactive \\(dead\\)`),
      );
      assert.match(stdout, /Active: active \(waiting\)/);
    }

    async function says(line: string, expected: string) {
      const said = await deployment.type(line);
      assert.ok(said.includes(expected), `${line} should say ${expected}, but said:\n${said}`);
    }

    async function equals(line: string, expected: string) {
      assert.equal(line, expected);
    }

    const bucketOptions = () => `--region ${deployment.lab.s3.region} --endpoint-url ${deployment.lab.s3.endpoint}`;
  });

  describe("another name", () => {
    const old = [
      "/etc/systemd/system/trade-show-db-backup.service",
      "/etc/systemd/system/trade-show-db-backup.timer",
      "/etc/systemd/system/trade-show-db-drill.service",
      "/etc/systemd/system/trade-show-db-drill.timer",
      "/usr/local/bin/trade-show-db-backup.sh",
      "/usr/local/bin/trade-show-db-drill.sh",
      "/usr/local/bin/trade-show-db-restore.sh",
      "/usr/local/bin/trade-show-db-verify.sh",
      "/usr/local/lib/trade-show-db",
    ];

    it("makes the new units and commands, removes the old ones, and touches nothing else", async () => {
      await deployment.stack.setConfig("name", "expense-db");
      const expected = [
        ...["backup", "restore", "verify", "drill"].flatMap((verb) => [
          `create /usr/local/bin/expense-db-${verb}.sh`,
          `delete /usr/local/bin/trade-show-db-${verb}.sh`,
        ]),
        ...["/usr/local/lib/", "/var/lib/"].flatMap((path) => [
          `create ${path}expense-db`,
          `delete ${path}trade-show-db`,
        ]),
        ...["service", "timer"].flatMap((type) =>
          ["backup", "drill"].flatMap((verb) => [
            `create expense-db-${verb}.${type}`,
            `delete trade-show-db-${verb}.${type}`,
          ]),
        ),
        "create audit-/usr/local/bin/expense-db-backup.sh",
        "delete audit-/usr/local/bin/trade-show-db-backup.sh",
        "update /etc/trade-show-app/backup.env",
      ].sort();
      assert.deepEqual(changed(await deployment.stack.preview()), expected);
      assert.deepEqual(changed(await deployment.stack.up()), expected);
      await deployment.expectClean();
    });

    it("leaves nothing of the old units", async () => {
      for (const path of old) assert.equal((await deployment.lab.exec(vmid, ["test", "-e", path])).code, 1, path);
      const units = await deployment.run(["systemctl", "list-units", "--all", "--no-legend", "trade-show-db-*"]);
      assert.equal(units, "");
      const wanted = await deployment.run([
        "find",
        "/etc/systemd/system",
        "/var/lib/systemd/timers",
        "-name",
        "*trade-show*",
      ]);
      assert.equal(wanted, "");
    });

    it("has a new timer that elapses at the same time, and a service that makes the next dump", async () => {
      assert.deepEqual(await timerFacts("expense-db-backup.timer"), {
        enabled: "enabled",
        active: "active",
        persistent: "yes",
      });
      assert.equal(await nextElapse("expense-db-backup.timer"), upcoming(`${later} UTC`));
      const kept = await listDumps();
      const made = await newDump(
        () => deployment.type(`pct exec ${vmid} -- systemctl start expense-db-backup.service`),
        new RegExp(`^${database}_[0-9]{8}T[0-9]{6}Z\\.dump$`),
      );
      assert.deepEqual(await listDumps(), [...kept, `${made}.dump`].sort(), "every dump made before is still there");
    });
  });

  /** Content of all tables, columns and rows. */
  async function fingerprint(name: string): Promise<string> {
    const tables = ["users", "events", "expenses"];
    const sums = tables.map(
      (table) => `(SELECT count(*) || ' ' || md5(string_agg(t::text, ',' ORDER BY id)) FROM ${table} t)`,
    );
    const view = "(SELECT count(*) || ' ' || sum(total) FROM event_totals)";
    return deployment.sql(`SELECT ${[...sums, view].join(", ")}`, name);
  }

  /** Who owns the tables, views and sequences. */
  function owners(name: string): Promise<string> {
    return deployment.sql(
      "SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'v', 'S')",
      name,
    );
  }

  async function listDumps(): Promise<string[]> {
    const listing = await deployment.run(["ls", dumps]);
    return listing.split("\n").filter((name) => name.endsWith(".dump"));
  }

  /** Name without .dump of the newest dump whose name begins so. */
  async function newestDump(prefix: string): Promise<string> {
    const names = (await listDumps()).filter((name) => new RegExp(`^${prefix}_[0-9]`).test(name));
    return (names.sort().at(-1) ?? assert.fail(`no dump ${prefix}_*`)).replace(/\.dump$/, "");
  }

  /** Does what makes one dump, and returns its name without .dump. */
  async function newDump(make: () => Promise<unknown>, pattern: RegExp): Promise<string> {
    const before = await listDumps();
    await make();
    const [name = "", ...others] = (await listDumps()).filter((each) => !before.includes(each));
    assert.deepEqual(others, []);
    assert.match(name, pattern);
    return name.replace(/\.dump$/, "");
  }

  async function timerFacts(unit: string) {
    const [enabled, active, persistent] = await Promise.all([
      deployment.run(["systemctl", "is-enabled", unit]),
      deployment.run(["systemctl", "is-active", unit]),
      deployment.run(["systemctl", "show", "-P", "Persistent", unit]),
    ]);
    return { enabled: enabled.trim(), active: active.trim(), persistent: persistent.trim() };
  }

  /** When a timer elapses next, as `systemctl` says it. */
  async function nextElapse(unit: string): Promise<string> {
    return (await deployment.run(["systemctl", "show", "-P", "NextElapseUSecRealtime", unit])).trim();
  }
});

/** The next time of a calendar expression with a time of day in UTC, as systemd writes it. */
function upcoming(calendar: string): string {
  const [, hour] = /^\*-\*-\* (\d\d):00:00 UTC$/.exec(calendar) ?? [];
  const time = new Date();
  time.setUTCHours(Number(hour), 0, 0, 0);
  if (time.getTime() <= Date.now()) time.setUTCDate(time.getUTCDate() + 1);
  const day = time.toLocaleDateString("en-US", { weekday: "short", timeZone: "UTC" });
  return `${day} ${time.toISOString().slice(0, 10)} ${time.toISOString().slice(11, 19)} UTC`;
}

/** Fails unless the lines of the artefact's content that a diff removes and adds are just these. */
function assertDiff(output: string, removed: readonly string[], added: readonly string[]): void {
  const [, content = ""] = /^ +~ stdin +:(.*?)^ +--outputs:--$/ms.exec(output) ?? [];
  const lines = (sign: string) =>
    content
      .split("\n")
      .filter((line) => line.trimStart().startsWith(`${sign} `))
      .map((line) => line.trim().slice(2));
  assert.deepEqual(lines("-"), removed, output);
  assert.deepEqual(lines("+"), added, output);
}
