/**
 * A database with something of everything comes back as it was: pg_dump of what was restored is that of the original,
 * word by word. With --create, so that it covers the database itself (owner, encoding, locale, settings, grants, comment)
 * besides schema, rows, large objects, owners, grants and comments.
 *
 * What differs all the same is made the same by `comparable`: see there.
 */
import * as assert from "node:assert/strict";
import * as path from "node:path";
import { Cluster, type Outcome } from "./cluster";
import { comparable, definition } from "./roundTrip/definition";
import { Site } from "./site";

/** Everything that its owner may make, in a database with ICU's sort order. */
const owned = `The owner's "own" \\ database`;
/** The same and what only a superuser can make. */
const all = "shop";

describe("round trip", function () {
  let cluster: Cluster;
  let site: Site;
  const originals = new Map<string, string>();

  before(async () => {
    cluster = new Cluster();
    cluster.sql("postgres", `create role reader; create role "Odd, ""role"""`);
    makeTablespace("elsewhere");
    const icu = ["--template=template0", "--locale-provider=icu", "--icu-locale=de-u-co-phonebk"];
    cluster.asPostgres("createdb", ["--owner=app", ...icu, "--", owned]);
    cluster.asPostgres("createdb", ["--owner=app", all]);
    for (const database of [owned, all]) {
      cluster.runFile(database, "postgres", definition("database"));
      cluster.runFile(database, "app", definition("ofItsOwner"));
    }
    cluster.runFile(all, "postgres", definition("ofASuperuser"));
    site = new Site(cluster, [owned, all]);
  });

  after(() => {
    site.remove();
    cluster.stop();
  });

  /** Whoever restores over a renamed original finds it again under this name. */
  const kept = (database: string): string => `${database} kept`;
  const rename = (from: string, to: string): string =>
    cluster.sql("postgres", `alter database ${quoted(from)} rename to ${quoted(to)}`);
  const original = (database: string): string => originals.get(database) ?? assert.fail(database);
  const restore = (database: string, ...where: string[]): Promise<Outcome> =>
    site.run("restore.sh", ["latest", "--database", database, ...where]);

  it("the job names what its role may not read; granted that, it dumps everything, and warns of what no dump holds", async () => {
    const refused = await site.run("backup.sh");
    assert.equal(refused.code, 1);
    assert.match(
      refused.stderr,
      /shop: error: .* cannot dump all of it: tables under row-level security, .*: public\.walled; large objects .*: 4711, 4712, 4713$/m,
    );
    assert.deepEqual(site.files, []);
    cluster.sql("postgres", `alter role ${cluster.role} bypassrls`);
    const grants = [4711, 4712, 4713].map((oid) => `grant select on large object ${oid} to ${cluster.role}`);
    for (const database of [owned, all]) {
      cluster.sql(database, grants.join(";"));
      originals.set(database, comparable(cluster.dump(database, "--create")));
    }
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    assert.deepEqual(
      night.stderr.match(/warning: .*/g),
      [
        "warning: unlogged tables are dumped, but a crash of the server empties them: public.scratch",
        "warning: foreign servers whose user mappings are dumped without their options (remote user, password): abroad",
        "warning: foreign tables are dumped without rows, which are on their servers: public.users_of_machine",
        "warning: unlogged tables are dumped, but a crash of the server empties them: public.scratch",
      ],
      night.stderr,
    );
  });

  for (const database of [owned, all]) {
    it(`--as, of ${database}: the same word by word`, async () => {
      rename(database, kept(database));
      const outcome = await restore(database, "--as", database);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.equal(comparable(cluster.dump(database, "--create")), original(database));
      assert.doesNotMatch(outcome.stderr, /warning/);
    });
  }

  it("--new, of what its owner may make: the same word by word", async () => {
    rename(owned, `${owned}, first copy`);
    const outcome = await restore(owned, "--new", owned);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(comparable(cluster.dump(owned, "--create")), original(owned));
  });

  it("--new, of what only a superuser can make: refused as a whole, and says what can", async () => {
    const outcome = await restore(all, "--new", "never");
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /permission denied to create extension "file_fdw"/);
    assert.match(outcome.stderr, /the new database 'never' is removed again\. .*: --as restores as superuser$/m);
    assert.equal(cluster.sql("postgres", "select count(*) from pg_database where datname ~ 'never|restoring'"), "0");
  });

  it("--into, over what is left of it: the same word by word, partitions with keys included", async () => {
    cluster.sql(
      all,
      `drop table parents cascade; drop schema tools cascade; delete from measured where device = 1; drop view simple cascade;
       insert into animals values (99, 'new'); update walled set secret = null; drop event trigger on_changes;
       select lo_unlink(4711), lo_put(4712, 0, 'changed'); revoke select on large object 4713 from ${cluster.role};
       drop table measured_2026_one; alter table itself drop constraint itself_pkey cascade; drop policy own_rows on walled`,
    );
    const outcome = await restore(all, "--into", all, "--yes");
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(comparable(cluster.dump(all, "--create")), original(all));
  });

  it("--into is refused, untouched, where a setting of the database forbids all changes", async () => {
    cluster.sql("postgres", `alter database ${all} set default_transaction_read_only = on`);
    const before = cluster.dump(all);
    const outcome = await restore(all, "--into", all, "--yes");
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /'shop' takes no changes, by a setting of its own: alter database "shop" reset/);
    assert.equal(cluster.dump(all), before);
    cluster.sql("postgres", `alter database ${all} reset default_transaction_read_only`);
  });

  it("a drill restores all of it as well", async () => {
    const drill = await site.run("drill.sh");
    assert.equal(drill.code, 0, drill.stderr);
  });

  it("a database of another encoding, which takes no changes by a setting, is the same word by word", async () => {
    const make = ["--owner=reader", "--template=template0", "--encoding=LATIN1", "--locale=C", "latin"];
    cluster.asPostgres("createdb", make);
    cluster.sql("latin", "set role reader; create table words (word text); insert into words values ('äöüß')");
    cluster.sql("postgres", "alter database latin set default_transaction_read_only = on");
    const before = cluster.dump("latin", "--create", "--encoding=UTF8");
    const other = new Site(cluster, ["latin"]);
    const night = await other.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    for (const mode of ["--as", "--new"]) {
      cluster.asPostgres("dropdb", ["latin"]);
      const outcome = await other.run("restore.sh", ["latest", "--database", "latin", mode, "latin"]);
      assert.equal(outcome.code, 0, outcome.stderr);
      assert.equal(cluster.dump("latin", "--create", "--encoding=UTF8"), before);
    }
    other.remove();
  });

  it("where roles and tablespaces of the database are missing, --new leaves out what concerns them, and says so", async () => {
    makeTablespace("gone");
    cluster.sql("postgres", "create role visitor");
    cluster.asPostgres("createdb", ["--owner=app", "--tablespace=gone", "far"]);
    cluster.sql("far", "create table t (id int) tablespace elsewhere; create index i on t (id) tablespace gone");
    cluster.sql("far", "alter table t owner to app; alter database far set work_mem = '7MB'");
    cluster.sql(
      "postgres",
      "grant create on database far to visitor; alter role visitor in database far set work_mem = '8MB'",
    );
    const other = new Site(cluster, ["far"]);
    assert.equal((await other.run("backup.sh")).code, 0);
    cluster.asPostgres("dropdb", ["far"]);
    cluster.sql("postgres", "drop role visitor");
    cluster.sql("postgres", "drop tablespace gone");
    const as = await other.run("restore.sh", ["latest", "--database", "far", "--as", "far"]);
    assert.equal(as.code, 1);
    assert.match(as.stderr, /roles that the dump refers to are not on this server: visitor\. Create them first/);
    const outcome = await other.run("restore.sh", ["latest", "--database", "far", "--new", "far"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.match(outcome.stderr, /grants, and settings of roles, are left out, because .*: visitor$/m);
    assert.match(
      outcome.stderr,
      /into the default tablespace, because those of the dump are not on this server: gone$/m,
    );
    assert.equal(
      cluster.sql(
        "far",
        "select datacl is null, (select setconfig from pg_db_role_setting where setdatabase = d.oid) from pg_database d where datname = 'far'",
      ),
      "t|{work_mem=7MB}",
    );
    other.remove();
  });

  function makeTablespace(name: string): void {
    const directory = path.join(cluster.directory, name);
    cluster.asPostgres("mkdir", [directory]);
    cluster.sql("postgres", `create tablespace ${name} location '${directory}'`);
  }
});

function quoted(name: string): string {
  return `"${name.replace(/"/g, '""')}"`;
}
