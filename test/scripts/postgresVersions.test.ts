/**
 * The role and its audit on every version of PostgreSQL that is supported: what it can do, and what it cannot; and, where
 * this machine's clients do, a night and its restore.
 */
import * as assert from "node:assert/strict";
import { postgresServer, postgresVersions } from "../../lab/postgresServers";
import type { Grants } from "../../components/render/roleSql";
import { factsOf, RoleAgent } from "./agent";
import { Cluster, start, until } from "./cluster";

const options = { databases: ["shop"], bypassRls: false, largeObjects: false };
const all: Grants = { ...options, grants: "all" };
const schemas: Grants = {
  ...options,
  grants: [{ database: "shop", schemas: ["public", "Odd one"], owners: ["app"] }],
};

/** An application's database: two schemas, tables with sequences, a view, partitions. */
const shop = `create schema "Odd one"; create table plain (id serial, v text); insert into plain (v) values ('x');
  create table "Odd one"."T" (id int generated always as identity, v text); create view seen as select * from plain;
  create table parent (id int) partition by range (id); create table child partition of parent default`;

/** What the role is refused by its privileges alone. */
const refused = [
  "insert into plain (v) values ('y')",
  "update plain set v = 'y'",
  "delete from plain",
  "truncate plain",
  "select * from plain for update",
  "begin; lock table plain in share mode",
  "create schema mine",
  'create table "Odd one".mine ()',
  "select nextval('plain_id_seq')",
  "select setval('plain_id_seq', 1)",
  "alter table plain add c int",
  "drop table plain",
  "create role mine",
  "create database mine",
  "set role app",
  "alter system set work_mem = '1MB'",
  "copy plain from '/etc/hostname'",
  "copy plain to program 'cat'",
  "select pg_read_file('/etc/hostname')",
  "create publication mine",
];

for (const version of postgresVersions) {
  describe(`PostgreSQL ${version}`, function () {
    let cluster: Cluster;
    let agent: RoleAgent;
    /** Since 15, PUBLIC may no longer make tables in schema public of a new database. */
    const isOpen = version < 15;

    before(async function () {
      cluster = new Cluster(await postgresServer(version));
      agent = new RoleAgent(cluster);
      cluster.sql("postgres", "create role other; create role stranger");
    });

    beforeEach(() => {
      cluster.createDatabase("shop", shop);
      cluster.sql("shop", "grant create on schema public to other");
    });

    afterEach(() => cluster.asPostgres("dropdb", ["--if-exists", "shop"]));

    after(() => cluster.stop());

    it("is the version meant", () => assert.equal(cluster.version, version));

    for (const grants of version < 14 ? [schemas] : [all, schemas]) {
      const way = grants.grants === "all" ? "all" : "schemas";

      it(`grants ${way}: a role that has just what was declared, whatever it had`, async () => {
        entangle();
        await agent.apply(grants);
        assert.deepEqual(await agent.observe(grants), factsOf(grants));
      });

      it(`grants ${way}: it reads what there is, and what the application makes later`, async () => {
        await agent.apply(grants);
        cluster.sql("shop", `set role app; create table later (id serial); create table "Odd one".later (id serial)`);
        const names = cluster
          .sql(
            "shop",
            `select format('%I.%I', n.nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
             where relkind in ('r', 'p', 'v', 'S') and nspname in ('public', 'Odd one')`,
          )
          .split("\n");
        assert.equal(names.length, 11, names.join(" "));
        const reads = names.map((name) => `select 'open' from ${name} right join (values (1)) as one on true`);
        assert.deepEqual(await agent.answers("shop", reads), Array(11).fill("open"));
        assert.deepEqual(await agent.observe(grants), factsOf(grants));
      });

      it(`grants ${way}: it can change nothing`, async () => {
        await agent.apply(grants);
        const answers = await agent.answers("shop", refused, true);
        assert.deepEqual(
          refused.map((sql, index) => `${answers[index]} ${sql}`),
          refused.map((sql) => `42501 ${sql}`),
        );
        const make = ["create table mine ()"];
        assert.deepEqual(await agent.answers("shop", make), ["25006"]);
        assert.deepEqual(await agent.answers("shop", make, true), [isOpen ? "" : "42501"]);
        // It can be dropped with the database, but not with the role.
        cluster.sql("shop", "drop table if exists mine");
      });

      it(`grants ${way}: the audit finds it complete, and that PUBLIC may make tables where it may`, async () => {
        await agent.apply(grants);
        if (isOpen) {
          const { code, stdout } = await agent.audit(grants);
          assert.equal(code, 8, stdout);
          assert.match(
            stdout,
            /CAN DO MORE: it may make objects in \(revoke create, from public too\): schema public$/m,
          );
          cluster.sql("shop", "revoke create on schema public from public");
        }
        const { code, stdout, stderr } = await agent.audit(grants);
        assert.equal(code, 0, stdout + stderr);
        assert.equal(
          stdout,
          `Role ${cluster.role}
  attributes: login, connections at most 20
  settings: default_transaction_read_only=on
  member of: ${way === "all" ? "pg_read_all_data" : "no role"}

Database 'shop'
  reads: 4 of 4 tables, 2 of 2 sequences, 2 of 2 schemas, 0 of 0 large objects
  as everybody: it may make, by privileges that PUBLIC has, unless its transaction is read-only: large objects, temporary tables

The dump would be complete. The role can do nothing but read.
`,
        );
      });

      it(`grants ${way}: it reads past row-level security and all large objects if that is set, and only then`, async () => {
        const reads = ["set row_security = off; select v from plain", "select lo_get(4711)", "select lo_get(4712)"];
        cluster.sql(
          "shop",
          `revoke create on schema public from public; set role app; select lo_from_bytea(4711, 'a');
          alter table plain enable row level security`,
        );
        await agent.apply(grants);
        assert.deepEqual((await agent.answers("shop", reads)).slice(0, 2), ["42501", "42501"]);
        const closed = await agent.audit(grants);
        assert.equal(closed.code, 4, closed.stdout);
        assert.match(closed.stdout, /CANNOT DUMP: tables under row-level .* \(setting bypassRls\): public\.plain$/m);
        assert.match(closed.stdout, /CANNOT DUMP: large objects .* \(setting largeObjects\): 4711$/m);

        const opened = { ...grants, bypassRls: true, largeObjects: true };
        await agent.apply(opened);
        assert.deepEqual(await agent.observe(opened), factsOf(opened));
        cluster.sql("shop", "set role app; select lo_from_bytea(4712, 'b')");
        assert.deepEqual(await agent.answers("shop", reads), ["x", "\\x61", "\\x62"]);
        const open = await agent.audit(opened);
        assert.equal(open.code, 0, open.stdout);
        assert.match(open.stdout, /^ {2}attributes: login, BYPASSRLS, connections/m);
        assert.match(open.stdout, / 2 of 2 large objects$/m);
        assert.match(
          open.stdout,
          /^ {2}as it is set: it may change, unless its transaction is read-only: large objects$/m,
        );

        // What the role has without being declared is more than it should.
        const undeclared = await agent.audit(grants);
        assert.equal(undeclared.code, 8, undeclared.stdout);
        assert.match(undeclared.stdout, /CAN DO MORE: it has attributes .*: bypassrls$/m);
        assert.match(
          undeclared.stdout,
          /CAN DO MORE: its settings .*: lo_compat_privileges is on, for large objects$/m,
        );
        await agent.apply(grants);
        assert.deepEqual(await agent.observe(grants), factsOf(grants));
      });

      it(`grants ${way}: it goes, and leaves the database as it was`, async () => {
        await agent.remove(grants);
        const before = privileges();
        cluster.sql("postgres", `create role ${cluster.role}`);
        entangle();
        await agent.apply(grants);
        await agent.remove(grants);
        assert.deepEqual(privileges(), before);
        assert.equal(cluster.sql("shop", "select v from plain"), "x");
        await agent.remove(grants);
        await agent.apply(grants);
      });

      // Debian 12's pg_dump is of 15.
      if (version <= 15) {
        it(`grants ${way}: it suffices for a whole night`, async () => {
          await agent.apply(grants);
          const site = agent.site(grants);
          try {
            const { code, stderr } = await site.run("backup.sh");
            assert.equal(code, 0, stderr);
            const { tables } = site.manifest(site.dumpFiles[0] ?? "");
            assert.deepEqual(tables, { '"Odd one"."T"': 0, "public.child": 0, "public.plain": 1 });
          } finally {
            site.remove();
          }
        });
      }
    }

    if (version <= 15) {
      it("a night's dump goes back over the database while that is in use, and is verified", async () => {
        await agent.apply(schemas);
        const site = agent.site(schemas);
        const session = start(
          "runuser",
          ["-u", "postgres", "--", "psql", "-Xqd", "shop", "-c", "select pg_sleep(600)"],
          cluster.env,
        );
        const inUse = "select count(*) from pg_stat_activity where query = 'select pg_sleep(600)'";
        try {
          const night = await site.run("backup.sh");
          assert.equal(night.code, 0, night.stderr);
          cluster.sql("shop", `delete from plain; insert into "Odd one"."T" (v) values ('later')`);
          await until("the database is in use", () => cluster.sql("postgres", inUse) === "1");
          const restore = await site.run("restore.sh", ["latest", "--database", "shop", "--into", "shop"], "shop\n");
          assert.equal(restore.code, 0, restore.stdout + restore.stderr);
          assert.notEqual((await session.outcome).code, 0, "the session was ended");
          assert.equal(cluster.sql("shop", "select v from plain"), "x");
          assert.equal(cluster.sql("shop", `select count(*) from "Odd one"."T"`), "0");
          assert.deepEqual(await agent.observe(schemas), factsOf(schemas), "the role has what it had");
        } finally {
          site.remove();
        }
      });
    }

    it("grants schemas: tells of a grant gone, one too many, a default gone, a table of somebody else's, and heals them", async () => {
      await agent.apply(schemas);
      const { role } = cluster;
      cluster.sql(
        "shop",
        `revoke select on plain from ${role}; grant insert on seen to ${role}; grant select (id) on parent to ${role};
        grant select on child to ${role} with grant option; revoke usage on schema "Odd one" from ${role};
        alter default privileges for role app in schema public revoke select on sequences from ${role};
        set role other; create table theirs (id serial)`,
      );
      const then = factsOf(schemas);
      const now = await agent.observe(schemas);
      assert.deepEqual(
        then.filter((fact) => !now.includes(fact)),
        [
          "SELECT on default privileges on new sequences belonging to role app in schema public in database shop",
          "USAGE on schema Odd one in database shop",
        ],
      );
      assert.deepEqual(
        now.filter((fact) => !then.includes(fact)),
        [
          "INSERT, SELECT on view seen in database shop",
          "SELECT on column id of table parent in database shop",
          "SELECT with grant option on table child in database shop",
          "may not read sequence theirs_id_seq of role other in database shop",
          "may not read table plain of role app in database shop",
          "may not read table theirs of role other in database shop",
        ],
      );
      await agent.apply(schemas);
      assert.deepEqual(await agent.observe(schemas), then);
      assert.deepEqual(await agent.answers("shop", ["select count(*) from theirs"]), ["0"]);
    });

    if (version >= 14) {
      it("leaves nothing of one way behind when it goes over to the other", async () => {
        cluster.sql("shop", "revoke create on schema public from public");
        await agent.apply(all);
        await agent.apply(schemas);
        assert.deepEqual(await agent.observe(schemas), factsOf(schemas));
        assert.equal((await agent.audit(schemas)).code, 0);
        await agent.apply(all);
        assert.deepEqual(await agent.observe(all), factsOf(all));
        assert.deepEqual(
          privileges().filter((line) => line.includes(cluster.role)),
          [`member ${cluster.role} of pg_read_all_data`, `shop: ${cluster.role}=c/app`],
        );
        const { code, stdout } = await agent.audit(schemas);
        assert.equal(code, 8);
        assert.match(stdout, /CAN DO MORE: it is a member of .*: pg_read_all_data$/m);
      });
    }

    /** Gives the role all that it must not have. */
    function entangle(): void {
      const { role } = cluster;
      cluster.sql(
        "shop",
        `alter role ${role} createdb createrole noinherit password 'guess' valid until '2030-01-01' connection limit 3;
        grant app to ${role} with admin option; grant ${role} to stranger; grant pg_monitor to ${role};
        grant all on plain to ${role}; grant update (v) on plain to ${role}; grant all on sequence plain_id_seq to ${role};
        grant create on database shop to ${role}; grant create on schema public to ${role};
        alter default privileges for role app grant insert on tables to ${role};
        alter role ${role} in database shop set default_transaction_read_only = off; alter role ${role} set search_path = x`,
      );
      if (version < 16) return;
      // Since 16 a membership is its grantor's, and may be one without the group's privileges.
      cluster.sql("shop", `grant app to other with admin true; grant pg_read_all_data to ${role} with inherit false`);
      cluster.sql("shop", `set role other; grant app to ${role}`);
    }

    /** Every privilege in the database, also those by default, and memberships. */
    function privileges(): string[] {
      return cluster
        .sql(
          "shop",
          `select format('%s: %s', c.oid::regclass, a) as line from pg_class c,
            unnest(coalesce(relacl, acldefault(case relkind when 'S' then 's' else 'r' end::"char", relowner))) a
            where relnamespace in (select oid from pg_namespace where nspname in ('public', 'Odd one')) and relkind <> 'i'
          union all select format('%s.%s: %s', attrelid::regclass, attname, attacl) from pg_attribute
            where attacl is not null and attrelid >= 16384
          union all select format('%s: %s', nspname, a) from pg_namespace, unnest(coalesce(nspacl, acldefault('n', nspowner))) a
            where nspname !~ '^pg_toast'
          union all select format('%s: %s', datname, a) from pg_database, unnest(coalesce(datacl, acldefault('d', datdba))) a
          union all select format('default of %s: %s', defaclrole::regrole, defaclacl) from pg_default_acl
          union all select format('member %s of %s', member::regrole, roleid::regrole) from pg_auth_members
            where member::regrole::text !~ '^(other|pg_)' order by line`,
        )
        .split("\n");
    }
  });
}
