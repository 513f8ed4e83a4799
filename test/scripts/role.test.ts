/** The role as the agent makes and observes it, where the server's version does not matter. */
import * as assert from "node:assert/strict";
import type { Grants } from "../../components/render/roleSql";
import { factsOf, RoleAgent } from "./agent";
import { Cluster } from "./cluster";

const options = { databases: ["shop"], bypassRls: false, largeObjects: false };
const all: Grants = { ...options, grants: "all" };
const schemas: Grants = { ...options, grants: [{ database: "shop", schemas: ["public"], owners: ["app"] }] };

describe("the role, granted by schema", function () {
  let cluster: Cluster;
  let agent: RoleAgent;

  before(() => {
    cluster = new Cluster();
    agent = new RoleAgent(cluster);
    cluster.sql("postgres", "create role other");
  });

  beforeEach(() => {
    cluster.createDatabase("shop", "create table plain (id serial); insert into plain default values");
    cluster.sql("shop", "grant create on schema public to other");
  });

  afterEach(() => cluster.asPostgres("dropdb", ["--if-exists", "shop"]));

  after(() => cluster.stop());

  it("names the first twenty of many tables that are not covered, and says how many more there are", async () => {
    await agent.apply(schemas);
    const many = Array.from({ length: 25 }, (_, n) => `create table t${String(n).padStart(2, "0")} (id int);`);
    cluster.sql("shop", `set role other; ${many.join(" ")}`);
    const facts = factsOf(schemas);
    const found = (await agent.observe(schemas)).filter((fact) => !facts.includes(fact));
    const named = Array.from({ length: 20 }, (_, n) => `table t${String(n).padStart(2, "0")} of role other`);
    const lines = [...named.map((table) => `may not read ${table}`), "and 5 more like these"];
    assert.deepEqual(
      found,
      lines.map((line) => `${line} in database shop`),
    );
  });

  it("names all that the night would lack, at once", async () => {
    await agent.apply(schemas);
    cluster.sql(
      "shop",
      `create schema unnamed; create table unnamed.t (id serial); revoke select on plain from ${cluster.role}`,
    );
    const { code, stdout } = await agent.audit(schemas);
    assert.equal(code, 4, stdout);
    assert.match(stdout, /CANNOT DUMP: it may not use these schemas .*grantSchemas\): unnamed$/m);
    assert.match(stdout, /CANNOT DUMP: it may not read .*: public\.plain, unnamed\.t, unnamed\.t_id_seq$/m);
    assert.match(stdout, /^ {2}reads: 0 of 2 tables, 1 of 2 sequences, 1 of 2 schemas/m);
    const site = agent.site(schemas);
    try {
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(
        night.stderr,
        /cannot dump all of it: it may not use these schemas .*: unnamed; it may not read .*: public\.plain, unnamed\.t, unnamed\.t_id_seq$/m,
      );
      assert.deepEqual(site.files, []);
    } finally {
      site.remove();
    }
  });

  it("refuses schemas and roles that are not there, and a schema with tables that is not named", async () => {
    cluster.sql("shop", `create schema "Odd one"; create table "Odd one".t (); create schema empty`);
    const grants = [{ database: "shop", schemas: ["public", "pubic"], owners: ["app", "ape"] }];
    assert.deepEqual(await agent.check({ ...schemas, grants }), [
      'grantSchemas: database "shop" has no schema "pubic". It has: Odd one, empty, public',
      'grantSchemas: does not name schema "Odd one" of database "shop", which holds tables: without them there is no dump',
      'grantOwners: there is no role "ape"',
    ]);
    cluster.sql("shop", 'drop schema "Odd one" cascade');
    assert.deepEqual(await agent.check(schemas), []);
  });

  it("is seen as it is by a server that warns whoever logs in", async () => {
    await cluster.whileWarning(async () => {
      await agent.apply(schemas);
      assert.deepEqual(await agent.observe(schemas), factsOf(schemas));
      assert.deepEqual(await agent.check(schemas), []);
    });
  });

  it("is each database's own, whatever it is called", async () => {
    cluster.createDatabase("a=b", "create schema mine; create table mine.t (id int)");
    const both: Grants = {
      ...schemas,
      databases: ["a=b", "shop"],
      grants: [
        { database: "a=b", schemas: ["mine"], owners: ["other"] },
        { database: "shop", schemas: ["public"], owners: ["app"] },
      ],
    };
    try {
      await agent.apply(both);
      assert.deepEqual(await agent.observe(both), factsOf(both));
      assert.deepEqual(await agent.answers("shop", ["select id from plain"]), ["1"]);
      assert.deepEqual(await agent.answers("dbname='a=b'", ["select count(*) from mine.t"]), ["0"]);
      await agent.apply(schemas);
      assert.deepEqual(await agent.observe(schemas), factsOf(schemas));
    } finally {
      cluster.sql("postgres", 'drop database "a=b"');
    }
  });

  it("stays readable all the while that one way gives place to the other", async () => {
    await agent.apply(all);
    const reader = agent.session("shop", "select id from plain \\watch 0.001\n");
    for (const grants of [schemas, all, schemas, all]) await agent.apply(grants);
    try {
      process.kill(reader.pid);
    } catch {
      // It ended at the first error, which is told below.
    }
    const { stdout, stderr } = await reader.outcome;
    assert.deepEqual([new Set(stdout.match(/^\d+$/gm)), stderr], [new Set(["1"]), ""]);
  });
});
