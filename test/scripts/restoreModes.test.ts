import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, start, until, type Outcome } from "./cluster";
import { Site } from "./site";

const schema = `
  create schema trade;
  create type trade.mood as enum ('good', 'bad');
  create function trade.touch() returns trigger language plpgsql as $$ begin return new; end $$;
  create table events (id serial primary key, name text not null, feeling trade.mood default 'good');
  create table expenses (id bigint generated always as identity primary key, event int, amount numeric check (amount > 0),
    constraint of_event foreign key (event) references events);
  create index expenses_amount on expenses (amount);
  create table trade."Odd Table" (id int primary key, expense bigint references expenses);
  create table trade.days (day date primary key, note text) partition by range (day);
  create table trade.days_2026 partition of trade.days for values from ('2026-01-01') to ('2027-01-01');
  create index days_note on trade.days (note);
  create trigger touched before update on events for each row execute function trade.touch();
  comment on table events is 'trade shows';
  grant select on events to reader;
  insert into events (name) select 'event ' || i from generate_series(1, 20) i;
  insert into expenses (event, amount) select 1 + i % 20, i from generate_series(1, 300) i;
  insert into trade."Odd Table" select i, i from generate_series(1, 10) i;
  insert into trade.days select date '2026-01-01' + i, 'day ' || i from generate_series(1, 50) i`;

describe("restore.sh: where to, what of it, and what it refuses", function () {
  let cluster: Cluster;
  let site: Site;
  let dump: string;

  before(async () => {
    cluster = new Cluster();
    cluster.sql("postgres", "create role reader");
    cluster.createDatabase("shop", schema);
    cluster.sql("shop", `alter table trade."Odd Table" owner to reader`);
    site = new Site(cluster, ["shop"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    dump = site.dumpFiles[0] ?? "";
  });

  after(() => {
    site.remove();
    cluster.stop();
  });

  const restore = (...where: string[]): Promise<Outcome> => site.run("restore.sh", ["--file", dump, ...where]);

  const content = (database: string, ...options: string[]): string => cluster.dump(database, ...options);

  const exists = (name: string): boolean =>
    cluster.sql("postgres", `select count(*) from pg_database where datname = '${name}'`) === "1";

  const drop = (...names: string[]): void => names.forEach((name) => cluster.asPostgres("dropdb", ["--force", name]));

  /** Everything a refused restore might have touched. */
  const state = (): unknown => [
    cluster.sql("postgres", "select array_agg((datname, datconnlimit) order by datname) from pg_database"),
    site.files,
    fs.readdirSync(site.state).filter((file) => file !== "restore.lock"),
  ];

  const refuses = async (args: string[], message: RegExp, code = 1, input = ""): Promise<void> => {
    const before = state();
    const outcome = await site.run("restore.sh", args, input);
    assert.equal(outcome.code, code, outcome.stderr);
    assert.match(outcome.stderr, message);
    assert.deepEqual(state(), before);
  };

  it("--as makes an exact copy, owners and grants included; --new gives everything to the owner", async () => {
    const copy = await restore("--as", "exact", "--jobs", "2");
    assert.equal(copy.code, 0, copy.stderr);
    assert.equal(content("exact"), content("shop"));
    const fresh = await restore("--new", "fresh");
    assert.equal(fresh.code, 0, fresh.stderr);
    assert.equal(content("fresh", "--no-owner", "--no-privileges"), content("shop", "--no-owner", "--no-privileges"));
    assert.equal(
      cluster.sql("fresh", "select distinct tableowner from pg_tables where schemaname in ('public', 'trade')"),
      "app",
    );
    await refuses(["--file", dump, "--as", "exact"], /database 'exact' exists: --as needs a name that is free/);
    drop("exact", "fresh");
  });

  it("leaves the planner's statistics, of single tables too; without them it says so, and has restored all the same", async () => {
    const analysed = (database: string): string =>
      cluster.sql(
        database,
        "select string_agg(distinct schemaname || '.' || tablename, ' ') from pg_stats where schemaname in ('public', 'trade')",
      );
    const whole = await restore("--new", "fresh");
    assert.equal(whole.code, 0, whole.stderr);
    cluster.sql("shop", "analyze");
    assert.equal(analysed("fresh"), analysed("shop"));
    drop("fresh");

    const single = await restore("--new", "fresh", "--table", "public.events", "--table", 'trade."Odd Table"');
    assert.equal(single.code, 0, single.stderr);
    assert.equal(analysed("fresh"), "public.events trade.Odd Table");
    drop("fresh");

    site.shadow("psql", `if [[ "$*" == *ANALYZE* ]]; then exit 5; fi; exec /usr/bin/psql "$@"`);
    const without = await restore("--new", "fresh");
    fs.rmSync(path.join(site.programs, "psql"));
    assert.equal(without.code, 0, without.stderr);
    assert.match(
      without.stderr,
      /warning: not all statistics for the planner of 'fresh' could be made: run ANALYZE in it[^]*restored and proved/,
    );
    drop("fresh");
  });

  it("--new fills a database that exists and is empty, in one transaction", async () => {
    cluster.asPostgres("createdb", ["--owner=app", "mine"]);
    await refuses(["--file", dump, "--new", "mine", "--jobs", "2"], /filled in one transaction, which --jobs excludes/);
    const outcome = await restore("--new", "mine");
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(content("mine", "--no-owner", "--no-privileges"), content("shop", "--no-owner", "--no-privileges"));
    const taken = /'mine' exists and is not empty, it holds e\.g\. /;
    await refuses(["--file", dump, "--new", "mine"], taken);
    drop("mine");
    for (const thing of [
      "create schema s",
      "create type t as enum ('a')",
      "select lo_create(7)",
      "create table t ()",
    ]) {
      cluster.asPostgres("createdb", ["used"]);
      cluster.sql("used", thing);
      await refuses(["--file", dump, "--new", "used"], /database 'used' exists and is not empty, it holds e\.g\. \w+ /);
      drop("used");
    }
  });

  it("--new leaves grants out, with a warning, where their roles are missing; --as and --into refuse", async () => {
    cluster.sql("shop", "create role visitor; grant select on expenses to visitor");
    const other = new Site(cluster, ["shop"]);
    assert.equal((await other.run("backup.sh")).code, 0);
    cluster.sql("shop", "drop owned by visitor; drop role visitor");
    const before = content("shop");
    for (const mode of ["--as", "--into"]) {
      const outcome = await other.run("restore.sh", [
        "latest",
        "--database",
        "shop",
        mode,
        mode === "--as" ? "x" : "shop",
        "--yes",
      ]);
      assert.equal(outcome.code, 1, outcome.stderr);
      assert.match(outcome.stderr, /roles that the dump refers to are not on this server: visitor/);
    }
    assert.deepEqual([exists("x"), content("shop") === before, other.dumpFiles.length], [false, true, 1]);
    const fresh = await other.run("restore.sh", ["latest", "--database", "shop", "--new", "fresh"]);
    assert.equal(fresh.code, 0, fresh.stderr);
    assert.match(
      fresh.stderr,
      /grants, and settings of roles, are left out, because roles .* are not on this server: visitor/,
    );
    drop("fresh");
    other.remove();
  });

  it("--into refuses connections meanwhile, ends those that are there, and leaves a safety dump that restores", async () => {
    cluster.createDatabase("target", schema);
    cluster.sql("postgres", "alter role app login; alter database target connection limit 7");
    cluster.sql("target", "delete from trade.days");
    const held = content("target");
    const session = start(
      "runuser",
      ["-u", "postgres", "--", "psql", "-Xqd", "target", "-c", "set role app; select pg_sleep(600)"],
      cluster.env,
    );
    await until(
      "a session is there",
      () =>
        cluster.sql(
          "postgres",
          "select count(*) from pg_stat_activity where datname = 'target' and backend_type = 'client backend'",
        ) === "1",
    );
    site.shadow(
      "pg_restore",
      `if [[ "$*" == *--single-transaction* ]]; then
        psql -XAtd postgres -c "select datconnlimit || ' ' || (select count(*) from pg_stat_activity where datname = 'target' and backend_type = 'client backend') from pg_database where datname = 'target'" >&2
      fi; exec /usr/bin/pg_restore "$@"`,
    );
    const outcome = await site.run(
      "restore.sh",
      ["--file", dump, "--database", "shop", "--into", "target"],
      "target\n",
    );
    fs.rmSync(path.join(site.programs, "pg_restore"));
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.match(outcome.stderr, /^0 0$/m, "closed, and nobody in it");
    assert.notEqual((await session.outcome).code, 0);
    assert.equal(cluster.sql("postgres", "select datconnlimit from pg_database where datname = 'target'"), "7");
    assert.equal(content("target"), content("shop"));

    const safety = site.dumpFiles.find((file) => file.startsWith("manual_before_restore_target_")) ?? "";
    assert.ok(outcome.stderr.includes(`What was there before: ${path.join(site.dumps, safety)}`), outcome.stderr);
    assert.deepEqual(
      [site.manifest(safety).label, site.manifest(safety).tables["trade.days_2026"]],
      ["before_restore", 0],
    );
    assert.equal(
      execFileSync("stat", ["-c", "%U:%G %a", path.join(site.dumps, safety)], { encoding: "utf8" }).trim(),
      `${cluster.role}:postgres 640`,
    );
    const back = await site.run("restore.sh", ["--file", safety, "--into", "target", "--yes"]);
    assert.equal(back.code, 0, back.stderr);
    assert.equal(content("target"), held);
    drop("target");
    for (const file of site.files.filter((name) => name.startsWith("manual_"))) fs.rmSync(path.join(site.dumps, file));
  });

  it("--into database postgres, through which the restore itself speaks to the server, works too", async () => {
    cluster.sql(
      "postgres",
      "create table notes (id int); alter table notes owner to app; insert into notes values (1)",
    );
    const own = new Site(cluster, ["postgres"]);
    const night = await own.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    cluster.sql("postgres", "delete from notes");
    const outcome = await own.run("restore.sh", ["latest", "--into", "postgres", "--yes"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(cluster.sql("postgres", "select count(*) from notes"), "1");
    cluster.sql("postgres", "drop table notes");
    own.remove();
  });

  it("--into touches nothing when the order of the dump's contents cannot be found out", async () => {
    cluster.createDatabase("target", schema);
    cluster.sql("target", "delete from trade.days");
    const held = content("target");
    site.shadow("awk", `if [[ "$*" == *dropOrder* ]]; then head -c 10; exit 1; fi; exec /usr/bin/awk "$@"`);
    const outcome = await restore("--database", "shop", "--into", "target", "--yes");
    fs.rmSync(path.join(site.programs, "awk"));
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, /pg_restore failed: database 'target' is as it was before/);
    assert.equal(content("target"), held);
    assert.equal(cluster.sql("postgres", "select datconnlimit from pg_database where datname = 'target'"), "-1");
    drop("target");
    for (const file of site.files.filter((name) => name.startsWith("manual_"))) fs.rmSync(path.join(site.dumps, file));
  });

  it("writes through no link that an account of the directory has laid in its way", async () => {
    cluster.createDatabase("target", schema);
    const victim = path.join(site.root, "victim");
    fs.writeFileSync(victim, "root's\n");
    // By postgres, once the restore is at work.
    site.shadow(
      "psql",
      `cd ${site.dumps}
if ! compgen -G '.manual_before_restore_target_*' >/dev/null; then
  now=$(date +%s)
  for second in {0..59}; do
    for suffix in '' .json; do
      ln -s ${victim} .manual_before_restore_target_$(date -u -d "@$((now + second))" +%Y%m%dT%H%M%SZ).dump$suffix.partial
    done
  done
fi
exec /usr/bin/psql "$@"`,
    );
    const outcome = await restore("--database", "shop", "--into", "target", "--yes");
    assert.equal(outcome.code, 0, outcome.stderr);
    fs.rmSync(path.join(site.programs, "psql"));
    assert.equal(fs.readFileSync(victim, "utf8"), "root's\n");
    assert.equal(fs.statSync(victim).uid, 0);
    const planted = fs.readdirSync(site.dumps).filter((name) => /^\.?manual_/.test(name));
    assert.equal(planted.length, 120, "all but the two in the way, and the safety dump with its manifest");
    for (const file of planted) fs.rmSync(path.join(site.dumps, file));

    const lock = path.join(site.state, "restore.lock");
    fs.rmSync(lock);
    fs.symlinkSync(victim, lock);
    await refuses(
      ["--file", dump, "--as", "fresh"],
      /lock \S+restore\.lock is a link, to \S+victim: must be a file: remove it/,
    );
    assert.equal(fs.readFileSync(victim, "utf8"), "root's\n");
    fs.rmSync(lock);
    drop("target");
  });

  it("takes a path as it is typed, from where one is", async () => {
    const typed = path.relative(process.cwd(), path.join(site.dumps, dump));
    assert.match(typed, /^\.\.\//);
    const runs: [string, string[]][] = [
      ["restore.sh", ["--file", typed, "--as", "fresh", "--plan"]],
      ["verify.sh", ["--database", "shop", "--manifest", `${typed}.json`]],
      ["backup.sh", ["--check", typed]],
    ];
    for (const [script, args] of runs) {
      const outcome = await site.run(script, args);
      assert.equal(outcome.code, 0, `${script}: ${outcome.stderr}`);
    }
  });

  describe("--plan", () => {
    const run = (plan: string): Promise<Outcome> =>
      start("bash", ["-euo", "pipefail", "-c", plan], cluster.env).outcome;
    const modes: [string, string[], string][] = [
      ["--into", ["--database", "shop", "--into", "planned"], "delete from trade.days"],
      ["--new", ["--new", "planned"], ""],
      ["--as with --jobs", ["--as", "planned", "--jobs", "2"], ""],
      ["--table", ["--new", "planned", "--table", "public.events", "--table", `trade."Odd Table"`], ""],
    ];
    for (const [title, where, sql] of modes) {
      it(`${title}: its commands, typed by hand, do what the restore does`, async () => {
        if (sql !== "") {
          cluster.createDatabase("planned", schema);
          cluster.sql("planned", sql);
        }
        const before = state();
        const plan = await restore(...where, "--plan");
        assert.equal(plan.code, 0, plan.stderr);
        assert.deepEqual(state(), before);
        const byHand = await run(plan.stdout);
        assert.equal(byHand.code, 0, byHand.stderr + plan.stdout);
        const planned = content("planned");
        drop("planned");
        if (sql !== "") {
          cluster.createDatabase("planned", schema);
          cluster.sql("planned", sql);
        }
        const real = await restore(...where, "--yes");
        assert.equal(real.code, 0, real.stderr);
        assert.equal(content("planned"), planned);
        drop("planned");
        for (const file of site.files.filter((name) => name.startsWith("manual_")))
          fs.rmSync(path.join(site.dumps, file));
      });
    }
  });

  describe("--table", () => {
    it("brings a table back into the database that lost it, with all that belongs to it, changing nothing else", async () => {
      cluster.createDatabase("target", schema);
      cluster.sql("target", `alter table trade."Odd Table" owner to reader`);
      const whole = content("target");
      cluster.sql("target", "drop table events cascade");
      await refuses(
        ["--file", dump, "--database", "shop", "--into", "target", "--table", "public.expenses", "--yes"],
        /table public\.expenses exists in 'target': --table brings back one that is not there/,
      );
      const outcome = await site.run(
        "restore.sh",
        ["--file", dump, "--database", "shop", "--into", "target", "--table", "public.events"],
        "target\n",
      );
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.equal(content("target"), whole, "the foreign key of expenses is back, too");
      assert.match(outcome.stderr, /foreign key to or from another table: public expenses of_event/);
      assert.match(outcome.stdout, /table counts {3}1 of 1 equal, 20 rows/);
      assert.equal(cluster.sql("target", "insert into events (name) values ('next') returning id"), "21");
      assert.deepEqual(site.dumpFiles, [dump], "no safety dump: nothing was replaced");
      drop("target");
    });

    it("whose rows were not counted when it was dumped: is restored, and no other table is judged", async () => {
      const other = new Site(cluster, ["shop"], { COUNT_TABLES: ["public.expenses"] });
      const night = await other.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const outcome = await other.run("restore.sh", [
        "latest",
        "--database",
        "shop",
        "--new",
        "some",
        "--table",
        "public.events",
      ]);
      assert.equal(outcome.code, 0, outcome.stderr + outcome.stdout);
      assert.match(outcome.stdout, /table counts {3}0 of 0 equal/);
      assert.match(
        outcome.stdout,
        /structure {6}not compared: the manifest, of a part or of an older version, does not/,
      );
      assert.equal(cluster.sql("some", "select count(*) from events"), "20");
      drop("some");
      other.remove();
    });

    it("names a foreign key that the rows do not allow, and restores the table", async () => {
      cluster.createDatabase("target", schema);
      cluster.sql("target", "drop table events cascade; update expenses set event = 99 where id = 1");
      const outcome = await site.run("restore.sh", [
        "--file",
        dump,
        "--database",
        "shop",
        "--into",
        "target",
        "--table",
        "public.events",
        "--yes",
      ]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.match(outcome.stderr, /violates foreign key constraint "of_event"/);
      assert.match(outcome.stderr, /foreign key left out, see above: .*: public expenses of_event/);
      assert.equal(cluster.sql("target", "select count(*) from events"), "20");
      drop("target");
    });

    it("into a new database takes what the table depends on, and a partitioned table's partitions", async () => {
      const outcome = await restore("--as", "some", "--table", "public.events", "--table", "trade.days");
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.match(
        outcome.stderr,
        /foreign key left out, because its other table is not restored: public expenses of_event/,
      );
      const list =
        "select string_agg(oid::regclass::text, ' ' order by oid::regclass::text) from pg_class where relnamespace in ('public'::regnamespace, 'trade'::regnamespace)";
      assert.equal(
        cluster.sql("some", list),
        "events events_id_seq events_pkey trade.days trade.days_2026 trade.days_2026_note_idx trade.days_2026_pkey trade.days_note trade.days_pkey",
      );
      assert.equal(cluster.sql("some", "select count(*) from trade.days"), "50");
      drop("some");
      await refuses(
        ["--file", dump, "--new", "some", "--table", "public.nothing"],
        /--table: 'public nothing' is no table of this dump/,
      );
      await refuses(
        ["--file", dump, "--new", "some", "--table", "events"],
        /--table is 'events': must be schema\.name/,
        2,
      );
    });
  });

  describe("refuses before anything is touched", () => {
    /** A copy of the dump under another time, with its manifest, both changed. */
    const spoil = (change: (bytes: Buffer) => Buffer, manifest: Record<string, unknown> = {}): string => {
      const file = dump.replace(/_\w+\.dump$/, "_20200101T000000Z.dump");
      const bytes = change(fs.readFileSync(path.join(site.dumps, dump)));
      fs.writeFileSync(path.join(site.dumps, file), bytes, { mode: 0o640 });
      const sha256 = createHash("sha256").update(bytes).digest("hex");
      const right = { ...site.manifest(dump), file, size: bytes.length, sha256, ...manifest };
      fs.writeFileSync(path.join(site.dumps, `${file}.json`), JSON.stringify(right));
      return file;
    };
    const same = (bytes: Buffer): Buffer => bytes;
    const replace = (from: string, to: string) => (bytes: Buffer) => {
      const changed = Buffer.from(bytes.toString("latin1").replaceAll(from, to), "latin1");
      assert.notDeepEqual(changed, bytes);
      return changed;
    };
    const version = (): string => site.manifest(dump).server_version.slice(0, 2);

    const cases: [string, () => string, RegExp][] = [
      [
        "a dump from a newer server",
        () => spoil(replace(`${version()}.`, "99.")),
        /comes from PostgreSQL 99, this server is \d\d: must be 99/,
      ],
      [
        "a dump whose manifest speaks of another database",
        () => spoil(same, { database: "other" }),
        /is a dump of database 'shop', its manifest speaks of 'other'/,
      ],
      [
        "a dump swapped for another one",
        () => spoil((bytes) => Buffer.from(bytes).reverse(), { sha256: site.manifest(dump).sha256 }),
        /is damaged: its SHA-256 is/,
      ],
      [
        "an empty dump",
        () => spoil(() => Buffer.alloc(0), { size: site.manifest(dump).size }),
        /does not fit its manifest: it has 0 bytes/,
      ],
      [
        "a database that does not fit on the disk",
        () => spoil(same, { database_size: 1e15 }),
        /not enough space in .*\/data: the restored database and its log(?:, with the safety dump,)? take about 1\.1PB/,
      ],
    ];
    for (const [what, make, message] of cases) {
      it(what, async () => {
        const file = make();
        await refuses(["--file", file, "--new", "never"], message);
        await refuses(
          ["--file", file, "--database", what.includes("speaks") ? "other" : "shop", "--into", "shop", "--yes"],
          message,
        );
        for (const name of [file, `${file}.json`]) fs.rmSync(path.join(site.dumps, name));
      });
    }

    it("a target that is another database than the dumped one, unless it is said", async () => {
      await refuses(
        ["--file", dump, "--into", "postgres", "--yes"],
        /is of database 'shop', not of 'postgres': if that is what you want, say --database 'shop'/,
      );
    });

    it("what is not confirmed", async () => {
      for (const input of ["", "yes\n", "shop2\n"])
        await refuses(
          ["--file", dump, "--into", "shop"],
          /not confirmed \('\w*' is not 'shop'\): nothing was touched/,
          1,
          input,
        );
    });

    it("a database with prepared transactions, or in use by tonight's backup", async () => {
      cluster.sql("postgres", "alter system set max_prepared_transactions = 5");
      cluster.restart();
      cluster.sql("shop", "begin; create table later (); prepare transaction 'left over'");
      await refuses(["--file", dump, "--into", "shop", "--yes"], /'shop' has prepared transactions, .*: 'left over'\./);
      cluster.sql("shop", "rollback prepared 'left over'");
      const lock = path.join(site.state, "lock");
      const holder = start("flock", [lock, "sleep", "1000"], cluster.env);
      const pid = await until("the lock is held", () => {
        const children = fs.readFileSync(`/proc/${holder.pid}/task/${holder.pid}/children`, "utf8").trim();
        return children !== "" && Number(children);
      });
      await refuses(["--file", dump, "--into", "shop", "--yes"], /another run is active/, 3);
      process.kill(pid);
      await holder.outcome;
    });

    it("an extension that is not installed", async () => {
      const file = path.join(site.dumps, "manual_extension.dump");
      cluster.asPostgres("createdb", ["extended"]);
      cluster.sql("extended", "create extension hstore");
      cluster.asPostgres("pg_dump", ["-d", "extended", "-Fc", `--file=${file}`]);
      fs.writeFileSync(file, replace("hstore", "nstore")(fs.readFileSync(file)));
      await refuses(
        ["--file", "manual_extension.dump", "--new", "never"],
        /extensions that the dump needs are not installed on this machine: nstore\./,
      );
      fs.rmSync(file);
      drop("extended");
    });

    it("wrong usage, with status 2", async () => {
      const wrong: [string[], RegExp][] = [
        [["--file", "x", "--into", "a", "--jobs", "2"], /--jobs and --into exclude each other/],
        [["--file", "x", "--new", "a", "--jobs", "0"], /--jobs is '0': must be 1 to 99/],
        [["--file", "x", "--new", "a", "--as", "b"], /one of --into, --new and --as only/],
        [["--file", "x", "latest", "--new", "a"], /one of --file, latest and --at is needed/],
        [["latest", "--new", "a"], /--database is missing/],
        [["--at", "yesterday", "--into", "a"], /--at is 'yesterday': must be a time like/],
        [["--at", "2026-13-01 10:00", "--into", "a"], /--at is '2026-13-01 10:00'/],
        [["--file", "x", "--new", "ä".repeat(32)], /must be 1 to 63 bytes/],
      ];
      for (const [args, message] of wrong) await refuses(args, message, 2);
    });
  });

  describe("--at and latest", () => {
    it("pick by the time of the snapshot in the manifest", async () => {
      const times = ["2026-11-18T02:00:01.500Z", "2026-11-19T02:00:01.500Z", "2026-11-20T14:00:00.000Z"];
      const other = new Site(cluster, ["shop"]);
      const names = times.map((started, day) => {
        const label = day === 2 ? "manual_before-migration_" : "";
        const name = `${label}shop_${started.replace(/[-:]|\.\d+/g, "")}.dump`;
        fs.copyFileSync(path.join(site.dumps, dump), path.join(other.dumps, name));
        const manifest = { ...site.manifest(dump), file: name, started, label: day === 2 ? "before-migration" : null };
        fs.writeFileSync(path.join(other.dumps, `${name}.json`), JSON.stringify(manifest));
        return name;
      });
      const newer = "manual_before_restore_shop_20261121T000000Z.dump";
      fs.copyFileSync(path.join(site.dumps, dump), path.join(other.dumps, newer));
      const manifest = {
        ...site.manifest(dump),
        file: newer,
        started: "2026-11-21T00:00:00.000Z",
        label: "before_restore",
      };
      fs.writeFileSync(path.join(other.dumps, `${newer}.json`), JSON.stringify(manifest));
      fs.copyFileSync(path.join(site.dumps, dump), path.join(other.dumps, "shop_20261122T000000Z.dump"));
      execFileSync("chmod", ["-R", "g+rX", other.dumps]);
      const picked = async (...which: string[]): Promise<string> => {
        const plan = await other.run("restore.sh", [...which, "--database", "shop", "--new", "x", "--plan"]);
        return /\/(\w[\w-]*\.dump) is what its manifest says/.exec(plan.stderr)?.[1] ?? plan.stderr;
      };
      assert.equal(await picked("latest"), names[2]);
      assert.equal(await picked("--at", "2026-11-20 14:00"), names[2]);
      assert.equal(await picked("--at", "2026-11-20 13:59:59"), names[1]);
      assert.equal(await picked("--at", "2026-11-20T15:00+0100"), names[2]);
      assert.equal(await picked("--at", "2026-11-20 14:59 +01:00"), names[1]);
      assert.equal(await picked("--at", "2026-11-19 02:00:01"), names[0], "half a second too late");
      assert.match(
        await picked("--at", "2026-11-18 00:00"),
        /no verified dump of database 'shop' taken not after 2026-11-18T00:00:00\.000Z/,
      );
      other.remove();
    });
  });
});
