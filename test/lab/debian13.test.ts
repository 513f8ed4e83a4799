/** Debian 13: systemd 257, PostgreSQL 17 with zstd. Deployed, a night, its restore, the drill, drift, and the end. */
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { comparable, definition } from "../scripts/roundTrip/definition";
import { changed, Deployment, failure, warnings } from "./deployment";

const vmid = 2374;
const role = "trade_show_backup_prod";
const database = "expense_app_production";
const dumps = "/var/backups/trade-show-app";
const commands = "/usr/local/bin/trade-show-db";
const backup = "trade-show-db-backup.service";
const drill = "trade-show-db-drill.service";
const hba = "/etc/postgresql/17/main/pg_hba.conf";

interface Manifest {
  readonly compression: string;
  readonly server_version: string;
  readonly client_version: string;
  readonly sha256: string;
  readonly tables: Readonly<Record<string, number>>;
}

describe("Debian 13", function () {
  let deployment: Deployment;

  before(async function () {
    deployment = await Deployment.create(vmid, { debian: "trixie" });
  });

  after(() => deployment.remove());

  it("is there, with systemd 257 and PostgreSQL 17", async () => {
    assert.match(await deployment.run(["systemctl", "--version"]), /^systemd 257 /);
    assert.match(await deployment.sql("SHOW server_version"), /^17\./);
  });

  it("names the line of an included pg_hba file that keeps the role out, and `up` completes without it", async () => {
    const original = await deployment.run(["cat", hba]);
    await deployment.shell(`echo 'local all ${role} reject' >/etc/postgresql/17/main/more.conf
      sed -i '1i include more.conf' ${hba}; systemctl reload postgresql`);
    const said = await failure(deployment.stack.up());
    assert.match(
      said,
      /What decides is line 1 of \/etc\/postgresql\/17\/main\/more\.conf: local all trade_show_backup_prod reject/,
    );
    await deployment.shell(`sed -i 1d ${hba}; rm /etc/postgresql/17/main/more.conf; systemctl reload postgresql`);
    assert.equal(await deployment.run(["cat", hba]), original);
    const { output } = await deployment.stack.up();
    assert.match(output, /The dump would be complete\. The role can do nothing but read\.\n/);
    await deployment.expectClean();
  });

  it("has units that score as on Debian 12, and that systemd has nothing to say about", async () => {
    for (const unit of [backup, drill]) {
      const analysis = await deployment.run(["systemd-analyze", "security", "--no-pager", unit]);
      const [, score] = /Overall exposure level for \S+: ([0-9.]+)/.exec(analysis) ?? [];
      assert.ok(Number(score) <= 1.3, analysis);
    }
    const found = await deployment.lab.exec(vmid, ["systemd-analyze", "verify", "--man=no", backup, drill]);
    assert.deepEqual([found.code, found.stdout + found.stderr], [0, ""]);
  });

  it("dumps with zstd, says so in the manifest, and copies what it wrote", async () => {
    await deployment.run(["systemctl", "start", backup]);
    const journal = await deployment.journal(backup);
    assert.match(journal, /the night succeeded: 1 database\(s\)/);
    assert.match(
      journal,
      new RegExp(`${database}: off-host: https://\\S+/ct${vmid}/${database}_\\w+\\.dump with its manifest`),
    );
    assert.doesNotMatch(journal, /warning|226\/NAMESPACE|Operation not permitted|Permission denied/);
    const [dump = ""] = await dumpFiles();
    const manifest = JSON.parse(await deployment.run(["cat", `${dump}.json`])) as Manifest;
    assert.equal(manifest.compression, "zstd");
    assert.match(manifest.server_version, /^17\./);
    assert.match(manifest.client_version, /^pg_dump \(PostgreSQL\) 17\./);
    assert.equal(manifest.tables["public.expenses"], 2000);
    assert.equal(manifest.sha256, (await deployment.run(["sha256sum", dump])).split(" ")[0]);
    assert.match(await deployment.run(["pg_restore", "--list", dump], "postgres"), /^; +Compression: zstd$/m);
    await deployment.run([`${commands}-backup.sh`, "--check", dump]);
  });

  it("dumps with the level of zstd that is set", async () => {
    const settings = "/etc/trade-show-app/strong.env";
    await deployment.shell(`sed "s/^COMPRESSION=.*/COMPRESSION='zstd:19'/" /etc/trade-show-app/backup.env >${settings}
      chmod 0644 ${settings}
      BACKUP_ENV=${settings} /usr/local/lib/trade-show-db/backup.sh --now --label strong; rm ${settings}`);
    const strong = `${dumps}/manual_strong_${database}_*.dump`;
    assert.equal((await deployment.shell(`jq -r .compression ${strong}.json`)).trim(), "zstd:19");
    const sizes = await deployment.shell(`stat -c %s ${dumps}/${database}_*.dump ${strong}`);
    const [usual = 0, smaller = 0] = sizes.trim().split("\n").map(Number);
    assert.ok(smaller < usual, sizes);
    assert.match(await deployment.shell(`pg_restore --list ${strong}`), /^; +Compression: zstd$/m);
    await deployment.shell(`rm ${dumps}/manual_strong_*`);
  });

  it("restores it beside the original, and proves it", async () => {
    const copy = `${database}_restored`;
    await deployment.run([`${commands}-restore.sh`, "latest", "--database", database, "--new", copy]);
    const sums = (name: string) =>
      deployment.sql("SELECT count(*), md5(string_agg(e::text, '' ORDER BY id)) FROM expenses e", name);
    assert.equal(await sums(copy), await sums(database));
    const [dump = ""] = await dumpFiles();
    await deployment.run([`${commands}-verify.sh`, "--database", copy, "--manifest", `${dump}.json`]);
    await deployment.sql(`DROP DATABASE ${copy}`, "postgres");
  });

  it("restores it over the original, and a lost table into it, and proves that", async () => {
    const sums = (): Promise<string> =>
      deployment.sql("SELECT count(*), md5(string_agg(e::text, '' ORDER BY id)) FROM expenses e");
    const before = await sums();
    const restore = `${commands}-restore.sh latest --database ${database} --into ${database} --yes`;
    for (const [part, loss] of [
      ["", "DELETE FROM expenses WHERE id % 3 = 0"],
      [" --table public.expenses", "DROP TABLE expenses CASCADE"],
    ] as const) {
      await deployment.sql(loss);
      assert.match(await deployment.shell(`${restore}${part} 2>&1`), /restored and proved: 'expense_app_production'/);
      assert.equal(await sums(), before);
    }
    await deployment.shell(`rm ${dumps}/manual_before_restore_*`);
  });

  it("drills", async () => {
    await deployment.run(["systemctl", "start", drill]);
    const journal = await deployment.journal(drill);
    assert.match(journal, /the drill succeeded: 1 database\(s\) restored and proved in [\d.]+ s/);
    assert.doesNotMatch(journal, /226\/NAMESPACE|Operation not permitted|Permission denied/);
  });

  it("says in words what was changed there, and heals it", async () => {
    await deployment.shell(`mkdir /etc/systemd/system/${backup}.d
      printf '[Service]\\nUser=root\\n' >/etc/systemd/system/${backup}.d/by-hand.conf
      systemctl disable --now --quiet trade-show-db-backup.timer; systemctl daemon-reload`);
    await deployment.sql(`CREATE ROLE someone CREATEROLE; GRANT expense_app TO someone WITH ADMIN TRUE;
      SET ROLE someone; GRANT expense_app TO ${role} WITH INHERIT FALSE`);
    const preview = await deployment.stack.preview();
    assert.deepEqual(changed(preview), [
      `update role-${role}`,
      `update ${backup}`,
      "update trade-show-db-backup.timer",
    ]);
    assert.deepEqual(warnings(preview).sort(), [
      `role-${role} was changed in container ${vmid}: gained "member of expense_app without its privileges"`,
      `${backup} was changed in container ${vmid}: gained "drop-in /etc/systemd/system/${backup}.d/by-hand.conf"`,
      `trade-show-db-backup.timer was changed in container ${vmid}: state disabled instead of enabled; activity inactive instead of active`,
    ]);
    await deployment.stack.up();
    await deployment.expectClean();
  });

  it("dumps side by side where that is set, copies what it wrote as one file, and drills it", async () => {
    await deployment.stack.setConfig("dumpJobs", 2);
    assert.deepEqual(changed(await deployment.stack.up()), ["update /etc/trade-show-app/backup.env"]);
    await deployment.run(["systemctl", "start", backup]);
    const [dump = ""] = await dumpFiles();
    assert.equal(await deployment.shell(`stat -c '%F %U:%G %a' ${dump}`), `directory ${role}:postgres 2750\n`);
    const journal = await deployment.journal(backup);
    assert.match(journal, /off-host: https:\S+\.dump\.tar with its manifest/);
    assert.doesNotMatch(journal, /Operation not permitted|Permission denied/);
    await deployment.run(["pg_restore", "--list", dump], "postgres");
    await deployment.run([`${commands}-backup.sh`, "--check", dump]);
    await deployment.run(["systemctl", "start", drill]);
    await deployment.shell(`rm -r ${dump} ${dump}.json`);
    await deployment.stack.setConfig("dumpJobs", undefined);
    await deployment.stack.up();
  });

  it("brings back something of everything, word by word: beside the original, over it, and in a drill", async () => {
    const shop = `BACKUP_ENV=/etc/trade-show-app/shop.env /usr/local/lib/trade-show-db`;
    const dump = async (): Promise<string> =>
      comparable(await deployment.run(["pg_dump", "--create", "shop"], "postgres"));
    const restore = (where: string): Promise<string> =>
      deployment.shell(`${shop}/restore.sh latest --database shop ${where} 2>&1`);
    await deployment.shell(`cd /etc/trade-show-app
      { cat backup.env; echo "DATABASES=('shop')"; echo "S3_BUCKET=''"; } >shop.env
      chmod 0644 shop.env; install -d -o postgres /var/lib/postgresql/elsewhere`);
    const roles = `CREATE ROLE app; CREATE ROLE reader; CREATE ROLE "Odd, ""role"""; ALTER ROLE ${role} BYPASSRLS`;
    for (const statement of [
      ...roles.split("; "),
      "CREATE DATABASE shop OWNER app",
      "CREATE TABLESPACE elsewhere LOCATION '/var/lib/postgresql/elsewhere'",
    ])
      await deployment.sql(statement, "postgres");
    for (const [part, owner] of [
      ["database", "postgres"],
      ["ofItsOwner", "app"],
      ["ofASuperuser", "postgres"],
    ] as const) {
      const session = ["-v", "ON_ERROR_STOP=1", "-v", "database=shop", "-d", "shop", "-c", `set role ${owner}`];
      const made = await deployment.lab.exec(vmid, ["psql", "-Xqo", "/dev/null", ...session, "-f", "-"], {
        user: "postgres",
        input: fs.readFileSync(definition(part), "utf8"),
      });
      assert.equal(made.code, 0, made.stderr);
    }
    // An extension that remembers what users told it, as pg_cron and PostGIS do.
    await deployment.shell(`cd /usr/share/postgresql/17/extension
      echo "default_version = '1.0'" >remembers.control
      cat >remembers--1.0.sql <<'SQL'
CREATE TABLE jobs (id int PRIMARY KEY, own bool);
INSERT INTO jobs VALUES (1, true);
SELECT pg_catalog.pg_extension_config_dump('jobs', 'WHERE NOT own');
SQL
      chmod 644 remembers*`);
    await deployment.sql("CREATE EXTENSION remembers; INSERT INTO jobs VALUES (2, false), (3, false)", "shop");
    for (const oid of [4711, 4712, 4713])
      await deployment.sql(`GRANT SELECT ON LARGE OBJECT ${oid} TO ${role}`, "shop");
    const original = await dump();
    await deployment.shell(`${shop}/backup.sh`);
    const manifest = `$(echo ${dumps}/shop_*.dump.json)`;
    assert.equal(await deployment.shell(`jq -c .extension_tables ${manifest}`), '{"public.jobs":2}\n');

    await deployment.sql("ALTER DATABASE shop RENAME TO kept", "postgres");
    assert.match(await restore("--as shop"), /restored and proved/);
    assert.equal(await dump(), original);
    await deployment.sql("DELETE FROM jobs WHERE id = 2", "shop");
    const verdict = await deployment.shell(`${shop}/verify.sh --database shop --manifest ${manifest} && exit 1 || :`);
    assert.match(verdict, /^public\.jobs +2 +1 {2}WRONG$/m);
    await deployment.sql(
      `DROP TABLE parents CASCADE; DROP SCHEMA tools CASCADE; DELETE FROM measured WHERE device = 1;
       SELECT lo_unlink(4711), lo_put(4712, 0, 'changed'); DROP POLICY own_rows ON walled; DROP EVENT TRIGGER on_changes`,
      "shop",
    );
    assert.match(await restore("--into shop --yes"), /restored and proved/);
    assert.equal(await dump(), original);
    await deployment.shell(`${shop}/drill.sh`);

    await deployment.shell(
      `rm /etc/trade-show-app/shop.env ${dumps}/*shop_* /usr/share/postgresql/17/extension/remembers*`,
    );
    for (const name of ["shop", "kept"])
      await deployment.shell(
        `runuser -u postgres -- psql -Xqc 'ALTER DATABASE ${name} IS_TEMPLATE false' -c 'DROP DATABASE ${name}'`,
      );
    await deployment.sql("DROP TABLESPACE elsewhere", "postgres");
    await deployment.sql(`DROP ROLE app, reader, "Odd, ""role"""; ALTER ROLE ${role} NOBYPASSRLS`, "postgres");
    await deployment.expectClean();
  });

  it("is left without a trace of the role", async () => {
    await deployment.stack.destroy({ excludeProtected: true });
    assert.equal(await deployment.sql(`SELECT count(*) FROM pg_roles WHERE rolname = '${role}'`), "0");
    assert.equal((await deployment.lab.exec(vmid, ["systemctl", "cat", backup])).code, 1);
    assert.equal((await dumpFiles()).length, 1);
  });

  /** The nights' dumps, the newest first. */
  async function dumpFiles(): Promise<string[]> {
    return (await deployment.shell(`ls -td ${dumps}/${database}_*.dump`)).trim().split("\n");
  }
});
