import * as assert from "node:assert/strict";
import { Cluster, type Outcome } from "./cluster";
import { Site } from "./site";

describe("dumpability, each night", function () {
  let cluster: Cluster;
  let site: Site;

  before(() => {
    cluster = new Cluster();
  });

  beforeEach(() => {
    cluster.createDatabase("shop", "create table plain (id int); insert into plain values (1)");
    site = new Site(cluster, ["shop"]);
  });

  afterEach(() => {
    site.remove();
    cluster.asPostgres("dropdb", ["shop"]);
  });

  after(() => cluster.stop());

  /** A night and a rehearsal: both must come to the same end. */
  async function bothEnd(code: number): Promise<readonly [Outcome, Outcome]> {
    const night = await site.run("backup.sh");
    const dry = await site.run("backup.sh", ["--dry-run"]);
    assert.deepEqual([night.code, dry.code], [code, code], night.stderr + dry.stderr);
    if (code !== 0) assert.deepEqual(site.files, []);
    return [night, dry];
  }

  const warnings = (): readonly string[] => site.manifest(site.dumpFiles[0] ?? "").warnings;

  const errors: [string, string, RegExp][] = [
    [
      "row security",
      "create table walled (id int); alter table walled enable row level security",
      /tables under row-level security, which it cannot bypass .*: public\.walled$/m,
    ],
    [
      "a large object",
      "select lo_create(4711); select lo_create(4712); grant select on large object 4712 to public",
      /large objects that it may not read .*: 4711$/m,
    ],
  ];
  for (const [what, sql, message] of errors) {
    it(`${what} that would lose rows is an error before anything is written`, async () => {
      cluster.sql("shop", `set role app; ${sql}`);
      for (const outcome of await bothEnd(1)) assert.match(outcome.stderr, message);
    });
  }

  it("names all that the role may not read at once", async () => {
    cluster.sql("postgres", `revoke pg_read_all_data from ${cluster.role}`);
    try {
      cluster.sql(
        "shop",
        `create schema hidden; create table hidden.t (id serial); create table "Odd one" (id int);
        grant select on plain to ${cluster.role}`,
      );
      const message =
        /cannot dump all of it: it may not use these schemas .*: hidden; it may not read these tables and sequences .*: hidden\.t, hidden\.t_id_seq, public\."Odd one"$/m;
      for (const outcome of await bothEnd(1)) assert.match(outcome.stderr, message);
    } finally {
      cluster.sql("postgres", `grant pg_read_all_data to ${cluster.role}`);
    }
  });

  const leftOut: [string, string, RegExp, string?][] = [
    [
      "an unlogged table",
      "create unlogged table scratch (id int)",
      /^unlogged tables are dumped, .*: public\.scratch$/,
    ],
    [
      "a subscription",
      "create subscription feed connection 'dbname=none' publication p with (connect = false)",
      /^subscriptions are left out, .*: feed$/,
      "alter subscription feed disable; alter subscription feed set (slot_name = none); drop subscription feed",
    ],
    [
      "a foreign server's options",
      `create foreign data wrapper dummy; create server elsewhere foreign data wrapper dummy options (host 'x');
       create user mapping for app server elsewhere options (password 'hush')`,
      /^foreign servers whose user mappings .*: elsewhere$/,
    ],
    [
      "a foreign table",
      `create foreign data wrapper dummy; create server elsewhere foreign data wrapper dummy;
       create foreign table far (id int) server elsewhere`,
      /^foreign tables are dumped without rows, .*: public\.far$/,
    ],
  ];
  for (const [what, sql, message, after] of leftOut) {
    it(`${what} is a warning in journal and manifest, and the night is good`, async () => {
      cluster.sql("shop", "select 1");
      for (const statement of sql.split(";")) cluster.sql("shop", statement);
      try {
        for (const outcome of await bothEnd(0))
          assert.match(outcome.stderr, new RegExp(`shop: warning: ${message.source.slice(1)}`, "m"));
        assert.ok(
          warnings().some((line) => message.test(line)),
          warnings().join("\n"),
        );
      } finally {
        for (const statement of (after ?? "select 1").split(";")) cluster.sql("shop", statement);
      }
    });
  }

  it("tables of extensions: those registered for pg_dump count as tables, others with rows are a warning", async () => {
    // An extension as pg_dump sees it, without its files: members, one of them registered.
    cluster.sql(
      "shop",
      `create table kept (id int); create table dropped (id int); insert into dropped values (1);
      insert into kept select generate_series(1, 5);
      alter extension plpgsql add table kept; alter extension plpgsql add table dropped;
      update pg_extension set extconfig = array['kept'::regclass::oid], extcondition = array['where id > 2']
        where extname = 'plpgsql'`,
    );
    const [night] = await bothEnd(0);
    assert.deepEqual(site.manifest(site.dumpFiles.at(-1) ?? "").extension_tables, { "public.kept": 3 });
    assert.match(night.stderr, /warning: tables of extensions hold rows that are left out, .*: public\.dropped$/m);
    cluster.sql("shop", "alter table kept enable row level security");
    const bad = await site.run("backup.sh");
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /row-level security.*: public\.kept$/m);
  });

  it("a database that warns whoever logs in is dumped, and its warning is in the manifest", async () => {
    cluster.asPostgres("dropdb", ["shop"]);
    cluster.asPostgres("createdb", ["--locale-provider=icu", "--icu-locale=en", "--template=template0", "shop"]);
    cluster.sql("shop", "create table plain (id int); insert into plain values (1)");
    // As after an upgrade of the operating system.
    cluster.sql("postgres", "update pg_database set datcollversion = '1' where datname = 'shop'");
    const [night] = await bothEnd(0);
    const { tables, server_version: version } = site.manifest(site.dumpFiles[0] ?? "");
    assert.deepEqual(tables, { "public.plain": 1 });
    assert.equal(version, cluster.sql("postgres", "show server_version"));
    assert.ok(
      warnings().some((line) => line.includes('database "shop" has a collation version mismatch')),
      warnings().join("\n"),
    );
    assert.match(night.stderr, /shop: warning: .*has a collation version mismatch/);
    const audit = await site.run("backup.sh", ["--audit"]);
    assert.equal(audit.code, 8, audit.stderr + audit.stdout); // the role of these tests is not held to reading
    assert.match(audit.stdout, /^ {2}reads: 1 of 1 tables, .*$/m);
    assert.match(audit.stdout, /^The dump would be complete\. /m);
  });

  it("an ordinary database has nothing to report", async () => {
    const [night] = await bothEnd(0);
    assert.deepEqual(warnings(), []);
    assert.ok(!night.stderr.includes("shop: warning"), night.stderr);
  });
});
