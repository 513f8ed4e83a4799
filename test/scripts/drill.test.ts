import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, findProcesses, until } from "./cluster";
import { Site, type Settings } from "./site";

interface Report {
  readonly ok: boolean;
  readonly error: string | null;
  readonly seconds: number;
  readonly databases: readonly {
    readonly database: string;
    readonly ok: boolean;
    readonly error: string | null;
    readonly source: string;
    readonly dump: string;
    readonly roles: string | null;
    readonly rows?: number;
    readonly seconds: number;
    readonly took: Readonly<Record<string, number>>;
    readonly facts?: Readonly<Record<string, { good: number; of: number }>>;
    readonly differences?: readonly { readonly fact: string; readonly table?: string }[];
  }[];
}

describe("drill.sh", function () {
  this.timeout(60_000);
  let cluster: Cluster;
  let site: Site;

  before(() => {
    cluster = new Cluster();
    cluster.sql("postgres", "create role reader; create role boss superuser");
    cluster.createDatabase(
      "shop",
      `create table events (id int primary key, name text);
       create table expenses (id serial primary key, event int references events);
       insert into events select i, 'event ' || i from generate_series(1, 20) i;
       insert into expenses (event) select 1 + i % 20 from generate_series(1, 5000) i;
       grant select on events to reader`,
    );
    cluster.sql("shop", "create function f() returns event_trigger language plpgsql as 'begin end'");
    cluster.sql("shop", "set role boss; create event trigger by_boss on ddl_command_end execute function f()");
    cluster.createDatabase("it's other", "create table t (id int)");
  });
  after(() => cluster.stop());
  afterEach(() => site.remove());

  const prepare = async (databases: readonly string[], settings: Settings = {}): Promise<void> => {
    site = new Site(cluster, databases, settings);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
  };
  const reports = (): string[] => {
    const directory = path.join(site.state, "drills");
    return fs.existsSync(directory) ? fs.readdirSync(directory).sort() : [];
  };
  const report = (): Report =>
    JSON.parse(fs.readFileSync(path.join(site.state, "drills", reports().at(-1) ?? ""), "utf8")) as Report;
  /** What a drill may leave: its reports, an empty directory, the lock. */
  const assertNothingLeft = (): void => {
    assert.deepEqual(fs.readdirSync(path.join(site.state, "drill")), []);
    assert.deepEqual(
      fs.readdirSync(site.state).filter((name) => !["drill", "drills", "drill.lock", "lock"].includes(name)),
      [],
    );
    assert.deepEqual(site.processes(), []);
    const segments = execFileSync("ipcs", ["--shmems"], { encoding: "utf8" });
    assert.ok(!segments.includes(cluster.role.slice(0, 10)), segments);
  };
  const scratchServer = (): number | undefined => {
    const file = path.join(site.state, "drill/scratch/data/postmaster.pid");
    const pid = fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8").split("\n")[0]) : 0;
    return pid > 0 ? pid : undefined;
  };
  const children = (pid: number): number[] =>
    fs.readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").map(Number);
  /** What a client or a stray file would change of the production server; its own autovacuum counts as neither. */
  const production = (): string => {
    const data = path.join(cluster.directory, "data");
    const list = execFileSync(
      "find",
      [data, "-maxdepth", "2", "-not", "-name", "pg_internal.init", "-printf", "%P %u %m\n"],
      { encoding: "utf8" },
    );
    return [
      cluster.sql("postgres", "select datname, sessions from pg_stat_database where datname <> 'postgres' order by 1"),
      cluster.sql(
        "postgres",
        "select datname, pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()",
      ),
      list.split("\n").sort().join("\n"),
    ].join("\n");
  };

  it("restores every database, proves it, says how long it took, and leaves production alone", async () => {
    await prepare(["shop", "it's other"]);
    const others =
      "select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()";
    await until("the night's sessions have ended", () => cluster.sql("postgres", others) === "0");
    const before = production();
    const drill = await site.run("drill.sh", ["--json"]);
    assert.equal(drill.code, 0, drill.stderr);
    assert.equal(production(), before);
    assertNothingLeft();

    const found = JSON.parse(drill.stdout) as Report;
    assert.deepEqual(found, report());
    assert.equal(found.ok, true);
    assert.equal(found.error, null);
    assert.deepEqual(
      found.databases.map((d) => d.database),
      ["it's other", "shop"],
    );
    const [, shop] = found.databases;
    assert.ok(shop);
    assert.match(shop.dump, /^shop_\w+\.dump$/);
    assert.match(shop.roles ?? "", /^globals_\w+\.sql$/);
    assert.equal(shop.source, "local");
    assert.equal(shop.rows, 5020);
    assert.deepEqual(shop.facts, {
      tables: { good: 2, of: 2 },
      newest: { good: 0, of: 0 },
      foreign_keys: { good: 1, of: 1 },
      structure: { good: 8, of: 8 },
      checksums: { good: 0, of: 0 },
    });
    assert.deepEqual(shop.differences, []);
    assert.deepEqual(Object.keys(shop.took), ["fetch", "server", "roles", "restore", "analyze", "verify"]);
    const parts = Object.values(shop.took).reduce((sum, seconds) => sum + seconds, 0);
    assert.ok(shop.seconds > 0 && shop.seconds >= parts - 0.5, JSON.stringify(shop));
    const both = found.databases.reduce((sum, d) => sum + d.seconds, 0);
    assert.ok(Math.abs(found.seconds - both) < 0.01);

    const last = await site.run("drill.sh", ["--report"]);
    assert.equal(last.code, 0, last.stderr);
    assert.match(
      last.stdout,
      /^Drill of .*: every database was restored and proved\n\nit's other: restored and proved in [\d.]+ s\n/,
    );
    assert.match(last.stdout, /^ {2}proved {9}tables 2 of 2, newest 0 of 0, foreign_keys 1 of 1/m);
  });

  it("fails for a damaged dump, says why, and still drills the other database", async () => {
    await prepare(["shop", "it's other"]);
    const dump = site.dumpFiles.find((file) => file.startsWith("shop_")) ?? "";
    const file = path.join(site.dumps, dump);
    const bytes = fs.readFileSync(file);
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
    fs.writeFileSync(file, bytes);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1, drill.stderr);
    assert.match(drill.stderr, /shop: error: .* is damaged: its SHA-256 is/);
    assert.match(drill.stderr, /the drill failed for: 'shop'\. Report: \//);
    const [other, shop] = report().databases;
    assert.equal(report().ok, false);
    assert.equal(other?.ok, true);
    assert.match(shop?.error ?? "", /is damaged: its SHA-256 is/);
    assertNothingLeft();
    const last = await site.run("drill.sh", ["--report"]);
    assert.equal(last.code, 1);
    assert.match(last.stdout, /^shop: FAILED after [\d.]+ s: .* is damaged/m);
  });

  it("fails if what was restored is not what the manifest says", async () => {
    await prepare(["shop"]);
    const [dump = ""] = site.dumpFiles;
    const manifest = { ...site.manifest(dump), tables: { "public.events": 20, "public.expenses": 5001 } };
    fs.writeFileSync(path.join(site.dumps, `${dump}.json`), JSON.stringify(manifest));
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1);
    assert.match(drill.stderr, /public\.expenses +5001 +5000 {2}WRONG/);
    assert.deepEqual(
      report().databases[0]?.differences?.map(({ fact, table }) => [fact, table]),
      [["tables", "public.expenses"]],
    );
    assertNothingLeft();
  });

  it("refuses beforehand where there is not enough space, and without a dump", async () => {
    await prepare(["shop"]);
    const [dump = ""] = site.dumpFiles;
    const manifest = { ...site.manifest(dump), database_size: 1e15 };
    fs.writeFileSync(path.join(site.dumps, `${dump}.json`), JSON.stringify(manifest));
    site.shadow("initdb", `touch ${site.state}/made; exit 1`);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1);
    assert.match(
      drill.stderr,
      /shop: error: not enough space in .*\/drill: the drill takes up to 1\.3PB and leaves .* free for others/,
    );
    assert.match(report().databases[0]?.error ?? "", /^not enough space/);
    fs.rmSync(path.join(site.dumps, `${dump}.json`));
    const none = await site.run("drill.sh");
    assert.equal(none.code, 1);
    assert.match(none.stderr, /no verified dump of database 'shop'/);
    assertNothingLeft();
  });

  it("without globals restores no owners and says so", async () => {
    await prepare(["shop"]);
    for (const file of site.globals) fs.rmSync(path.join(site.dumps, file));
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 0, drill.stderr);
    assert.match(drill.stderr, /warning: no verified globals in .*: owners and grants are not restored/);
    assert.equal(report().databases[0]?.roles, null);
  });

  /** Starts a drill whose restore waits in a lock until it is killed. */
  const startStuck = async (): Promise<{ pid: number; outcome: Promise<{ code: number | null; stderr: string }> }> => {
    const programs = `/usr/lib/postgresql/${execFileSync("ls", ["/usr/lib/postgresql"], { encoding: "utf8" }).trim().split("\n").at(-1)}/bin`;
    site.shadow("vacuumdb", `exec ${programs}/psql -XqAt -d shop -c 'select pg_sleep(600)'`);
    const running = site.start("drill.sh");
    await until("the drill is in the middle", () => site.processes("psql").length > 0);
    return running;
  };

  it("cleans up after kill -9, of itself or of everything; the next drill is clean", async () => {
    await prepare(["shop"]);
    for (const all of [false, true]) {
      const running = await startStuck();
      const server = scratchServer();
      assert.ok(server);
      const before = production();
      const bash = site.processes("bash");
      assert.ok(bash.length > 0);
      const [child = 0] = children(server);
      assert.ok(child > 0);
      process.kill(child, "SIGSTOP"); // one that does not notice that its server is gone
      for (const pid of all ? site.processes() : bash) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          continue; // gone with another one
        }
      }
      await running.outcome;
      assert.equal(fs.existsSync(path.join(site.state, "drill/scratch")), true, "it had no chance to clean up");
      fs.rmSync(path.join(site.programs, "vacuumdb"));
      const next = await site.run("drill.sh", all ? [] : ["--clean-up"]);
      assert.equal(next.code, 0, next.stderr);
      assert.match(next.stderr, /warning: removed .*\/drill\/scratch, left by a drill that was cut off/);
      await until("everything has ended", () => site.processes().length === 0);
      assertNothingLeft();
      for (const pid of [server, child]) assert.equal(fs.existsSync(`/proc/${pid}`), false);
      assert.equal(production(), before);
      assert.equal(reports().length, all ? 3 : 1);
      if (!all) assert.match(report().error ?? "", /^cut off/);
    }
    assert.equal(report().ok, true);
  });

  it("never stops a process that has the number of a scratch server that is gone", async () => {
    await prepare(["shop"]);
    const data = path.join(site.state, "drill/scratch/data");
    fs.mkdirSync(data, { recursive: true });
    const bystander = execFileSync(
      "runuser",
      ["-u", cluster.role, "--", "bash", "-c", "sleep 60 >/dev/null 2>&1 & echo $!"],
      {
        env: cluster.env,
        cwd: "/",
        encoding: "utf8",
      },
    ).trim();
    fs.writeFileSync(path.join(data, "postmaster.pid"), `${bystander}\n${data}\n`);
    execFileSync("chown", ["-R", `${cluster.role}:`, path.join(site.state, "drill")]);
    const clean = await site.run("drill.sh", ["--clean-up"]);
    assert.equal(clean.code, 0, clean.stderr);
    assert.ok(fs.existsSync(`/proc/${bystander}`));
    process.kill(Number(bystander), "SIGKILL");
    assert.deepEqual(fs.readdirSync(path.join(site.state, "drill")), []);
  });

  it("stopped by a signal removes everything at once; a second drill meanwhile is refused", async () => {
    await prepare(["shop"]);
    const running = await startStuck();
    const second = await site.run("drill.sh");
    assert.equal(second.code, 3, second.stderr);
    const clean = await site.run("drill.sh", ["--clean-up"]);
    assert.equal(clean.code, 3, "what is in use is not removed");
    assert.ok(scratchServer());
    const [first] = site.processes("bash").sort((a, b) => a - b);
    assert.ok(first);
    process.kill(first, "SIGTERM");
    const outcome = await running.outcome;
    assert.equal(outcome.code, 143, outcome.stderr);
    assert.equal(report().error, "stopped by a signal");
    assertNothingLeft();
  });

  it("keeps reports 90 days", async () => {
    await prepare(["shop"]);
    const directory = path.join(site.state, "drills");
    fs.mkdirSync(directory);
    for (const [name, days] of [
      ["drill_20200101T000000Z.json", 92],
      ["drill_20200301T000000Z.json", 88],
    ] as const) {
      fs.writeFileSync(path.join(directory, name), "{}");
      const time = Date.now() / 1000 - days * 86_400;
      fs.utimesSync(path.join(directory, name), time, time);
    }
    execFileSync("chown", ["-R", `${cluster.role}:`, directory]);
    assert.equal((await site.run("drill.sh")).code, 0);
    assert.equal(reports().length, 2);
    assert.equal(reports()[0], "drill_20200301T000000Z.json");
  });

  it("wrong usage is refused with status 2; --report before the first drill says so", async () => {
    await prepare(["shop"]);
    assert.equal((await site.run("drill.sh", ["--what"])).code, 2);
    assert.equal((await site.run("drill.sh", ["--report", "--clean-up"])).code, 2);
    assert.match((await site.run("drill.sh", ["--report"])).stderr, /no drill has been done yet/);
    assert.match((await site.run("drill.sh", ["--help"])).stdout, /^Usage: drill\.sh/);
    assert.deepEqual(findProcesses(`BACKUP_ENV=${site.settingsFile}`), []);
  });
});
