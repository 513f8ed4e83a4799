/** The role granted by schema, as deployed: what preview says, what up heals, from one way to the other, and the end. */
import * as assert from "node:assert/strict";
import { changed, Deployment, failure, warnings } from "./deployment";

const vmid = 2373;
const role = "trade_show_backup_prod";
const database = "expense_app_production";
const service = "trade-show-db-backup.service";
/** What comes of a change of grants. */
const regranted = ["update /etc/trade-show-app/backup.env", "update audit-/usr/local/bin/trade-show-db-backup.sh"];

describe("grants by schema", function () {
  let deployment: Deployment;
  /** As it was before the first deployment. */
  let untouched: string;

  before(async () => {
    deployment = await Deployment.create(vmid, { settings: { grants: "schemas", grantOwners: ["expense_app"] } });
    await deployment.sql("CREATE ROLE migrator; GRANT CREATE ON SCHEMA public TO migrator");
    untouched = await everything();
  });

  after(() => deployment.remove());

  describe("before anything is touched", () => {
    it("a schema and a role that are not there are refused, with those that are", async () => {
      await deployment.stack.setConfig("grantSchemas", ["pubic"]);
      await deployment.stack.setConfig("grantOwners", ["expnse_app"]);
      for (const operation of ["preview", "up"] as const) {
        const said = await failure(deployment.stack[operation]());
        for (const line of [
          `error: grantSchemas: container ${vmid}: database "${database}" has no schema "pubic". It has: public.`,
          `grantSchemas: container ${vmid}: does not name schema "public" of database "${database}", which holds tables: without them there is no dump.`,
          `grantOwners: container ${vmid}: there is no role "expnse_app".`,
        ])
          assert.ok(said.includes(line), said);
      }
      await deployment.stack.setConfig("grantSchemas", undefined);
      await deployment.stack.setConfig("grantOwners", ["expense_app"]);
    });

    it("an old PostgreSQL, and a postgres that is no superuser, are refused with what works", async () => {
      // A psql in front of the real one that gives another answer.
      const pretend = (question: string, answer: string) =>
        deployment.shell(`printf '%s\n' '#!/bin/bash' 'if [[ "$*" == *"${question}"* ]]; then echo ${answer}; else' \
          'exec /usr/bin/psql "$@"; fi' >/usr/local/bin/psql; chmod 0755 /usr/local/bin/psql`);
      await deployment.stack.setConfig("grants", "all");
      await pretend("SHOW server_version_num", "130023");
      for (const operation of ["preview", "up"] as const)
        assert.match(
          await failure(deployment.stack[operation]()),
          /error: grants is "all", but container 2373 has PostgreSQL 13, which can let role trade_show_backup_prod read all there is only as a superuser; right would be "schemas", with grantOwners and grantSchemas, or PostgreSQL 14 or newer\.\n/,
        );
      await deployment.stack.setConfig("grants", "schemas");
      await pretend("SHOW is_superuser", "off");
      assert.match(
        await failure(deployment.stack.up()),
        /error: PostgreSQL in container 2373 lets its account postgres in as a role that is no superuser/,
      );
      await deployment.run(["rm", "/usr/local/bin/psql"]);
    });

    it("all of which touched nothing", async () => {
      assert.equal(await everything(), untouched);
      await deployment.shell("test ! -e /usr/local/lib/pgbackup -a ! -e /var/lib/pgbackup");
    });
  });

  describe("deployed", () => {
    it("is deployed, audited at once, and clean in the next preview", async () => {
      const { output } = await deployment.stack.up();
      assert.match(output, /member of: no role\n/);
      assert.match(output, /The dump would be complete\. The role can do nothing but read\.\n/);
      await deployment.expectClean();
    });

    it("suffices for a night, and for a rehearsal", async () => {
      await deployment.run(["systemctl", "start", service]);
      await deployment.run(["/usr/local/bin/trade-show-db-backup.sh", "--dry-run"]);
      await deployment.expectClean();
    });

    it("covers what the application makes later, without another up", async () => {
      await deployment.sql("SET ROLE expense_app; CREATE TABLE later (id serial); INSERT INTO later DEFAULT VALUES");
      await deployment.run(["systemctl", "start", service]);
      await deployment.expectClean();
    });

    it("is watched: what is gone, what is too much, a default that is gone and what somebody else made, all healed", async () => {
      await deployment.sql(`REVOKE SELECT ON expenses FROM ${role}; GRANT UPDATE ON users TO ${role};
      ALTER DEFAULT PRIVILEGES FOR ROLE expense_app IN SCHEMA public REVOKE SELECT ON TABLES FROM ${role};
      SET ROLE migrator; CREATE TABLE migrated (id int)`);
      const preview = await deployment.stack.preview();
      assert.deepEqual(changed(preview), [`update role-${role}`]);
      const [warning = "", ...others] = warnings(preview);
      assert.deepEqual(others, []);
      assert.equal(
        warning,
        `role-${role} was changed in container ${vmid}: ` +
          `lost "SELECT on default privileges on new relations belonging to role expense_app in schema public in database ${database}"; ` +
          `gained "SELECT, UPDATE on table users in database ${database}"; ` +
          `gained "may not read table expenses of role expense_app in database ${database}"; ` +
          `gained "may not read table migrated of role migrator in database ${database}"`,
      );
      const { code, stderr } = await deployment.lab.exec(vmid, ["/usr/local/bin/trade-show-db-backup.sh", "--dry-run"]);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /it may not read these tables and sequences \(pulumi up\): public\.expenses, public\.migrated$/m,
      );
      await deployment.stack.up();
      await deployment.expectClean();
      await deployment.run(["/usr/local/bin/trade-show-db-backup.sh", "--dry-run"]);
    });

    it("a schema that came along is said by preview and up, which name the setting; named there, it is covered", async () => {
      await deployment.sql("CREATE SCHEMA reports AUTHORIZATION expense_app; CREATE TABLE reports.monthly (id int)");
      const words = `grantSchemas: container ${vmid}: does not name schema "reports" of database "${database}", which holds tables`;
      for (const operation of ["preview", "up"] as const)
        assert.ok((await failure(deployment.stack[operation]())).includes(words));
      await deployment.stack.setConfig("grantSchemas", ["public", `${database}|reports`]);
      const { steps } = await deployment.stack.up();
      assert.ok(steps.some(({ op, name }) => op === "update" && name.endsWith(`role-${role}`)));
      await deployment.run(["systemctl", "start", service]);
      await deployment.expectClean();
    });

    it("comes back with a restore: drilled, over the original, and beside it, which up takes away", async () => {
      const restore = `pct exec ${vmid} -- /usr/local/bin/trade-show-db-restore.sh latest --database ${database}`;
      await deployment.run(["systemctl", "start", "trade-show-db-drill.service"]);
      await deployment.type(`${restore} --into ${database}`, `${database}\n`);
      await deployment.expectClean();
      await deployment.run(["systemctl", "start", service]);
      await deployment.type(`${restore} --new copy`);
      const [warning = ""] = warnings(await deployment.stack.preview());
      const gained = [...warning.matchAll(/gained "([^"]+)"/g)].map(([, fact]) => fact);
      assert.equal(gained.length, warning.split("; ").length, warning);
      assert.ok(gained.includes("SELECT on table expenses in database copy"), warning);
      assert.ok(gained.includes("USAGE on schema reports in database copy"), warning);
      assert.ok(
        gained.every((fact) => fact?.endsWith(" in database copy")),
        warning,
      );
      await deployment.stack.up();
      await deployment.expectClean();
      await deployment.sql("DROP DATABASE copy", "postgres");
    });

    it("gives place to all, and leaves nothing behind; and the other way round", async () => {
      await deployment.stack.setConfig("grants", "all");
      assert.deepEqual(changed(await deployment.stack.up()), [...regranted, `update role-${role}`]);
      await deployment.expectClean();
      const mentions = (await everything()).split("\n").filter((line) => line.includes(role) && !line.startsWith("--"));
      assert.deepEqual(mentions, [
        `CREATE ROLE ${role};`,
        `ALTER ROLE ${role} WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS CONNECTION LIMIT 20 VALID UNTIL 'infinity';`,
        `ALTER ROLE ${role} SET default_transaction_read_only TO 'on';`,
        `GRANT pg_read_all_data TO ${role} GRANTED BY postgres;`,
        `GRANT CONNECT ON DATABASE ${database} TO ${role};`,
      ]);
      await deployment.stack.setConfig("grants", "schemas");
      await deployment.stack.up();
      await deployment.expectClean();
      assert.doesNotMatch(await everything(), /pg_read_all_data/);
      await deployment.run(["systemctl", "start", service]);
    });

    it("reads past row-level security, and large objects, once that is set; the night says so before", async () => {
      await deployment.sql(
        `ALTER TABLE users ENABLE ROW LEVEL SECURITY; SET ROLE expense_app; SELECT lo_from_bytea(4711, 'x')`,
      );
      const night = await deployment.lab.exec(vmid, ["systemctl", "start", service]);
      assert.notEqual(night.code, 0);
      const said = await deployment.journal(service, "-n 20");
      assert.match(
        said,
        /row-level security.*\(setting bypassRls\): public\.users; large objects .*\(setting largeObjects\): 4711$/m,
      );
      await deployment.stack.setConfig("bypassRls", true);
      await deployment.stack.setConfig("largeObjects", true);
      const { output } = await deployment.stack.up();
      assert.match(output, /attributes: login, BYPASSRLS, connections at most 20\n/);
      assert.match(output, /The dump would be complete\. The role can do nothing but read\.\n/);
      await deployment.expectClean();
      await deployment.run(["systemctl", "reset-failed", service]);
      await deployment.run(["systemctl", "start", service]);
      const [dump = ""] = (await deployment.shell("ls -t /var/backups/trade-show-app/*.dump")).split("\n");
      const listed = await deployment.run(["pg_restore", "--data-only", "--file=-", dump], "postgres");
      assert.match(listed, /SELECT pg_catalog\.lo_create\('4711'\);|lo_open\('4711', /);
    });

    it("is gone after destroy, and the database is as it was", async () => {
      await deployment.sql(`DROP TABLE later, migrated; DROP SCHEMA reports CASCADE; SELECT lo_unlink(4711);
      ALTER TABLE users DISABLE ROW LEVEL SECURITY`);
      await deployment.stack.destroy({ excludeProtected: true });
      assert.equal(await everything(), untouched);
    });
  });

  /** Definition and content of the database, roles and databases of the cluster, sequences and privileges included. */
  async function everything(): Promise<string> {
    const dump = await deployment.run(["pg_dumpall", "--no-comments"], "postgres");
    return dump.replace(/^\\(un)?restrict .*$/gm, "");
  }
});
