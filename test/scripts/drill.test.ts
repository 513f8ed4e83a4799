import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, findProcesses, until } from "./cluster";
import { flipBit, Site, type Settings } from "./site";

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
  readonly kept: { readonly of: number; readonly damaged: readonly string[] } | null;
}

describe("drill.sh", function () {
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
      [data, "-maxdepth", "2", "-not", "-regex", ".*/pg_internal.init\\|.*_\\(vm\\|fsm\\)", "-printf", "%P %u %m\n"],
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
    assert.match(drill.stderr, /^shop: role 'app' read as set session authorization, .*, and read public\.events$/m);
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
    assert.deepEqual(Object.keys(shop.took), ["fetch", "server", "roles", "restore", "verify", "application"]);
    const parts = Object.values(shop.took).reduce((sum, seconds) => sum + seconds, 0);
    assert.ok(shop.seconds > 0 && shop.seconds >= parts - 0.5, JSON.stringify(shop));
    const both = found.databases.reduce((sum, d) => sum + d.seconds, 0);
    assert.ok(Math.abs(found.seconds - both) < 0.01);

    const last = await site.run("drill.sh", ["--report"]);
    assert.equal(last.code, 0, last.stderr);
    assert.match(
      last.stdout,
      /^Drill of .*: every database was restored and proved\n3 dump\(s\) kept here are whole\n\nit's other: restored and proved in [\d.]+ s\n/,
    );
    assert.match(last.stdout, /^ {2}proved {9}tables 2 of 2, newest 0 of 0, foreign_keys 1 of 1/m);
  });

  it("is done, like the night, with thousands of tables and large objects, for which a server as it comes has not enough locks", async () => {
    cluster.createDatabase(
      "wide",
      "create table t0 (id int primary key, a int unique, b int unique, name text unique)",
    );
    for (const first of [1, 1001, 2001]) {
      const create = `execute format('create table t%s (like t0 including all)', i)`;
      cluster.sql(
        "wide",
        `set role app; do $$ begin for i in ${first}..${first + 999} loop ${create}; end loop; end $$`,
      );
    }
    cluster.sql("wide", `set role "${cluster.role}"; select count(lo_create(0)) from generate_series(1, 500)`);
    await prepare(["wide"]);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 0, drill.stderr);
    assert.deepEqual(report().databases[0]?.facts?.tables, { good: 3001, of: 3001 });

    cluster.sql("wide", "delete from t1; insert into t1 values (2)");
    const into = await site.run("restore.sh", ["latest", "--database", "wide", "--into", "wide", "--yes"]);
    assert.match(into.stderr, /this takes up to 43\d{3} locks, and the server is sure to have \d+: should it fail/);
    assert.equal(into.code, 1, "if this succeeds now, the warning has lost its reason");
    assert.match(into.stderr, /out of shared memory[^]*pg_restore failed: database 'wide' is as it was before/);
    assert.equal(cluster.sql("wide", "select id from t1"), "2");
    cluster.sql("postgres", "drop database wide");
  });

  it("fails for a damaged dump, says why, and still drills the other database", async () => {
    await prepare(["shop", "it's other"]);
    const dump = site.dumpFiles.find((file) => file.startsWith("shop_")) ?? "";
    flipBit(path.join(site.dumps, dump));
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1, drill.stderr);
    assert.match(drill.stderr, /shop: error: .* is damaged: its SHA-256 is/);
    assert.match(drill.stderr, /the drill failed for: 'shop' and dumps kept here\. Report: \//);
    const [other, shop] = report().databases;
    assert.equal(report().ok, false);
    assert.equal(other?.ok, true);
    assert.match(shop?.error ?? "", /is damaged: its SHA-256 is/);
    assertNothingLeft();
    const last = await site.run("drill.sh", ["--report"]);
    assert.equal(last.code, 1);
    assert.match(last.stdout, /^shop: FAILED after [\d.]+ s: .* is damaged/m);
  });

  it("finds what became of older dumps: a bit lost, cut short, not to be read; of globals and labelled ones too", async () => {
    await prepare(["shop"]);
    for (const more of [["--now", "--label", "mine"], [], []]) {
      const night = await site.run("backup.sh", more);
      assert.equal(night.code, 0, night.stderr);
    }
    const [flipped = "", short = "", whole = ""] = site.dumpFiles.filter((name) => name.startsWith("shop_"));
    const labelled = site.dumpFiles.find((name) => name.startsWith("manual_")) ?? "";
    const [globals = ""] = site.globals.filter((name) => !name.startsWith("manual_"));
    for (const name of [flipped, globals]) flipBit(path.join(site.dumps, name));
    fs.truncateSync(path.join(site.dumps, short), 100);
    fs.chownSync(path.join(site.dumps, labelled), 0, 0);
    fs.chmodSync(path.join(site.dumps, labelled), 0o600);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1, drill.stderr);
    assert.deepEqual([report().ok, report().databases[0]?.ok], [false, true], drill.stderr);
    const damaged = [globals, labelled, flipped, short];
    assert.deepEqual(report().kept, { of: 8, damaged });
    const told = (name: string): string => {
      const file = path.join(site.dumps, name);
      const line = drill.stderr.split("\n").find((each) => each.startsWith(`error: ${file} `)) ?? "";
      return line.replace(/[0-9a-f]{64}/g, "<hash>").replaceAll(file, "FILE");
    };
    const advice = "put the right one there, or remove both: rm -r FILE FILE.json";
    const lost = `error: FILE is damaged: its SHA-256 is <hash>, its manifest says <hash>: ${advice}`;
    assert.deepEqual([told(flipped), told(globals), told(whole)], [lost, lost, ""]);
    assert.equal(
      told(short),
      `error: FILE is damaged, or its manifest is: that speaks of another file, or of another size: ${advice}`,
    );
    assert.match(told(labelled), /^error: FILE cannot be read: .*Permission denied/);
    assert.match(drill.stderr, /the drill failed for: dumps kept here\. Report: \//);
    const last = await site.run("drill.sh", ["--report"]);
    assert.ok(last.stdout.includes(`4 of 8 dump(s) kept here DAMAGED: ${damaged.join(", ")}\n`), last.stdout);
    assert.equal(last.code, 1);
    assertNothingLeft();
  });

  it("fails for a newest dump that does not fit its manifest, and proves no older one in its place", async () => {
    await prepare(["shop"]);
    const again = await site.run("backup.sh");
    assert.equal(again.code, 0, again.stderr);
    const newest = path.join(site.dumps, site.dumpFiles.at(-1) ?? "");
    fs.truncateSync(newest, 100);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 1, drill.stderr);
    assert.ok(drill.stderr.includes(`${newest} has no manifest that fits. No older one is proved in its place`));
    assert.equal(report().databases[0]?.ok, false);
    assertNothingLeft();
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
    for (const file of [dump, `${dump}.json`]) fs.rmSync(path.join(site.dumps, file));
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

  /** Starts a drill that waits in the scratch server, once all is restored, until it is killed. */
  const startStuck = async (): Promise<{ pid: number; outcome: Promise<{ code: number | null; stderr: string }> }> => {
    const reached = path.join(site.state, "reached");
    site.shadow(
      "jq",
      `if [[ "$*" == *"--arg name restore "* ]]; then : >${reached}; exec psql -XqAt -d shop -c 'select pg_sleep(600)' >/dev/null 2>&1; fi
      exec /usr/bin/jq "$@"`,
    );
    const running = site.start("drill.sh");
    await until("the drill is in the middle", () => fs.existsSync(reached) && site.processes("psql").length > 0);
    fs.rmSync(reached);
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
      fs.rmSync(path.join(site.programs, "jq"));
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

  it("cleans up after kill -9 also while its server is made, and while it proves", async () => {
    await prepare(["shop"]);
    const ended = (part: string): boolean => {
      const work = path.join(site.state, "drill.work");
      const files = fs.existsSync(work) ? fs.readdirSync(work).map((name) => path.join(work, name, "seconds")) : [];
      return files.some((file) => fs.existsSync(file) && fs.readFileSync(file, "utf8").includes(`"${part}"`));
    };
    const moments = {
      "the server is made": () => site.processes("initdb").length > 0,
      "rows are counted": () => ended("restore") && !ended("verify"),
    };
    for (const [moment, reached] of Object.entries(moments)) {
      const running = site.start("drill.sh");
      await until(moment, reached);
      await site.kill();
      await running.outcome;
      assert.ok(fs.existsSync(path.join(site.state, "drill/scratch")), moment);
      const next = await site.run("drill.sh");
      assert.equal(next.code, 0, next.stderr);
      assert.match(next.stderr, /warning: removed .*\/drill\/scratch, left by a drill that was cut off/);
      assertNothingLeft();
    }
  });

  it("reads as the application's role with its memberships, and fails where that cannot read what it could", async () => {
    cluster.sql("postgres", "create role owns; create role gone superuser");
    cluster.sql("postgres", "set role gone; grant owns to app"); // pg_dumpall then names no grantor
    cluster.sql("postgres", "drop role gone");
    cluster.createDatabase("held", "create table t (id int); insert into t values (1)");
    cluster.sql("held", "alter table t owner to owns");
    await prepare(["held"]);
    assert.deepEqual(site.manifest(site.dumpFiles[0] ?? "").application, {
      ...{ role: "app", login: false, tables: 1, reads: "public.t" },
    });
    const [globals = ""] = site.globals;
    const file = path.join(site.dumps, globals);
    const text = fs.readFileSync(file, "utf8");
    const without = text.replace("GRANT owns TO app;\n", "");
    assert.ok(without.length < text.length, text);
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 0, drill.stderr);
    assert.match(drill.stderr, /held: role 'app' read as set session authorization, .*, and read public\.t$/m);

    fs.writeFileSync(file, without);
    const manifest = { ...site.manifest(globals), size: without.length, sha256: site.sha256(globals) };
    fs.writeFileSync(`${file}.json`, JSON.stringify(manifest));
    const other = await site.run("drill.sh");
    cluster.sql("postgres", "drop database held");
    cluster.sql("postgres", "drop role owns");
    assert.equal(other.code, 1, other.stderr);
    assert.match(
      report().databases[0]?.error ?? "",
      /^restored, but role 'app', whose database 'held' is, may read no table of it/,
    );
    assertNothingLeft();
  });

  it("only warns where the application's role could read nothing in the source either", async () => {
    cluster.createDatabase("walled", "create table t (id int); revoke all on t from app");
    cluster.sql("walled", `grant select on t to ${cluster.role}`);
    await prepare(["walled"]);
    const drill = await site.run("drill.sh");
    cluster.sql("postgres", "drop database walled");
    assert.equal(drill.code, 0, drill.stderr);
    assert.match(
      drill.stderr,
      /walled: warning: role 'app', whose .*, may read no table of it; nor could it in the source, by the manifest$/m,
    );
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
