/** The read-only role: what PostgreSQL refuses it, what it reads, and when `up` refuses to make it. */
import * as assert from "node:assert/strict";
import { changed, Deployment, failure, warnings } from "./deployment";

const vmid = 2341;
const role = "trade_show_backup_prod";
const database = "expense_app_production";
const hba = "/etc/postgresql/15/main/pg_hba.conf";

/** Statements that would change something, and what PostgreSQL says where only privileges stand in their way. */
const refused: Readonly<Record<string, [sql: string, reason: RegExp]>> = {
  INSERT: ["INSERT INTO events SELECT * FROM events LIMIT 1", /permission denied for table events/],
  UPDATE: ["UPDATE expenses SET amount = 1", /permission denied for table expenses/],
  DELETE: ["DELETE FROM expenses", /permission denied for table expenses/],
  TRUNCATE: ["TRUNCATE expenses", /permission denied for table expenses/],
  "CREATE TABLE": ["CREATE TABLE mine (id int)", /permission denied for schema public/],
  "CREATE TABLE AS": ["CREATE TABLE mine AS SELECT 1", /permission denied for schema public/],
  "SELECT INTO": ["SELECT 1 AS id INTO mine", /permission denied for schema public/],
  "CREATE VIEW": ["CREATE VIEW mine AS SELECT 1", /permission denied for schema public/],
  "CREATE FUNCTION": [
    "CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1",
    /permission denied for schema public/,
  ],
  "CREATE INDEX": ["CREATE INDEX mine ON expenses (merchant)", /must be owner of table expenses/],
  "CREATE TRIGGER": [
    "CREATE TRIGGER mine BEFORE INSERT ON expenses EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    /permission denied for table expenses/,
  ],
  "CREATE SCHEMA": ["CREATE SCHEMA mine", /permission denied for database expense_app_production/],
  "CREATE EXTENSION": ["CREATE EXTENSION plpgsql SCHEMA public VERSION '1.0'", /already exists|permission denied/],
  "CREATE ROLE": ["CREATE ROLE mine", /permission denied to create role/],
  "CREATE DATABASE": ["CREATE DATABASE mine", /permission denied to create database/],
  "DROP TABLE": ["DROP TABLE expenses CASCADE", /must be owner of table expenses/],
  "DROP VIEW": ["DROP VIEW event_totals", /must be owner of view event_totals/],
  "DROP DATABASE": ["DROP DATABASE postgres", /must be owner of database postgres/],
  "DROP ROLE": ["DROP ROLE expense_app", /permission denied to drop role/],
  "ALTER TABLE": ["ALTER TABLE expenses ADD COLUMN mine int", /must be owner of table expenses/],
  "ALTER SEQUENCE": ["ALTER SEQUENCE expenses_id_seq RESTART", /must be owner of sequence expenses_id_seq/],
  "ALTER SYSTEM": ["ALTER SYSTEM SET work_mem = '1MB'", /permission denied to set parameter "work_mem"/],
  "ALTER ROLE": [`ALTER ROLE expense_app PASSWORD 'x'`, /must have CREATEROLE privilege|permission denied/],
  "COPY FROM": ["COPY events FROM STDIN", /permission denied for table events/],
  "COPY FROM a file": ["COPY events FROM '/etc/hostname'", /pg_read_server_files/],
  "COPY TO a program": ["COPY events TO PROGRAM 'cat'", /pg_execute_server_program/],
  setval: ["SELECT setval('expenses_id_seq', 1)", /permission denied for sequence expenses_id_seq/],
  nextval: ["SELECT nextval('expenses_id_seq')", /permission denied for sequence expenses_id_seq/],
  "SELECT FOR UPDATE": ["SELECT * FROM events FOR UPDATE", /permission denied for table events/],
  "LOCK TABLE": ["BEGIN; LOCK TABLE events IN SHARE MODE; COMMIT", /permission denied for table events/],
  "COMMENT ON": ["COMMENT ON TABLE expenses IS 'mine'", /must be owner of table expenses/],
  "SET ROLE": ["SET ROLE expense_app", /permission denied to set role "expense_app"/],
  "SET ROLE postgres": ["SET ROLE postgres", /permission denied to set role "postgres"/],
  "SET SESSION AUTHORIZATION": ["SET SESSION AUTHORIZATION postgres", /permission denied to set session authorization/],
  pg_read_file: ["SELECT pg_read_file('/etc/hostname')", /permission denied for function pg_read_file/],
};

describe("role", function () {
  let deployment: Deployment;

  before(async () => {
    deployment = await Deployment.create(vmid);
  });

  after(() => deployment.remove());

  describe("before the first up", () => {
    /** As Debian ships it. */
    let original: string;

    before(async () => {
      original = await deployment.run(["cat", hba]);
      // A role of that name which somebody made before, with all it must not have.
      await deployment.sql(`
        CREATE ROLE ${role} LOGIN CREATEDB CREATEROLE PASSWORD 'guess' VALID UNTIL '2030-01-01';
        GRANT expense_app TO ${role}; GRANT pg_write_all_data TO ${role} WITH ADMIN OPTION;
        GRANT ALL ON expenses, events TO ${role}; GRANT CREATE ON SCHEMA public TO ${role};
        GRANT UPDATE (amount) ON expenses TO ${role}; GRANT ALL ON SEQUENCE expenses_id_seq TO ${role};
        GRANT CREATE ON DATABASE ${database} TO ${role};
        ALTER DEFAULT PRIVILEGES FOR ROLE expense_app GRANT INSERT ON TABLES TO ${role};
        ALTER ROLE ${role} SET search_path = nowhere;
        ALTER ROLE ${role} IN DATABASE ${database} SET default_transaction_read_only = off`);
    });

    it("a pg_hba.conf that asks for a password fails `up`, which names the line and what to add", async () => {
      await writeHba(original.replace(/^local +all +all +peer$/m, "local all all scram-sha-256"));
      const said = await failure(deployment.stack.up());
      const place = await decidingLine("scram-sha-256");
      assert.ok(
        said.includes(`role ${role} cannot log in to database ${database} from the account of that name`),
        said,
      );
      assert.ok(said.includes(`line ${place} of ${hba}: local all all scram-sha-256`), said);
      assert.match(
        said,
        new RegExp(`Put this line before it, or first, and reload PostgreSQL:\\s+local all ${role} peer$`, "m"),
      );
    });

    it("a pg_hba.conf that rejects this role in this database alone is found too", async () => {
      await writeHba(`local ${database} ${role} reject\n${original}`);
      const said = await failure(deployment.stack.up());
      assert.ok(said.includes(`line 1 of ${hba}: local ${database} ${role} reject`), said);
    });

    it("a pg_hba.conf that rejects it as a member of a group is found too", async () => {
      await writeHba(`local sameuser all trust\nlocal all +pg_read_all_data reject\n${original}`);
      const said = await failure(deployment.stack.up());
      assert.ok(said.includes(`line 2 of ${hba}: local all +pg_read_all_data reject`), said);
    });

    it("a pg_hba.conf without any line for it fails `up` in words as well", async () => {
      await writeHba("local all postgres peer\n");
      const said = await failure(deployment.stack.up());
      assert.match(said, new RegExp(`There is no line for it in ${hba}\\. Put`), said);
      assert.match(said, new RegExp(`^\\s*local all ${role} peer$`, "m"));
    });

    it("`up` completes once the line it named stands where it said, and takes away all that the role had", async () => {
      await writeHba(
        original.replace(/^local +all +all +peer$/m, `local all ${role} peer\nlocal all all scram-sha-256`),
      );
      await deployment.stack.up();
      await deployment.expectClean();
      await writeHba(original);

      const attributes = "rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolvaliduntil, rolconfig";
      assert.equal(
        await deployment.sql(`SELECT ${attributes}, rolpassword IS NULL FROM pg_authid a
          LEFT JOIN (SELECT rolname, rolconfig FROM pg_roles) r USING (rolname) WHERE rolname = '${role}'`),
        "f|f|f|f|f|infinity|{default_transaction_read_only=on}|t",
      );
      assert.equal(
        await deployment.sql(`SELECT count(*) FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
          WHERE rolname = '${role}' AND setdatabase <> 0`),
        "0",
      );
      assert.equal(
        await deployment.sql(`SELECT g.rolname, admin_option FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
          JOIN pg_roles r ON r.oid = m.member WHERE r.rolname = '${role}'`),
        "pg_read_all_data|f",
      );
      assert.equal(
        await deployment.sql(`SELECT (SELECT count(*) FROM pg_class WHERE relacl::text LIKE '%${role}%'),
          (SELECT count(*) FROM pg_attribute WHERE attacl::text LIKE '%${role}%'),
          (SELECT count(*) FROM pg_namespace WHERE nspacl::text LIKE '%${role}%'),
          (SELECT count(*) FROM pg_default_acl WHERE defaclacl::text LIKE '%${role}%'),
          (SELECT string_agg(a.privilege_type || ' ' || d.datname, ',') FROM pg_database d, aclexplode(d.datacl) a
            WHERE a.grantee = '${role}'::regrole)`),
        `0|0|0|0|CONNECT ${database}`,
      );
    });
  });

  describe("logs in", () => {
    it("and has no password, and is not asked for one", async () => {
      assert.equal(await deployment.sql(`SELECT rolpassword IS NULL FROM pg_authid WHERE rolname = '${role}'`), "t");
      const { code, stdout, stderr } = await asRole("SELECT current_user, inet_server_addr() IS NULL");
      assert.equal(code, 0, stderr);
      assert.equal(stdout, `${role}|t\n`);
    });

    it("from its own account only", async () => {
      const { code, stderr } = await deployment.lab.exec(
        vmid,
        ["psql", "-XwU", role, "-d", database, "-c", "SELECT 1"],
        {
          user: "nobody",
        },
      );
      assert.equal(code, 2);
      assert.match(stderr, /Peer authentication failed for user "trade_show_backup_prod"/);
    });
  });

  describe("is refused", () => {
    let untouched: string;

    before(async () => {
      untouched = await everything();
    });

    for (const [what, [sql, reason]] of Object.entries(refused)) {
      it(`${what}, by its privileges alone`, async () => {
        const { code, stderr } = await asRole(`SET default_transaction_read_only = off`, sql);
        assert.notEqual(code, 0, `${sql} was let through`);
        assert.match(stderr, reason);
      });
    }

    for (const what of ["INSERT", "UPDATE", "DELETE", "TRUNCATE", "CREATE TABLE", "DROP TABLE", "ALTER TABLE"]) {
      it(`${what} in any session, before its privileges are looked at`, async () => {
        const { code, stderr } = await asRole(refused[what]?.[0] ?? assert.fail(what));
        assert.notEqual(code, 0);
        assert.match(stderr, /in a read-only transaction/);
      });
    }

    it("CREATE TEMPORARY TABLE, as long as the session does not switch that off", async () => {
      const { code, stderr } = await asRole("CREATE TEMPORARY TABLE mine (id int)");
      assert.notEqual(code, 0);
      assert.match(stderr, /cannot execute CREATE TABLE in a read-only transaction/);
      // PUBLIC may, by PostgreSQL's default; to take that away would touch the application.
      const insisting = await asRole("SET default_transaction_read_only = off", "CREATE TEMPORARY TABLE mine (id int)");
      assert.equal(insisting.code, 0, "if this is refused now: better than was known; then let the test say so");
    });

    it("GRANT and VACUUM, which say so in a warning only", async () => {
      for (const sql of ["GRANT ALL ON expenses TO PUBLIC", "VACUUM FULL expenses"]) {
        const { stderr } = await asRole("SET default_transaction_read_only = off", sql);
        assert.match(stderr, /^WARNING: .*(no privileges were granted|skipping it|skipping "expenses")/m, sql);
      }
    });

    it("all of which changed nothing", async () => {
      assert.equal(await everything(), untouched);
      await deployment.expectClean();
    });

    it("lo_create not by PostgreSQL 15, which lets everybody; the next preview shows it, and `up` names it", async () => {
      const { code, stdout } = await asRole("SELECT lo_create(0)");
      assert.equal(code, 0, "if this is refused now: better than was known; then let the test say so");
      const shown = warnings(await deployment.stack.preview());
      assert.equal(shown.length, 1);
      assert.match(shown[0] ?? "", /gained "owner of large object \d+ in database expense_app_production"/);
      assert.match(
        await failure(deployment.stack.up()),
        new RegExp(`owner of large object ${stdout.trim()} in database`),
      );
      await deployment.sql(`SELECT lo_unlink(${stdout.trim()})`);
      await deployment.stack.up();
      await deployment.expectClean();
    });
  });

  describe("reads", () => {
    it("every table, view and sequence", async () => {
      const names = await relations();
      assert.ok(names.length >= 7, names.join(" "));
      for (const name of names) {
        const { code, stderr } = await asRole(`SELECT count(*) FROM ${name}`);
        assert.equal(code, 0, stderr);
      }
      const { stdout } = await asRole("SELECT count(*) FROM expenses");
      assert.equal(stdout, "2000\n");
    });

    it("a table that the application makes after `up`, in a schema made after `up`, without another `up`", async () => {
      await deployment.sql(`CREATE SCHEMA later AUTHORIZATION expense_app; SET ROLE expense_app;
        CREATE TABLE public.later (id serial, secret text); CREATE TABLE later.later (id serial, secret text);
        INSERT INTO public.later (secret) VALUES ('one'); INSERT INTO later.later (secret) VALUES ('two');
        REVOKE ALL ON later.later FROM PUBLIC`);
      assert.equal((await asRole("SELECT secret FROM public.later")).stdout, "one\n");
      assert.equal((await asRole("SELECT secret FROM later.later")).stdout, "two\n");
      assert.match(
        (await asRole("SET default_transaction_read_only = off", "DELETE FROM later.later")).stderr,
        /denied/,
      );
      await deployment.expectClean();
    });

    it("enough for pg_dump to dump all of it", async () => {
      const dump = await deployment.run(["pg_dump", "-d", database, "--data-only", "--table=later.later"], role);
      assert.match(dump, /^1\ttwo$/m);
      await deployment.run(["pg_dump", "-d", database, "--file=/dev/null"], role);
    });
  });

  describe("that came to own a table", () => {
    before(async () => {
      await deployment.sql("CREATE TABLE owned (v text); INSERT INTO owned VALUES ('kept')");
      await deployment.sql(`ALTER TABLE owned OWNER TO ${role}`);
    });

    it("shows in preview", async () => {
      const outcome = await deployment.stack.preview();
      assert.deepEqual(changed(outcome), [`update role-${role}`]);
      assert.match(warnings(outcome).join("\n"), /gained "owner of table owned in database expense_app_production"/);
    });

    it("fails `up`, which names the table and drops nothing", async () => {
      const said = await failure(deployment.stack.up());
      assert.ok(said.includes(`role ${role} is to be read-only but owns objects; give them to another role`), said);
      assert.match(said, /^\s*owner of table owned in database expense_app_production$/m);
      assert.equal(await deployment.sql("SELECT v FROM owned"), "kept");
      assert.equal(await deployment.sql("SELECT relowner::regrole FROM pg_class WHERE relname = 'owned'"), role);
    });

    it("is well again once the table has another owner, as the message says", async () => {
      await deployment.sql("ALTER TABLE owned OWNER TO expense_app");
      await deployment.stack.up();
      await deployment.expectClean();
      assert.equal(await deployment.sql("SELECT v FROM owned"), "kept");
    });
  });

  /** Runs statements as the role, from its account, in one session; each in a transaction of its own. */
  function asRole(...statements: string[]) {
    const words = statements.flatMap((statement) => ["-c", statement]);
    return deployment.lab.exec(vmid, ["psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-d", database, ...words], {
      user: role,
    });
  }

  async function relations(): Promise<string[]> {
    const names = await deployment.sql(
      "SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'v', 'S') AND relnamespace::regnamespace::text !~ '^(pg_|info)' ORDER BY 1",
    );
    return names.split("\n");
  }

  /** Definition and content of the database, roles and databases of the cluster, sequences included. */
  async function everything(): Promise<string> {
    const dump = await deployment.run(["pg_dumpall", "--no-comments"], "postgres");
    return dump.replace(/^\\(un)?restrict .*$/gm, "");
  }

  async function writeHba(text: string): Promise<void> {
    const { code, stderr } = await deployment.lab.exec(
      vmid,
      ["sh", "-c", `cat >${hba} && systemctl reload postgresql`],
      {
        input: text,
      },
    );
    assert.equal(code, 0, stderr);
    const errors = await deployment.sql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL", "postgres");
    assert.equal(errors, "0");
  }

  async function decidingLine(method: string): Promise<string> {
    return deployment.sql(
      `SELECT min(line_number) FROM pg_hba_file_rules WHERE auth_method = '${method}' AND type = 'local'`,
    );
  }
});
