import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, until, type Running } from "./cluster";
import { NasCopies, S3Copies, type OffHost } from "./offHost";
import { Site, type Settings } from "./site";

interface Report {
  readonly ok: boolean;
  readonly databases: readonly {
    readonly ok: boolean;
    readonly error: string | null;
    readonly source: string;
    readonly dump?: string;
    readonly roles: string | null;
    readonly rows?: number;
  }[];
}

const sources: readonly [string, (role: string) => OffHost][] = [
  ["s3", () => new S3Copies()],
  ["nas", (role) => new NasCopies(role)],
];

for (const [from, copiesFor] of sources) {
  describe(`drill.sh, DRILL_FROM ${from}`, function () {
    let cluster: Cluster;
    let site: Site;
    let copies: OffHost;
    let dump: string;
    let globals: string;

    before(async () => {
      cluster = new Cluster();
      cluster.createDatabase(
        "shop",
        "create table t (id int primary key); insert into t select generate_series(1, 500)",
      );
      copies = copiesFor(cluster.role);
      await copies.start();
    });
    beforeEach(async () => {
      site = new Site(cluster, ["shop"]);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      [dump = ""] = site.dumpFiles;
      [globals = ""] = site.globals;
      copies.clear();
      for (const file of fs.readdirSync(site.dumps)) copies.put(file, fs.readFileSync(path.join(site.dumps, file)));
      writeSecrets(0o600);
      configure();
    });
    afterEach(() => site.remove());
    after(async () => {
      await copies.stop();
      cluster.stop();
    });

    const secrets = (): string => path.join(site.root, "drill-secrets.env");
    const writeSecrets = (mode: number): void => {
      const lines = Object.entries(new S3Copies().reader).map(
        ([key, value = ""]) => `${key}='${value.replace("'", "'\\''")}'`,
      );
      fs.writeFileSync(secrets(), lines.join("\n") + "\n");
      fs.chmodSync(secrets(), mode);
      execFileSync("chown", [cluster.role, secrets()]);
    };
    const configure = (more: Settings = {}): void =>
      site.configure({ ...copies.settings, DRILL_FROM: from, DRILL_SECRETS: from === "s3" ? secrets() : "", ...more });
    const report = (): Report => {
      const directory = path.join(site.state, "drills");
      const last = fs.readdirSync(directory).sort().at(-1) ?? "";
      return JSON.parse(fs.readFileSync(path.join(directory, last), "utf8")) as Report;
    };
    const assertNothingLeft = (): void => {
      assert.deepEqual(fs.readdirSync(path.join(site.state, "drill")), []);
      assert.ok(!fs.existsSync(path.join(site.state, "drill.work")));
      assert.deepEqual(site.processes(), []);
    };
    const fails = async (message: RegExp, args: readonly string[] = []): Promise<string> => {
      const drill = await site.run("drill.sh", args);
      assert.equal(drill.code, 1, drill.stderr);
      assert.match(drill.stderr, message);
      return drill.stderr;
    };

    it("proves the copy with its globals, and nothing of this machine's; leaves nothing", async () => {
      for (const file of fs.readdirSync(site.dumps)) fs.rmSync(path.join(site.dumps, file));
      const drill = await site.run("drill.sh");
      assert.equal(drill.code, 0, drill.stderr);
      const { ok, databases } = report();
      const [shop] = databases;
      assert.ok(ok);
      assert.deepEqual([shop?.source, shop?.dump, shop?.roles, shop?.rows], [from, dump, globals, 500]);
      assertNothingLeft();
      assert.deepEqual(fs.readdirSync(site.dumps), []);
      const said = await site.run("drill.sh", ["--report"]);
      assert.ok(said.stdout.includes(`  dump           ${dump}, ${from}, of `), said.stdout);
    });

    it("fails where the dumps kept here cannot be seen: none of them counts as whole", async () => {
      fs.renameSync(site.dumps, `${site.dumps}.unmounted`);
      const drill = await site.run("drill.sh");
      assert.equal(drill.code, 1, drill.stderr);
      assert.match(drill.stderr, /error: the dumps in \S+ cannot be listed, so none of them counts as whole/);
      assert.deepEqual([report().ok, report().databases[0]?.ok], [false, true]);
    });

    it("fails for a damaged copy, says so, and takes no other; an operator may", async () => {
      copies.put(dump, Buffer.alloc(1000));
      await fails(/shop: error: shop_\w+\.dump is damaged off-host: its SHA-256 is/);
      const [shop] = report().databases;
      assert.deepEqual([shop?.ok, shop?.source, shop?.dump], [false, from, undefined]);
      assert.match(shop?.error ?? "", /is damaged off-host/);
      assertNothingLeft();
      const local = await site.run("drill.sh", ["--from", "local"]);
      assert.equal(local.code, 0, local.stderr);
      assert.deepEqual(report().databases[0]?.source, "local");
    });

    it("fails for a newest copy whose manifest is damaged, and proves no older one in its place", async () => {
      const older = site.age(dump, 1);
      for (const file of [older, `${older}.json`]) copies.put(file, fs.readFileSync(path.join(site.dumps, file)));
      copies.put(`${dump}.json`, Buffer.from("{"));
      await fails(/shop_\w+\.dump\.json does not fit shop_\w+\.dump\. No older one is proved in its place/);
      copies.remove(dump);
      copies.remove(`${dump}.json`);
      const drill = await site.run("drill.sh");
      assert.equal(drill.code, 0, drill.stderr);
      assert.equal(report().databases[0]?.dump, older);
    });

    it("fails for damaged globals, and without any restores no owners and says so", async () => {
      copies.put(globals, Buffer.from("CREATE ROLE app SUPERUSER;\n"));
      await fails(/globals_\w+\.sql is damaged off-host: its SHA-256 is/);
      copies.remove(`${globals}.json`);
      const drill = await site.run("drill.sh");
      assert.equal(drill.code, 0, drill.stderr);
      assert.match(drill.stderr, new RegExp(`warning: no verified globals in ${copies.place}\\S+: owners and grants`));
      assert.equal(report().databases[0]?.roles, null);
    });

    it("fetches nothing where there is no room for it", async () => {
      const manifest = { ...site.manifest(dump), database_size: 1e15 };
      copies.put(`${dump}.json`, Buffer.from(JSON.stringify(manifest)));
      const said = await fails(/shop: error: not enough space in .*\/drill: the drill takes up to 1\.3PB/);
      assert.doesNotMatch(said, /fetching/);
      assertNothingLeft();
    });

    /** Starts a drill whose download has begun, and does not get on. */
    const startStuck = async (): Promise<Running> => {
      copies.stall(site, dump);
      const running = site.start("drill.sh");
      const partial = path.join(site.state, "drill/scratch/copy", `.${dump}.download`);
      await until("the download has begun", () => fs.existsSync(partial) && fs.statSync(partial).size > 0);
      return running;
    };

    it("stopped by a signal while it fetches, removes everything at once", async () => {
      const running = await startStuck();
      const [first] = site.processes("bash").sort((a, b) => a - b);
      assert.ok(first);
      process.kill(first, "SIGTERM");
      const outcome = await running.outcome;
      assert.equal(outcome.code, 143, outcome.stderr);
      await until("nothing of it runs on", () => site.processes().length === 0);
      assertNothingLeft();
    });

    it("killed while it fetches, leaves its half copy to the next drill, which removes it", async () => {
      const running = await startStuck();
      await site.kill();
      await running.outcome;
      assert.ok(fs.existsSync(path.join(site.state, "drill/scratch/copy")));
      const next = await site.run("drill.sh", ["--from", "local"]);
      assert.equal(next.code, 0, next.stderr);
      assert.match(next.stderr, /warning: removed .*\/drill\/scratch, left by a drill that was cut off/);
      assertNothingLeft();
    });

    it("refuses copies that are encrypted, and to look elsewhere than it knows", async () => {
      configure({ AGE_RECIPIENTS: [`age1${"q".repeat(58)}`] });
      await fails(new RegExp(`the drill is to be from ${from}, where copies are encrypted \\(AGE_RECIPIENTS\\)`));
      assert.ok(!fs.existsSync(path.join(site.state, "drill")));
      configure({ DRILL_FROM: "tape" });
      await fails(/backup\.env line \d+: DRILL_FROM is 'tape': must be local, s3 or nas/);
      for (const args of [["--from"], ["--from", "tape"], ["--report", "--from", from]]) {
        const wrong = await site.run("drill.sh", args);
        assert.equal(wrong.code, 2, wrong.stderr);
      }
    });

    if (from === "s3") {
      it("reads with the key that was made for drills, which nobody else may see, or says that there is none", async () => {
        writeSecrets(0o644);
        await fails(/secrets file \S+drill-secrets\.env has mode 644: must be 600/);
        configure({ DRILL_SECRETS: "" });
        const said = await fails(/no reader's key: S3_READER_ACCESS_KEY_ID and S3_READER_SECRET_ACCESS_KEY must be in/);
        assert.doesNotMatch(said, /Access key id of a reader/);
        assertNothingLeft();
      });
    } else {
      it("says so where the account may only write", async () => {
        (copies as NasCopies).server.admit("-wo -no-del");
        await fails(/NAS_USER 'root' can only write \(rrsync -wo\)/);
        (copies as NasCopies).server.admit("");
        assertNothingLeft();
      });
    }
  });
}
