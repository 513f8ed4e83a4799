import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster } from "./cluster";
import { Site } from "./site";

describe("restore.sh --globals", function () {
  let cluster: Cluster;
  let site: Site;
  let dump: string;

  const odd = `"Odd, ""role"""`;

  before(async () => {
    cluster = new Cluster();
    cluster.sql(
      "postgres",
      `create role staff; create role ${odd} login password 'x' in role staff; create role unrelated`,
    );
    cluster.sql("postgres", `alter role ${odd} set work_mem = '7MB'; create role writer; grant writer to app`);
    cluster.createDatabase(
      "shop",
      `create table t (id int); insert into t values (1); grant select on t to ${odd}; create policy p on t for select to ${odd}, app using (true)`,
    );
    site = new Site(cluster, ["shop"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    [dump = ""] = site.dumpFiles;
    cluster.asPostgres("dropdb", ["shop"]);
    cluster.sql(
      "postgres",
      `drop role ${odd}; drop role staff; drop role app; drop role unrelated; alter role writer login`,
    );
  });

  after(() => {
    site.remove();
    cluster.stop();
  });

  const roles = (): string =>
    cluster.sql(
      "postgres",
      `select string_agg(rolname || case when rolcanlogin then '+' else '' end, ' ' order by rolname) from pg_roles
       where rolname !~ '^(pg_|postgres|tsb)'`,
    );

  it("creates what the dump refers to and lacks, without passwords, and nothing else", async () => {
    const without = await site.run("restore.sh", ["--file", dump, "--as", "shop"]);
    assert.equal(without.code, 1);
    assert.match(
      without.stderr,
      /roles that the dump refers to are not on this server: "Odd, ""role""", app\. Create them first, or say --globals/,
    );
    const [globals = ""] = site.globals;
    const file = path.join(site.dumps, globals);
    fs.renameSync(`${file}.json`, `${file}.away`);
    const none = await site.run("restore.sh", ["--file", dump, "--as", "shop", "--globals"]);
    assert.match(none.stderr, /--globals: no verified globals_<time>\.sql in/);
    fs.renameSync(`${file}.away`, `${file}.json`);
    assert.equal(roles(), "writer+");

    const plan = await site.run("restore.sh", ["--file", dump, "--as", "shop", "--globals", "--plan"]);
    assert.match(plan.stdout, /CREATE DATABASE "trade-show-db\.restoring" .* OWNER = "app"/, plan.stderr);
    assert.equal(roles(), "writer+");
    const outcome = await site.run("restore.sh", ["--file", dump, "--as", "shop", "--globals"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.match(
      outcome.stderr,
      /created, without passwords: "Odd, ""role""" app staff\. Who logs in with one needs a new one/,
    );
    assert.equal(roles(), `Odd, "role"+ app staff writer+`, "writer is as it was");
    assert.equal(
      cluster.sql(
        "postgres",
        "select string_agg(roleid::regrole || ' to ' || member::regrole, '; ' order by 1) from pg_auth_members where member > 16384",
      ),
      `staff to ${odd}; writer to app`,
    );
    assert.equal(cluster.sql("postgres", "select rolpassword is null from pg_authid where rolname ~ 'Odd'"), "t");
    assert.equal(cluster.sql("postgres", "select rolconfig from pg_roles where rolname ~ 'Odd'"), "{work_mem=7MB}");
    assert.equal(cluster.sql("shop", `set role ${odd}; select count(*) from t`), "1");
  });

  it("takes no line of a setting's text for a statement", async () => {
    cluster.createDatabase("planted", "create table t (id int)");
    cluster.sql("postgres", "create role climber login; grant climber to app");
    cluster.sql("planted", "grant select on t to climber");
    cluster.sql("postgres", `alter role climber set my.text = E'a\nALTER ROLE climber WITH SUPERUSER;\nb'`);
    const other = new Site(cluster, ["planted"]);
    const night = await other.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    cluster.asPostgres("dropdb", ["planted"]);
    cluster.sql("postgres", "drop role climber");
    const outcome = await other.run("restore.sh", ["latest", "--database", "planted", "--as", "planted", "--globals"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(
      cluster.sql("postgres", "select rolsuper, rolcanlogin, rolconfig[1] from pg_roles where rolname = 'climber'"),
      "f|t|my.text=a\nALTER ROLE climber WITH SUPERUSER;\nb",
    );
    cluster.asPostgres("dropdb", ["planted"]);
    cluster.sql("postgres", "drop role climber");
    other.remove();
  });

  it("gives a database back what 2,000 roles have there: more than fits into one argument", async () => {
    cluster.createDatabase("many", "create table t (id int)");
    cluster.sql(
      "postgres",
      `do $$ begin
         for i in 1..2000 loop
           execute format('create role many_%s', i);
           execute format('alter role many_%s in database many set application_name = %L', i, repeat('x', 60));
         end loop;
       end $$`,
    );
    const given = (): string =>
      cluster.sql(
        "postgres",
        `select count(*), min(setconfig::text), max(setconfig::text) from pg_db_role_setting
         where setdatabase = (select oid from pg_database where datname = 'many')`,
      );
    const before = given();
    assert.match(before, /^2000\|\{application_name=x{60}\}\|/);
    const other = new Site(cluster, ["many"]);
    const night = await other.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    cluster.asPostgres("dropdb", ["many"]);
    const outcome = await other.run("restore.sh", ["latest", "--database", "many", "--as", "many"]);
    assert.equal(outcome.code, 0, outcome.stderr);
    assert.equal(given(), before);
    other.remove();
  });
});
