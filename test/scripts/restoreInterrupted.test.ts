import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, until, type Running } from "./cluster";
import { Site } from "./site";

const schema = `
  create table events (id int primary key, name text);
  insert into events select i, 'event ' || i from generate_series(1, 2000) i`;

describe("restore.sh that is killed", function () {
  let cluster: Cluster;
  let site: Site;
  let dump: string;

  before(async () => {
    cluster = new Cluster();
    cluster.createDatabase("shop", schema);
    site = new Site(cluster, ["shop"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    dump = site.dumpFiles[0] ?? "";
    cluster.sql("postgres", "alter role app login");
    cluster.sql("shop", "delete from events where id > 1500");
  });

  after(() => {
    site.remove();
    cluster.stop();
  });

  const into = ["--into", "shop", "--yes"];
  const restore = (...where: string[]): Running => site.start("restore.sh", ["--file", dump, ...where]);
  const databases = (): string =>
    cluster.sql(
      "postgres",
      "select string_agg(datname, ' ' order by datname) from pg_database where not datistemplate",
    );
  const limit = (): string => cluster.sql("postgres", "select datconnlimit from pg_database where datname = 'shop'");
  const rows = (): string => cluster.sql("shop", "select count(*) from events");

  /** Lets a program of the restore come as far as its start, and no further: it says so in a file, then waits. */
  const hold = (program: string, match: string): string => {
    const reached = path.join(site.root, "reached");
    fs.rmSync(reached, { force: true });
    site.shadow(
      program,
      `if [[ "$*" == *${match}* ]]; then echo $$ >${reached}; chmod 644 ${reached}; exec cat <>"${reached}.fifo"; fi
      exec /usr/bin/${program} "$@"`,
    );
    execFileSync("mkfifo", ["-m", "666", `${reached}.fifo`]);
    return reached;
  };

  /** Kills everything that the restore started, the shell first, as the kernel or a power cut does. */
  const killAll = async (running: Running, program: string): Promise<void> => {
    for (;;) {
      const left = site.processes();
      if (left.length === 0) break;
      for (const pid of [running.pid, ...left]) {
        try {
          process.kill(pid, "SIGKILL");
        } catch {
          // gone meanwhile
        }
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    await running.outcome;
    for (const file of [path.join(site.programs, program), path.join(site.root, "reached.fifo")]) fs.rmSync(file);
  };

  /** Where the killed run worked. */
  let worked = "";

  const killAt = async (program: string, match: string, ...where: string[]): Promise<void> => {
    fs.chmodSync(site.root, 0o777);
    const reached = hold(program, match);
    const running = restore(...where);
    await until(`${program} is reached`, () => fs.existsSync(reached) && fs.readFileSync(reached, "utf8") !== "");
    await killAll(running, program);
    worked = fs.readFileSync(path.join(site.state, "restore.work"), "utf8").trim();
    assert.ok(fs.existsSync(worked));
    fs.chmodSync(site.root, 0o755);
  };

  const cleanUp = async (): Promise<string> => {
    const outcome = await site.run("restore.sh", ["--clean-up"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    const again = await site.run("restore.sh", ["--clean-up"]);
    assert.deepEqual([again.code, again.stderr], [0, ""], "nothing is left to clean up");
    assert.deepEqual(
      fs.readdirSync(site.state).filter((file) => file.includes("restore")),
      ["restore.lock"],
    );
    assert.ok(!site.files.some((file) => file.startsWith(".")), site.files.join(" "));
    assert.ok(!fs.existsSync(worked), worked);
    assert.equal(limit(), "-1");
    assert.equal(rows(), "1500");
    assert.equal(databases(), "postgres shop");
    return outcome.stderr;
  };

  it("while the safety dump is made: the next run opens the database and removes the half dump", async () => {
    await killAt("pg_dump", "--snapshot", ...into);
    assert.equal(limit(), "0");
    assert.deepEqual(
      site.files.filter((file) => file.startsWith(".")).map((file) => file.replace(/\d{8}T\d{6}Z/, "<time>")),
      ["json.partial", "partial"].map((suffix) => `.manual_before_restore_shop_<time>.dump.${suffix}`),
    );
    const refused = await site.start("restore.sh", ["latest", "--database", "shop", "--new", "x", "--plan"]).outcome;
    assert.match(refused.stdout, /psql .*alter database "shop" connection limit -1/, "a plan says what would be done");
    assert.equal(limit(), "0", "and does not do it");
    const said = await cleanUp();
    assert.match(said, /a restore of .* into 'shop' was cut off/);
    assert.match(said, /connections to 'shop' are allowed as before/);
    assert.match(said, /'shop' is as it was: the restore had not begun to change it/);
    assert.match(said, /half a safety dump of a run that was cut off, is removed/);
  });

  it("while the safety dump is made, and the server with it: the database is opened once that is there again", async () => {
    await killAt("pg_dump", "--snapshot", ...into);
    cluster.halt();
    const early = await site.run("restore.sh", ["--clean-up"]);
    assert.equal(early.code, 1);
    assert.match(early.stderr, /^error: database 'postgres' cannot be asked: psql: error: connection/m);
    const [where = ""] = fs.readFileSync(path.join(site.state, "restore.closed"), "utf8").split("\n");
    assert.equal(where, "{", "the note is still there");
    cluster.restart();
    assert.match(await cleanUp(), /connections to 'shop' are allowed as before/);
  });

  it("while pg_restore works: nothing changed, and the next run names the safety dump", async () => {
    await killAt("pg_restore", "--single-transaction", ...into);
    assert.equal(limit(), "0");
    assert.equal(rows(), "1500");
    const safety = site.dumpFiles.find((file) => file.startsWith("manual_before_restore_shop_")) ?? "";
    assert.equal(site.manifest(safety).tables["public.events"], 1500);
    const said = await cleanUp();
    assert.ok(said.includes(`what it held before is ${path.join(site.dumps, safety)} (restore.sh --file`), said);
    const check = await site.run("backup.sh", ["--check", safety]);
    assert.equal(check.code, 0, check.stderr);
  });

  it("when the database was created, or half filled: the next run removes it", async () => {
    for (const [program, match] of [
      ["psql", "CREATE?DATABASE"],
      ["pg_restore", "--dbname"],
    ] as const) {
      await killAt(program, match, "--new", "fresh");
      const made = program === "psql" ? "postgres shop" : "postgres shop trade-show-db.restoring";
      assert.equal(databases(), made);
      const said = await cleanUp();
      assert.equal(/database 'trade-show-db.restoring' is half restored/.test(said), program !== "psql");
    }
  });

  it("when it was whole and about to be proved: it keeps its name, and nothing is left to repair", async () => {
    await killAt("psql", "ANALYZE", "--new", "fresh");
    assert.equal(databases(), "fresh postgres shop");
    assert.equal(cluster.sql("fresh", "select count(*) from events"), "2000");
    cluster.asPostgres("dropdb", ["fresh"]);
    assert.equal(await cleanUp(), "");
  });

  it("once all of the dump is in it, before it is proved: the next run opens it and says that it holds either", async () => {
    await killAt("psql", "ANALYZE", ...into);
    assert.deepEqual([limit(), rows()], ["0", "2000"]);
    cluster.sql("shop", "delete from events where id > 1500"); // as cleanUp expects it
    const said = await cleanUp();
    assert.match(said, /connections to 'shop' are allowed as before/);
    assert.match(said, /'shop' holds either all of that dump or all that it held before, never a mix/);
    const [, safety = ""] = /what it held before is \S+\/(\S+) \(restore\.sh --file/.exec(said) ?? [];
    assert.equal(site.manifest(safety).tables["public.events"], 1500);
  });

  it("a real restore after a cut-off one repairs first, then restores", async () => {
    await killAt("pg_restore", "--single-transaction", ...into);
    const outcome = await restore(...into).outcome;
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.match(outcome.stderr, /was cut off[^]*allowed as before[^]*restored and proved/);
    assert.equal(rows(), "2000");
    assert.equal(limit(), "-1");
    cluster.sql("shop", "delete from events where id > 1500");
  });

  it("by a failing safety dump: it says that nothing has changed", async () => {
    site.shadow("pg_dump", `if [[ "$*" == *--snapshot* ]]; then exit 5; fi; exec /usr/bin/pg_dump "$@"`);
    const outcome = await restore(...into).outcome;
    fs.rmSync(path.join(site.programs, "pg_dump"));
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, /\nerror: 'shop' is as it was: nothing of the dump is in it\n$/);
    assert.equal(rows(), "1500");
    await cleanUp();
  });

  it("by a proof that cannot be made: it says what holds, and how to get back", async () => {
    site.shadow("psql", `if [[ -e ${site.root}/restored ]]; then exit 5; fi; exec /usr/bin/psql "$@"`);
    site.shadow(
      "pg_restore",
      `if [[ "$*" == *--dbname* ]]; then /usr/bin/pg_restore "$@" && touch ${site.root}/restored; exit; fi; exec /usr/bin/pg_restore "$@"`,
    );
    fs.chmodSync(site.root, 0o777);
    const outcome = await restore(...into).outcome;
    for (const file of ["programs/psql", "programs/pg_restore", "restored"]) fs.rmSync(path.join(site.root, file));
    fs.chmodSync(site.root, 0o755);
    assert.equal(outcome.code, 1, outcome.stderr);
    const safety = site.dumpFiles.filter((file) => file.startsWith("manual_before_restore_shop_")).at(-1);
    assert.match(outcome.stderr, /connections to 'shop' are still refused: run restore\.sh --clean-up/);
    assert.ok(
      outcome.stderr.endsWith(
        `error: 'shop' holds what is in ${path.join(site.dumps, dump)}, not proved. What was there before: ` +
          `${path.join(site.dumps, safety ?? "")} (restore.sh --file ${safety} --into shop)\n`,
      ),
      outcome.stderr,
    );
    assert.equal(rows(), "2000");
    cluster.sql("shop", "delete from events where id > 1500");
    await cleanUp();
  });

  it("by SIGTERM: it stops at once, and everything is as it was", async () => {
    fs.chmodSync(site.root, 0o777);
    const reached = hold("pg_restore", "--single-transaction");
    const running = restore(...into);
    await until("pg_restore is reached", () => fs.existsSync(reached) && fs.readFileSync(reached, "utf8") !== "");
    assert.equal(limit(), "0");
    process.kill(running.pid, "SIGTERM");
    const outcome = await running.outcome;
    for (const file of ["programs/pg_restore", "reached", "reached.fifo"]) fs.rmSync(path.join(site.root, file));
    fs.chmodSync(site.root, 0o755);
    assert.equal(outcome.code, 143, outcome.stderr);
    assert.match(outcome.stderr, /stopped by a signal[^]*connections to 'shop' are allowed as before/);
    await cleanUp();
  });

  it("by SIGTERM and Ctrl-C while it puts back what it changed: that is done to its end", async () => {
    fs.chmodSync(site.root, 0o777);
    const reached = path.join(site.root, "reached");
    const gate = path.join(site.root, "gate");
    execFileSync("mkfifo", ["-m", "666", gate]);
    site.shadow(
      "pg_restore",
      `if [[ "$*" == *--single-transaction* ]]; then exit 7; fi; exec /usr/bin/pg_restore "$@"`,
    );
    site.shadow(
      "psql",
      `if [[ "$*" == *"connection limit -1" ]]; then : >${reached}; read -r _ <${gate}; fi; exec /usr/bin/psql "$@"`,
    );
    const running = restore(...into);
    await until("it puts back the limit", () => fs.existsSync(reached));
    for (const signal of ["SIGTERM", "SIGINT", "SIGTERM"] as const) process.kill(running.pid, signal);
    const opened = fs.openSync(gate, "r+"); // does not wait for a reader
    fs.writeSync(opened, "go\n");
    const outcome = await running.outcome;
    fs.closeSync(opened);
    for (const file of ["programs/pg_restore", "programs/psql", "reached", "gate"])
      fs.rmSync(path.join(site.root, file));
    fs.chmodSync(site.root, 0o755);
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, /connections to 'shop' are allowed as before/);
    assert.doesNotMatch(outcome.stderr, /stopped by a signal/);
    assert.equal(limit(), "-1");
    await cleanUp();
  });
});
