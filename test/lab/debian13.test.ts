/** Debian 13: systemd 257, PostgreSQL 17 with zstd. Deployed, a night, its restore, the drill, drift, and the end. */
import * as assert from "node:assert/strict";
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
  this.timeout(180_000);
  let deployment: Deployment;

  before(async function () {
    this.timeout(400_000); // its image may have to be made
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
    const journal = await deployment.shell(`journalctl -o cat -u ${backup}`);
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

  it("drills", async () => {
    await deployment.run(["systemctl", "start", drill]);
    const journal = await deployment.shell(`journalctl -o cat -u ${drill}`);
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
    const journal = await deployment.shell(`journalctl -o cat -u ${backup}`);
    assert.match(journal, /off-host: https:\S+\.dump\.tar with its manifest/);
    assert.doesNotMatch(journal, /Operation not permitted|Permission denied/);
    await deployment.run(["pg_restore", "--list", dump], "postgres");
    await deployment.run([`${commands}-backup.sh`, "--check", dump]);
    await deployment.run(["systemctl", "start", drill]);
    await deployment.shell(`rm -r ${dump} ${dump}.json`);
    await deployment.stack.setConfig("dumpJobs", undefined);
    await deployment.stack.up();
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
