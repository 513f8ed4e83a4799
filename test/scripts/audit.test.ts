import * as assert from "node:assert/strict";
import { Cluster } from "./cluster";
import { Site } from "./site";

describe("audit of the role", function () {
  let cluster: Cluster;
  let site: Site;

  before(() => {
    cluster = new Cluster();
    cluster.sql(
      "postgres",
      `alter role ${cluster.role} connection limit 20; alter role ${cluster.role} set default_transaction_read_only = on;
      create role other`,
    );
  });

  beforeEach(() => {
    cluster.createDatabase("shop", "create table plain (id serial); create schema s; create table s.t (id int)");
    site = new Site(cluster, ["shop"]);
  });

  afterEach(() => {
    site.remove();
    cluster.asPostgres("dropdb", ["shop"]);
  });

  after(() => cluster.stop());

  it("says all that a role can do that reads everything and nothing else, and exits with 0", async () => {
    const { code, stdout, stderr } = await site.run("backup.sh", ["--audit"]);
    assert.equal(code, 0, stdout + stderr);
    assert.equal(
      stdout,
      `Role ${cluster.role}
  attributes: login, connections at most 20
  settings: default_transaction_read_only=on
  member of: pg_read_all_data

Database 'shop'
  reads: 2 of 2 tables, 1 of 1 sequences, 2 of 2 schemas, 0 of 0 large objects
  as everybody: it may make, by privileges that PUBLIC has, unless its transaction is read-only: large objects, temporary tables

The dump would be complete. The role can do nothing but read.
`,
    );
    assert.deepEqual(site.files, []);
  });

  const incomplete: [string, string, RegExp][] = [
    [
      "row security",
      "alter table plain enable row level security",
      /CANNOT DUMP: tables under row-level.*: public\.plain$/m,
    ],
    ["a large object", "select lo_create(4711)", /CANNOT DUMP: large objects that it may not read.*: 4711$/m],
  ];
  for (const [what, sql, message] of incomplete) {
    it(`exits with 4 for ${what}, which the dump would lack`, async () => {
      cluster.sql("shop", `set role app; ${sql}`);
      const { code, stdout } = await site.run("backup.sh", ["--audit"]);
      assert.equal(code, 4, stdout);
      assert.match(stdout, message);
      assert.match(stdout, /^The dump would be INCOMPLETE, or fail\. The role can do nothing but read\.$/m);
    });
  }

  it("exits with 4 for a database that is not there, and says the rest of the others", async () => {
    const missing = new Site(cluster, ["nowhere", "shop"]);
    const { code, stdout } = await missing.run("backup.sh", ["--audit"]);
    assert.equal(code, 4, stdout);
    assert.match(
      stdout,
      new RegExp(
        `^Role ${cluster.role}\n[^]*\n\nDatabase 'nowhere'\n {2}CANNOT DUMP: .* "nowhere" does not exist\n` +
          `\nDatabase 'shop'\n {2}reads: 2 of 2 tables,[^]*\nThe dump would be INCOMPLETE, or fail\\. The role can do nothing but read\\.\n$`,
      ),
    );
    missing.remove();
  });

  const excess: [string, string, string, RegExp][] = [
    ["write to a table", "grant insert on plain to ROLE", "", /it may write to .*: public\.plain$/m],
    ["write to a column", "grant update (id) on s.t to public", "", /it may write to .*: s\.t$/m],
    ["move a sequence on", "grant usage on plain_id_seq to ROLE", "", /it may write to .*: public\.plain_id_seq$/m],
    ["make tables", "grant create on schema s to ROLE", "", /it may make objects in .*: schema s$/m],
    ["make schemas", "grant create on database shop to ROLE", "", /it may make objects in .*: the database$/m],
    [
      "drop what it owns",
      "create type mood as enum ('x'); alter type mood owner to ROLE",
      "drop type mood",
      /it owns objects .*: type public\.mood$/m,
    ],
    [
      "write by a function",
      "create function f() returns void language sql security definer as 'insert into plain values (1)'",
      "",
      /it may call these functions, which write with the rights of their owner .*: public\.f\(\)$/m,
    ],
    [
      "read the server's files",
      "grant execute on function pg_read_file(text) to ROLE",
      "revoke execute on function pg_read_file(text) from ROLE",
      /it may call these functions of the server .*: pg_read_file\(text\)$/m,
    ],
    ["become another role", "grant other to ROLE", "revoke other from ROLE", /it is a member of .*: other$/m],
    ["be become", "grant ROLE to other", "revoke ROLE from other", /roles may become it .*: other$/m],
    ["make databases", "alter role ROLE createdb", "alter role ROLE nocreatedb", /attributes .*: createdb$/m],
    [
      "write by default",
      "alter role ROLE in database shop set default_transaction_read_only = off",
      "alter role ROLE in database shop reset all",
      /its settings let it write.*: default_transaction_read_only is not on$/m,
    ],
  ];
  for (const [what, sql, undo, message] of excess) {
    it(`exits with 8 for a role that may ${what}`, async () => {
      const statement = (text: string) => text.replaceAll("ROLE", cluster.role);
      cluster.sql("shop", statement(sql));
      try {
        const { code, stdout, stderr } = await site.run("backup.sh", ["--audit"]);
        assert.equal(code, 8, stdout + stderr);
        assert.match(stdout, message);
        assert.equal(stdout.match(/CAN DO MORE/g)?.length, 1, stdout);
        assert.match(stdout, /^The dump would be complete\. The role can do MORE than it should\.$/m);
      } finally {
        if (undo !== "") cluster.sql("shop", statement(undo));
      }
    });
  }

  it("goes with no other action", async () => {
    for (const other of ["--list", "--now"]) assert.equal((await site.run("backup.sh", ["--audit", other])).code, 2);
  });
});
