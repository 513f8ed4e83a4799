/** Several databases in one container, whatever they are called, and several containers in one stack. */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { changed, Deployment, timeOfDay } from "./deployment";

const vmid = 2344;
const second = 2345;
const dumps = "/var/backups/trade-show-app";
const restore = "/usr/local/bin/trade-show-db-restore.sh";

const hostile = [
  "it needs $(space)",
  "ünïcode",
  "-dash",
  "semi;colon",
  "a=b",
  "100%",
  "manual_of_style",
  "*?[x]",
  "~tilde & | <pipes>",
];
const databases = ["expense_app_production", ...hostile];

describe("several databases", function () {
  let deployment: Deployment;

  before(async () => {
    deployment = await Deployment.create(vmid, { settings: { databases } });
    for (const name of hostile) await makeDatabase(name);
    await deployment.stack.up();
  });

  after(() => deployment.remove());

  it("are clean in the next preview, whatever they are called", () => deployment.expectClean());

  it("are each dumped by one run of the service, into a dump of its own with a manifest that vouches for it", async () => {
    await deployment.type(`pct exec ${vmid} -- systemctl start trade-show-db-backup.service`);
    const files = (await deployment.run(["ls", "-A", dumps])).trim().split("\n");
    assert.equal(files.length, 2 * databases.length + 2, `and the globals: ${files.join("\n")}`);
    const manifests = await readManifests(files);
    assert.deepEqual(Object.keys(manifests).sort(), [...databases].sort());
    for (const [name, manifest] of Object.entries(manifests)) {
      assert.match(manifest.file, /^[A-Za-z0-9_~][A-Za-z0-9._~-]*_[0-9]{8}T[0-9]{6}Z\.dump$/, name);
      assert.doesNotMatch(manifest.file, /^manual_/);
      const [sum] = (await deployment.run(["sha256sum", `${dumps}/${manifest.file}`])).split(" ");
      assert.equal(manifest.sha256, sum, name);
      if (name !== "expense_app_production") assert.deepEqual(manifest.tables, tablesOf(name));
    }
    const said = await deployment.journal("trade-show-db-backup.service");
    assert.match(said, new RegExp(`^the night succeeded: ${databases.length} database\\(s\\)$`, "m"));
  });

  it("are all off-host, under names of their own", async () => {
    const said = await deployment.journal("trade-show-db-backup.service");
    const copies = [...said.matchAll(/: off-host: (\S+) with its manifest/g)].map(([, url]) => url);
    assert.equal(new Set(copies).size, databases.length + 1, "and the globals");
  });

  it("have commands in the runbook that name them as they are", async () => {
    const outputs = await deployment.stack.outputs();
    const runbook = String(outputs.runbook?.value);
    for (const name of databases) {
      const word = /^[A-Za-z0-9_@%+=:,./-]+$/.test(name) ? name : `'${name}'`;
      assert.ok(runbook.includes(` latest --database ${word} --new `), name);
    }
  });

  for (const name of hostile) {
    it(`restores '${name}' beside the original by the runbook's command, proved`, async () => {
      const outputs = await deployment.stack.outputs();
      const commands = String(outputs.runbook?.value).split("\n");
      const word = /^[A-Za-z0-9_@%+=:,./-]+$/.test(name) ? name : `'${name}'`;
      const command = commands.find((line) => line.includes(`${restore} latest --database ${word} --new `));
      const said = await deployment.type(command?.trim() ?? assert.fail(`no command for ${name}`));
      assert.match(said, /^Proved:$/m);
      assert.equal(await content(`${name}_restored`), await content(name));
      assert.equal(await content(name), `1:${name}|2:two`);
      await deployment.sql(`DROP DATABASE "${name}_restored"`, "postgres");
    });

    it(`restores '${name}' over itself, after a safety dump`, async () => {
      await sql(name, "UPDATE items SET text = 'wrong'; INSERT INTO items VALUES (3, 'three')");
      const words = `${restore} latest --database '${name}' --into '${name}'`;
      assert.match(await deployment.type(`pct exec ${vmid} -- ${words}`, `${name}\n`), /^Proved:$/m);
      assert.equal(await content(name), `1:${name}|2:two`);
    });
  }

  it("are dumped and restored by hand as the runbook prints it", async () => {
    const outputs = await deployment.stack.outputs();
    const commands = String(outputs.runbook?.value)
      .split("\n")
      .map((line) => line.trim());
    const dumpLines = commands.filter((line) => line.includes(" sudo -u postgres pg_dump "));
    const restoreLines = commands.filter((line) => line.includes(" sudo -u postgres pg_restore "));
    assert.deepEqual([dumpLines.length, restoreLines.length], [databases.length, databases.length]);
    const failed: string[] = [];
    for (const [index, name] of databases.entries()) {
      if (name === "expense_app_production") continue;
      await deployment.run(["sh", "-c", `rm -f ${dumps}/manual_[0-9]*`]);
      const dumped = await deployment.lab.pct(dumpLines[index] ?? "");
      const file = (await deployment.run(["ls", dumps])).split("\n").find((each) => /^manual_[0-9]/.test(each));
      await sql(name, "UPDATE items SET text = 'wrong'");
      const line = restoreLines[index]?.replace("<file>.dump", file ?? "none") ?? "";
      const restored = await deployment.lab.pct(line);
      if (dumped.code !== 0) failed.push(`${dumpLines[index]}: ${dumped.stderr.trim()}`);
      else if (restored.code !== 0) failed.push(`${line}: ${restored.stderr.trim().split("\n").at(-1)}`);
      else assert.equal(await content(name), `1:${name}|2:two`);
    }
    assert.deepEqual(failed, []);
  });

  it("are no drift when all of that is done", () => deployment.expectClean());

  it("can be one more: that changes the role, the settings and the units' descriptions, nothing else", async () => {
    await makeDatabase("one more");
    await deployment.stack.setConfig("databases", [...databases, "one more"]);
    const expected = [
      "update /etc/trade-show-app/backup.env",
      "update audit-/usr/local/bin/trade-show-db-backup.sh",
      "update role-trade_show_backup_prod",
      "update trade-show-db-backup.service",
      "update trade-show-db-backup.timer",
    ];
    const preview = await deployment.stack.preview({ diff: true });
    assert.deepEqual(changed(preview), expected);
    assert.match(preview.output, /^ +\+ +'one more'$/m, "the line of backup.env");
    assert.match(preview.output, /^ +\+ GRANT CONNECT ON DATABASE "one more" TO "trade_show_backup_prod";$/m);
    assert.deepEqual(changed(await deployment.stack.up()), expected);
    await deployment.expectClean();
    await deployment.type(`pct exec ${vmid} -- systemctl start trade-show-db-backup.service`);
    const manifests = await readManifests((await deployment.run(["ls", dumps])).trim().split("\n"));
    assert.deepEqual(Object.keys(manifests).sort(), [...databases, "one more"].sort());
  });

  it("can be one less: the role may no longer connect there, and its dumps stay", async () => {
    await deployment.stack.setConfig("databases", databases);
    await deployment.stack.up();
    await deployment.expectClean();
    const granted = await deployment.sql(
      "SELECT count(*) FROM pg_database d, aclexplode(d.datacl) a WHERE d.datname = 'one more' AND a.grantee = 'trade_show_backup_prod'::regrole",
    );
    assert.equal(granted, "0");
    const manifests = await readManifests((await deployment.run(["ls", dumps])).trim().split("\n"));
    assert.ok("one more" in manifests);
  });

  describe("and several containers", () => {
    const schedule = timeOfDay(11);

    before(async () => {
      await deployment.lab.createContainer(second, { fresh: true });
      await deployment.lab.createSampleDatabase(second, { database: "expense_app_production", expenses: 2_000 });
    });

    after(() => deployment.lab.destroyContainer(second));

    it("in one stack: the second's artefacts are created, the first's stay the same, nothing is renamed", async () => {
      const before = await resources();
      const entry = { vmid: second, databases: ["expense_app_production"], schedule };
      await deployment.stack.setConfig("containers", [entry]);
      const outcome = await deployment.stack.up();
      const touched = outcome.steps.filter(({ op, type }) => op !== "same" && type !== "pulumi:pulumi:Stack");
      assert.deepEqual([...new Set(touched.map(({ op }) => op))], ["create"]);
      assert.deepEqual(
        touched.filter(({ name }) => !name.startsWith(`ct${second}`)).map(({ name }) => name),
        [],
      );
      const same = outcome.steps.filter(({ op }) => op === "same").map(({ urn }) => urn);
      assert.deepEqual(
        before.filter((urn) => !same.includes(urn)),
        [],
      );
      const created = touched.map(({ name }) => name.replace(String(second), String(vmid)));
      const first = before.map((urn) => urn.split("::").at(-1) ?? "").filter((name) => name.startsWith("ct"));
      assert.deepEqual(created.sort(), first.sort(), "the second has what the first has");
      await deployment.expectClean();
    });

    it("each with its own schedule, copies under its own prefix, by a key of its own", async () => {
      const elapse = await deployment.lab.exec(second, [
        ...["systemctl", "show", "-P", "NextElapseUSecRealtime", "trade-show-db-backup.timer"],
      ]);
      assert.equal(elapse.stdout.trim().split(" ").slice(2).join(" "), `${schedule.split(" ")[1]} UTC`);
      await deployment.type(`pct exec ${second} -- systemctl start trade-show-db-backup.service`);
      const read = "journalctl --sync; journalctl --no-pager -o cat -u trade-show-db-backup";
      const log = await deployment.lab.exec(second, ["bash", "--norc", "-c", read]);
      assert.match(log.stdout, new RegExp(`off-host: \\S+/${deployment.bucket}/ct${second}/expense_app_production_`));
      const key = async (id: number) => {
        const secrets = await deployment.lab.exec(id, ["cat", "/etc/trade-show-app/backup-secrets.env"]);
        return createHash("sha256").update(secrets.stdout).digest("hex");
      };
      assert.notEqual(await key(vmid), await key(second));
    });

    it("in the outputs and the runbook, too", async () => {
      const outputs = await deployment.stack.outputs();
      assert.deepEqual(Object.keys(outputs.containers?.value as object).sort(), [`ct${vmid}`, `ct${second}`]);
      const runbook = String(outputs.runbook?.value);
      for (const id of [vmid, second]) assert.ok(runbook.includes(`# Backups in container ${id}\n`));
    });

    it("of which one can go again: its artefacts are deleted, the first's stay the same", async () => {
      await deployment.stack.setConfig("containers", []);
      const outcome = await deployment.stack.up();
      const touched = changed(outcome);
      assert.ok(touched.length > 20);
      assert.deepEqual(
        touched.filter((line) => !line.startsWith("delete ")),
        [],
      );
      const names = outcome.steps.filter(({ op }) => op === "delete").map(({ name }) => name);
      assert.deepEqual(
        names.filter((name) => !name.startsWith(`ct${second}`)),
        [],
      );
      const kept = await deployment.lab.exec(second, ["ls", dumps]);
      assert.match(kept.stdout, /^expense_app_production_\S+\.dump$/m, "dumps outlive it");
      await deployment.expectClean();
    });

    /** URNs of what the stack has, but the stack itself. */
    async function resources(): Promise<string[]> {
      const state = JSON.parse(await deployment.stack.exportState()) as {
        deployment: { resources: { urn: string; type: string }[] };
      };
      return state.deployment.resources.filter(({ type }) => type !== "pulumi:pulumi:Stack").map(({ urn }) => urn);
    }
  });

  interface Manifest {
    readonly database: string;
    readonly file: string;
    readonly sha256: string;
    readonly tables: Readonly<Record<string, number>>;
  }

  /** Manifests by database, the newest of each. */
  async function readManifests(files: readonly string[]): Promise<Record<string, Manifest>> {
    const names = files.filter((file) => file.endsWith(".dump.json")).sort();
    const texts = await Promise.all(names.map((file) => deployment.run(["cat", `${dumps}/${file}`])));
    return Object.fromEntries(
      texts.map((text) => JSON.parse(text) as Manifest).map((manifest) => [manifest.database, manifest]),
    );
  }

  /** A database whose table and content bear its name. */
  async function makeDatabase(name: string): Promise<void> {
    await deployment.sql(`CREATE DATABASE "${name}" OWNER expense_app`, "postgres");
    await sql(
      name,
      `SET ROLE expense_app; CREATE TABLE items (id int PRIMARY KEY, text text); CREATE TABLE "${name}" (id int REFERENCES items)`,
    );
    await sql(name, `INSERT INTO items VALUES (1, '${name}'), (2, 'two'); INSERT INTO "${name}" VALUES (1)`);
  }

  const tablesOf = (name: string) => ({
    "public.items": 2,
    [/^[a-z_][a-z0-9_]*$/.test(name) ? `public.${name}` : `public."${name}"`]: 1,
  });

  async function content(name: string): Promise<string> {
    return sql(name, "SELECT string_agg(id || ':' || text, '|' ORDER BY id) FROM items");
  }

  /** As a connection string: a name with = in it would be read as one. */
  function sql(name: string, statement: string): Promise<string> {
    return deployment.sql(statement, `dbname='${name}'`);
  }
});
