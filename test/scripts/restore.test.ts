import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, type Outcome } from "./cluster";
import { flipBit, Site } from "./site";

const schema = `
  create table events (id int primary key, name text);
  create table expenses (id int primary key, event int, merchant text, amount numeric, created_at timestamptz,
    constraint of_event foreign key (event) references events);
  insert into events select i, 'event ' || i from generate_series(1, 20) i;
  insert into expenses select i, 1 + i % 20, 'shop ' || i, i, timestamptz '2026-01-01' + i * interval '1 minute'
    from generate_series(1, 1000) i;
  create table "Odd ""Table" ("Key 1" int, "key.2" text, primary key ("Key 1", "key.2"));
  create table refers (a int, b text, constraint "by both" foreign key (a, b) references "Odd ""Table" match full);
  create table loosely (a int, b text, foreign key (a, b) references "Odd ""Table");
  insert into "Odd ""Table" values (1, 'x');
  insert into refers values (1, 'x'), (null, null);
  insert into loosely values (1, 'x'), (null, 'y'), (7, null)`;

const newest = ["shop|public.expenses|created_at|id,merchant,amount,created_at"];

describe("restore.sh", function () {
  let cluster: Cluster;
  let site: Site;
  let dump: string;

  before(async () => {
    cluster = new Cluster();
    cluster.createDatabase("shop", schema);
    site = new Site(cluster, ["shop"], {}, newest);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    dump = site.dumpFiles[0] ?? "";
  });

  after(() => {
    site.remove();
    cluster.stop();
  });

  const exists = (name: string): boolean =>
    cluster.sql("postgres", `select 1 from pg_database where datname = '${name}'`) === "1";

  describe("into a new database", () => {
    it("brings everything back, owned by the application's role, and proves it", async () => {
      const outcome = await site.run("restore.sh", ["latest", "--database", "shop", "--new", "shop_new"]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.match(
        outcome.stdout,
        /Proved:\n {2}table counts {3}5 of 5 equal, 1026 rows\n {2}newest records 1 of 1 tables as expected\n {2}foreign keys {3}3 of 3 without orphans/,
      );
      assert.equal(cluster.sql("shop_new", "set role app; select count(*) from public.expenses"), "1000");
      assert.equal(
        cluster.sql("shop_new", "select distinct tableowner from pg_tables where schemaname = 'public'"),
        "app",
      );
      const against = await site.run("verify.sh", ["--database", "shop_new", "--against", "shop"]);
      assert.equal(against.code, 0, against.stderr);
    });

    describe("logs in as the application's role", () => {
      /** A role that has an account here, whose database is `theirs`. */
      let role: string;

      before(async () => {
        role = `${cluster.role}_app`;
        execFileSync("useradd", ["--system", "--no-create-home", role]);
        cluster.sql("postgres", `create role ${role} login; create role owns; grant owns to ${role}`);
        cluster.sql("postgres", `create database theirs owner ${role}`);
        cluster.sql("theirs", `create table t (id int); alter table t owner to ${role}; insert into t values (1)`);
      });
      after(() => {
        cluster.sql("postgres", `drop database theirs`);
        execFileSync("userdel", [role]);
      });

      /** What a restore of `theirs` under another name says of the application's role. */
      const hear = async (): Promise<{ code: number | null; said: string }> => {
        const other = new Site(cluster, ["theirs"]);
        try {
          const night = await other.run("backup.sh");
          assert.equal(night.code, 0, night.stderr);
          const { code, stderr } = await other.run("restore.sh", ["latest", "--database", "theirs", "--as", "copy"]);
          return { code, said: stderr.split("\n").find((line) => line.includes("role '")) ?? stderr };
        } finally {
          other.remove();
          cluster.sql("postgres", "drop database if exists copy");
        }
      };

      it("from the account of its name", async () => {
        assert.deepEqual(await hear(), { code: 0, said: `role '${role}' logged in (peer) and read public.t` });
      });

      it("or, where the server does not let that one in, says that it did not", async () => {
        const hba = path.join(cluster.directory, "data/pg_hba.conf");
        const content = fs.readFileSync(hba);
        fs.writeFileSync(hba, `local all ${role} reject\n${String(content)}`);
        cluster.sql("postgres", "select pg_reload_conf()");
        const heard = await hear();
        fs.writeFileSync(hba, content);
        cluster.sql("postgres", "select pg_reload_conf()");
        assert.deepEqual(heard, {
          code: 0,
          said: `role '${role}' read as set session authorization, because there is no peer login of that name, and read public.t`,
        });
      });

      it("as a member of an owner that does not log in itself; and says so where nobody does", async () => {
        cluster.sql("postgres", "alter database theirs owner to owns");
        assert.deepEqual(await hear(), { code: 0, said: `role '${role}' logged in (peer) and read public.t` });
        cluster.sql("postgres", `alter role ${role} nologin`);
        cluster.sql("theirs", "alter table t owner to owns");
        assert.deepEqual(await hear(), {
          code: 0,
          said: "role 'owns' read as set session authorization, because neither it nor a member of it may log in, and read public.t",
        });
        cluster.sql("postgres", `alter role ${role} login`);
      });

      it("or warns that it may read nothing, where it could not in the source either", async () => {
        cluster.sql("theirs", `revoke all on t from owns; grant select on t to ${cluster.role}`);
        assert.deepEqual(await hear(), {
          code: 0,
          said: `warning: role '${role}', whose database 'copy' is, may read no table of it; nor could it in the source, by the manifest`,
        });
      });
    });

    it("passes over a newest dump that is cut short, and says so; one that lost a bit stops it", async () => {
      const older = site.age(dump, 1);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const newest = site.dumpFiles.at(-1) ?? "";
      flipBit(path.join(site.dumps, newest));
      const stopped = await site.run("restore.sh", ["latest", "--database", "shop", "--new", "shop_older"]);
      assert.equal(stopped.code, 1);
      assert.match(stopped.stderr, new RegExp(`${newest} is damaged: its SHA-256 is`));
      assert.equal(exists("shop_older"), false);
      fs.truncateSync(path.join(site.dumps, newest), 100);
      const outcome = await site.run("restore.sh", ["latest", "--database", "shop", "--new", "shop_older"]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.ok(
        outcome.stderr.includes(`warning: passed over: ${path.join(site.dumps, newest)} has no manifest that fits`),
      );
      assert.ok(outcome.stderr.includes(`restored and proved: 'shop_older' from ${path.join(site.dumps, older)}`));
      cluster.asPostgres("dropdb", ["shop_older"]);
      for (const file of [newest, `${newest}.json`]) fs.rmSync(path.join(site.dumps, file));
      dump = older;
    });

    it("refuses a name that is taken", async () => {
      const outcome = await site.run("restore.sh", ["--file", dump, "--new", "shop"]);
      assert.equal(outcome.code, 1);
      assert.match(
        outcome.stderr,
        /database 'shop' exists and is not empty, it holds e\.g\. .*: --new needs an empty one or a free name/,
      );
    });

    it("removes the database that it created when pg_restore fails", async () => {
      site.shadow(
        "pg_restore",
        `[[ "$*" == *--dbname* ]] && { /usr/bin/pg_restore "$@" --schema-only; exit 1; }; exec /usr/bin/pg_restore "$@"`,
      );
      const outcome = await site.run("restore.sh", ["--file", dump, "--new", "shop_failed"]);
      fs.rmSync(path.join(site.programs, "pg_restore"));
      assert.equal(outcome.code, 1, outcome.stderr);
      assert.match(outcome.stderr, /the new database 'shop_failed' is removed again/);
      assert.equal(exists("shop_failed"), false);
    });

    it("takes a manual dump, and says that counts are not proved", async () => {
      const file = path.join(site.dumps, "manual_20260101_000000.dump");
      cluster.asPostgres("pg_dump", ["-d", "shop", "--format=custom", `--file=${file}`]);
      const outcome = await site.run("restore.sh", ["--file", path.basename(file), "--new", "shop_manual"]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.match(outcome.stderr, /made by hand and has no manifest/);
      assert.match(outcome.stdout, /table counts {3}not compared: there is no manifest/);
      assert.equal(
        cluster.sql("postgres", "select pg_get_userbyid(datdba) from pg_database where datname = 'shop_manual'"),
        "app",
      );
      fs.truncateSync(file, fs.statSync(file).size - 400);
      const truncated = await site.run("restore.sh", ["--file", path.basename(file), "--new", "shop_cut"]);
      assert.equal(truncated.code, 1);
      assert.match(truncated.stderr, /is damaged: pg_restore says/);
      assert.equal(exists("shop_cut"), false);
      fs.rmSync(file);
    });
  });

  describe("into an existing database", () => {
    beforeEach(() =>
      cluster.createDatabase("target", `${schema}; delete from expenses where id > 10; create table own (id int)`),
    );
    afterEach(() => {
      cluster.asPostgres("dropdb", ["target"]);
      for (const file of site.files.filter((name) => name.startsWith("manual_")))
        fs.rmSync(path.join(site.dumps, file));
    });

    const intoTarget = (options: readonly string[], input?: string): Promise<Outcome> =>
      site.run("restore.sh", ["--file", dump, "--database", "shop", "--into", "target", ...options], input);

    it("asks for the name, takes a safety dump, restores", async () => {
      const refused = await intoTarget([], "shop\n");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /not confirmed \('shop' is not 'target'\): nothing was touched/);
      assert.equal(cluster.sql("target", "select count(*) from expenses"), "10");
      cluster.sql("target", "drop table own");
      const outcome = await intoTarget([], "target\n");
      assert.equal(outcome.code, 0, outcome.stderr + outcome.stdout);
      assert.equal(cluster.sql("target", "select count(*) from expenses"), "1000");
      const safety = site.dumpFiles.find((file) => file.startsWith("manual_before_restore_target_")) ?? "";
      const list = execFileSync("pg_restore", ["--list", path.join(site.dumps, safety)], { encoding: "utf8" });
      assert.match(list, /TABLE DATA public expenses/);
    });

    it("leaves it as it was when pg_restore fails", async () => {
      cluster.sql("target", "create view seen as select * from expenses"); // in the way of --clean
      const before = cluster.dump("target");
      const outcome = await intoTarget(["--yes"]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /database 'target' is as it was before/);
      assert.equal(cluster.dump("target"), before);
    });

    it("is done on a server that warns whoever logs in", async () => {
      cluster.sql("target", "drop table own");
      await cluster.whileWarning(async () => {
        const outcome = await intoTarget(["--yes"]);
        assert.equal(outcome.code, 0, outcome.stderr + outcome.stdout);
        const [asked, done] = outcome.stderr.split("nobody but superusers");
        assert.doesNotMatch(asked ?? "", /WARNING/, "what is only asked says nothing besides");
        assert.match(done ?? "", /WARNING: {2}invalid value for parameter "default_tablespace": "gone"/);
        assert.equal(cluster.sql("target", "select count(*) from expenses"), "1000");
      });
    });

    it("finds a table that was not in the dump", async () => {
      const outcome = await intoTarget(["--yes"]);
      assert.equal(outcome.code, 1);
      assert.match(outcome.stdout, /public\.own +- +0 {2}WRONG/);
      assert.match(outcome.stderr, /restored, but 'target' is not what it must be/);
    });

    it("--plan prints the commands and changes nothing", async () => {
      const outcome = await intoTarget(["--plan"]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.match(outcome.stdout, /^runuser -u postgres -- pg_dump --dbname=target --format=custom /m);
      assert.match(
        outcome.stdout,
        /\nrunuser -u postgres -- pg_restore --dbname=target --clean --if-exists --exit-on-error --single-transaction \//,
      );
      assert.equal(cluster.sql("target", "select count(*) from expenses"), "10");
      assert.deepEqual(site.dumpFiles, [dump]);
    });
  });

  describe("refuses before it touches anything", () => {
    const damages: [string, (file: string) => void, RegExp][] = [
      ["a flipped bit", flipBit, /is damaged: its SHA-256 is/],
      [
        "a truncated dump",
        (file) => fs.truncateSync(file, fs.statSync(file).size - 100),
        /does not fit its manifest: it has/,
      ],
      ["a dump without a manifest", (file) => fs.rmSync(`${file}.json`), /has no manifest/],
      ["an edited manifest", (file) => fs.writeFileSync(`${file}.json`, "{}"), /does not fit its manifest/],
    ];
    for (const [what, damage, message] of damages) {
      it(what, async () => {
        const file = path.join(site.dumps, dump.replace(/_\w+\.dump$/, "_20200101T000000Z.dump"));
        fs.copyFileSync(path.join(site.dumps, dump), file);
        execFileSync("chgrp", ["postgres", file]);
        fs.chmodSync(file, 0o640);
        fs.writeFileSync(`${file}.json`, JSON.stringify({ ...site.manifest(dump), file: path.basename(file) }));
        damage(file);
        const fresh = await site.run("restore.sh", ["--file", file, "--new", "never"]);
        const existing = await site.run("restore.sh", ["--file", file, "--into", "shop", "--yes"]);
        fs.rmSync(file);
        fs.rmSync(`${file}.json`, { force: true });
        for (const outcome of [fresh, existing]) {
          assert.equal(outcome.code, 1, outcome.stderr);
          assert.match(outcome.stderr, message);
        }
        assert.equal(exists("never"), false);
        assert.deepEqual(site.dumpFiles, [dump], "no safety dump was taken");
      });
    }
  });

  it("wrong usage is refused with status 2", async () => {
    for (const args of [
      ["latest", "--new", "x"],
      ["--file", "x"],
      ["--file", "x", "--new", "a", "--into", "b"],
      ["--what"],
    ]) {
      assert.equal((await site.run("restore.sh", args)).code, 2, args.join(" "));
    }
  });

  it("hostile database names make the round trip", async function () {
    const names = [
      `we"ird 'na=me; $(touch /tmp/x) \\`,
      "-ünïcode",
      "manual_x",
      "postgres://host/db",
      "host=elsewhere dbname=x",
      "a|b",
      "..",
      "shop_20260101T000000Z",
    ];
    for (const name of names)
      cluster.createDatabase(name, "create table t (id int primary key); insert into t values (1), (2)");
    const hostile = new Site(
      cluster,
      ["shop", ...names],
      {},
      names.map((name) => `${name}|public.t|id|id`),
    );
    try {
      const night = await hostile.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      assert.equal(hostile.dumpFiles.length, names.length + 1);
      for (const name of names) {
        const outcome = await hostile.run("restore.sh", ["latest", "--database", name, "--new", `${name}, restored`]);
        assert.equal(outcome.code, 0, outcome.stderr);
        assert.equal(cluster.sql(`${name}, restored`, "select count(*) from t"), "2");
        const again = await hostile.run("restore.sh", ["latest", "--database", name, "--into", name], `${name}\n`);
        assert.equal(again.code, 0, again.stderr);
      }
    } finally {
      hostile.remove();
    }
  });
});
