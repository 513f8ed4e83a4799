/** The weekly drill, as deployed: it runs in its sandbox, leaves production alone, reports, and is watched for drift. */
import * as assert from "node:assert/strict";
import * as s3 from "@aws-sdk/client-s3";
import { changed, Deployment, warnings } from "./deployment";

const service = "trade-show-db-drill.service";
const command = "/usr/local/bin/trade-show-db-drill.sh";

interface Report {
  readonly ok: boolean;
  readonly databases: readonly {
    readonly ok: boolean;
    readonly source: string;
    readonly roles: string | null;
    readonly rows: number;
    readonly seconds: number;
  }[];
}

describe("the drill", function () {
  let deployment: Deployment;

  before(async () => {
    deployment = await Deployment.create(2369);
    await deployment.stack.up();
  });
  after(() => deployment.remove());

  const report = async (): Promise<Report> =>
    JSON.parse(await deployment.run([command, "--report", "--json"])) as Report;

  it("is declared with its timer, and scores no worse than the backup", async () => {
    assert.equal((await deployment.run(["systemctl", "is-active", "trade-show-db-drill.timer"])).trim(), "active");
    const calendar = await deployment.run(["systemctl", "show", "-P", "TimersCalendar", "trade-show-db-drill.timer"]);
    assert.ok(calendar.includes(`OnCalendar=${String(deployment.stack.config.get("drillSchedule"))} UTC ;`), calendar);
    const analysis = await deployment.run(["systemd-analyze", "security", "--no-pager", service]);
    const [, score] = /Overall exposure level for \S+: ([0-9.]+)/.exec(analysis) ?? [];
    assert.ok(Number(score) <= 1.3, analysis);
  });

  it("fails while there is no dump, and says why in the journal", async () => {
    await deployment.shell(`! systemctl start ${service} 2>/dev/null`);
    const journal = await deployment.journal(service);
    assert.match(journal, /no verified dump of database 'expense_app_production'/);
    assert.equal((await report().catch(() => undefined))?.ok, undefined, "--report exits with 1 after a bad drill");
  });

  it("restores the night's dump, proves it, reports the time, and leaves nothing", async () => {
    await deployment.run(["systemctl", "start", "trade-show-db-backup.service"]);
    const sessions = "select sessions from pg_stat_database where datname = 'expense_app_production'";
    const before = await deployment.sql(sessions, "postgres");
    await deployment.run(["systemctl", "start", service]);
    assert.equal(await deployment.sql(sessions, "postgres"), before);
    const { ok, databases } = await report();
    assert.equal(ok, true);
    const [database] = databases;
    const rows = await deployment.sql("select (select count(*) from expenses) + (select count(*) from events)");
    assert.ok(database && database.seconds > 0 && database.rows > Number(rows), JSON.stringify(database));
    const journal = await deployment.journal(service);
    assert.match(
      journal,
      /the drill succeeded: 1 database\(s\) restored and proved in [\d.]+ s, 2 dump\(s\) kept here are whole\. Report: \//,
    );
    assert.doesNotMatch(journal, /226\/NAMESPACE|Operation not permitted|Permission denied/);
    assert.equal(await deployment.shell("ls -A /var/lib/trade-show-db/drill"), "");
  });

  it("killed in the middle, is cleaned up after by its service", async () => {
    await deployment.shell(`
      systemctl start --no-block ${service}
      until [[ -s /var/lib/trade-show-db/drill/scratch/data/postmaster.pid ]]; do sleep 0.05; done
      systemctl kill --signal=KILL ${service}
      while [[ $(systemctl is-active ${service}) == *activating ]]; do sleep 0.05; done`);
    assert.equal(await deployment.shell("ls -A /var/lib/trade-show-db/drill"), "");
    const processes = await deployment.shell("ps -eo args | grep -c '[d]rill/scratch' || true");
    assert.equal(processes.trim(), "0");
  });

  it("its unit is watched for drift", async () => {
    await deployment.shell(`sed -i s/^MemoryMax=.*/MemoryMax=infinity/ /etc/systemd/system/${service}`);
    const preview = await deployment.stack.preview();
    assert.deepEqual(changed(preview), [`update ${service}`]);
    assert.ok(warnings(preview).some((text) => text.includes(service)));
    await deployment.stack.up();
    await deployment.expectClean();
    assert.match(await deployment.shell(`systemctl show -P MemoryMax ${service}`), /^1073741824$/m);
  });

  describe("from the bucket", () => {
    const secrets = "/etc/trade-show-app/drill-secrets.env";
    const prefix = "ct2369/";

    before(async () => {
      await deployment.stack.setConfig("drillFrom", "s3");
      assert.deepEqual(changed(await deployment.stack.up()), [
        `create ${secrets}`,
        "create ct2369-reader",
        "create ct2369-reader",
        "create ct2369-reader",
        "create ct2369-reader",
        "update /etc/trade-show-app/backup.env",
        "update trade-show-db-backup.service",
        `update ${service}`,
      ]);
      await deployment.expectClean();
    });

    it("proves the copies there, with a key of its own: this container's dumps are gone", async () => {
      await deployment.run(["systemctl", "start", "trade-show-db-backup.service"]);
      await deployment.shell("rm /var/backups/trade-show-app/*");
      await deployment.run(["systemctl", "start", service]);
      const { ok, databases } = await report();
      const [database] = databases;
      assert.equal(ok, true);
      assert.equal(database?.source, "s3");
      assert.match(database.roles ?? "", /^globals_\w+\.sql$/);
      const rows = await deployment.sql("select (select count(*) from expenses) + (select count(*) from events)");
      assert.ok(database.rows > Number(rows), JSON.stringify(database));
      assert.equal(
        await deployment.shell("ls -A /var/backups/trade-show-app /var/lib/trade-show-db/drill"),
        ["/var/backups/trade-show-app:\n", "/var/lib/trade-show-db/drill:\n"].join("\n"),
      );
    });

    it("with a key that can read what is under its prefix, and neither put nor delete", async () => {
      assert.equal(await deployment.run(["stat", "-c", "%a %U:%G", secrets]), "600 trade_show_backup_prod:root\n");
      const text = await deployment.run(["cat", secrets]);
      const value = (name: string) => new RegExp(`^${name}='(.+)'$`, "m").exec(text)?.[1] ?? assert.fail("no key");
      const reader = deployment.lab.s3.client({
        accessKeyId: value("S3_READER_ACCESS_KEY_ID"),
        secretAccessKey: value("S3_READER_SECRET_ACCESS_KEY"),
      });
      const Bucket = deployment.bucket;
      const { Contents = [] } = await reader.send(new s3.ListObjectsV2Command({ Bucket, Prefix: prefix }));
      const Key = Contents[0]?.Key ?? assert.fail("nothing is there");
      await reader.send(new s3.GetObjectCommand({ Bucket, Key }));
      for (const [what, attempt] of Object.entries({
        put: () => reader.send(new s3.PutObjectCommand({ Bucket, Key, Body: "x" })),
        "put another": () => reader.send(new s3.PutObjectCommand({ Bucket, Key: `${prefix}x`, Body: "x" })),
        delete: () => reader.send(new s3.DeleteObjectCommand({ Bucket, Key })),
        tag: () => reader.send(new s3.PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet: [] } })),
        "get beside its prefix": () => reader.send(new s3.GetObjectCommand({ Bucket, Key: "ct2369x/x" })),
        "list buckets": () => reader.send(new s3.ListBucketsCommand({})),
      })) {
        const error = await (attempt as () => Promise<unknown>)().then(
          () => assert.fail(`the reader could ${what}`),
          (reason: unknown) => reason as s3.S3ServiceException,
        );
        assert.equal(error.$metadata?.httpStatusCode, 403, `${what}: ${error}`);
      }
    });

    it("which the nightly job cannot see", async () => {
      const hidden = await deployment.run([
        "systemctl",
        "show",
        "-P",
        "InaccessiblePaths",
        "trade-show-db-backup.service",
      ]);
      assert.equal(hidden, `-${secrets}\n`);
    });

    it("and without a fallback: where the copies cannot be had, it fails and says so", async () => {
      await deployment.run(["systemctl", "start", "trade-show-db-backup.service"]);
      await deployment.shell(`sed -i "s/^S3_READER_SECRET.*/S3_READER_SECRET_ACCESS_KEY='wrong'/" ${secrets}`);
      await deployment.shell(`! systemctl start ${service} 2>/dev/null`);
      const journal = await deployment.journal(service, "-n 20");
      assert.match(journal, /expense_app_production: error: GET https:\S+: HTTP 403/);
      assert.match(journal, /the drill failed for: 'expense_app_production'/);
      await deployment.stack.up();
      await deployment.expectClean();
    });
  });
});
