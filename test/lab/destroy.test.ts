/** Destroying a stack: what refuses, what goes, and what is kept for good. */
import * as assert from "node:assert/strict";
import {
  GetBucketLifecycleConfigurationCommand,
  GetObjectTaggingCommand,
  ListObjectsV2Command,
} from "@aws-sdk/client-s3";
import { CommandError } from "../../lab/command";
import { changed, Deployment, failure, warnings } from "./deployment";

const vmid = 2352;
const role = "trade_show_backup_prod";
const database = "expense_app_production";
const dumps = "/var/backups/trade-show-app";
const service = "trade-show-db-backup.service";
const timer = "trade-show-db-backup.timer";

/** All that is declared in the container, by its name in a preview. */
const artefacts = [
  ...["", "/backup-secrets.env", "/backup.env", "/s3-ca.pem"].map((name) => `/etc/trade-show-app${name}`),
  ...["backup", "restore", "verify"].map((verb) => `/usr/local/bin/trade-show-db-${verb}.sh`),
  ...["/usr/local/lib/pgbackup/agent", "/usr/local/lib/trade-show-db", dumps, "/var/lib/trade-show-db"],
  ...[`account-${role}`, `role-${role}`, "packages", service, timer],
];

describe("destroy", function () {
  let deployed: Deployment;
  /** All there was in the container's file system, outside of /proc and the like, before the first `up`. */
  let untouched: string;
  /** Name of the dump that the service made before. */
  let scheduled: string;
  let globals: string;

  /** Every file that a backup could have left, by path, type, mode and owner; not what changes by itself. */
  const listFiles = () =>
    deployed.shell(
      `find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o \\
         -path /var/log -o -path /var/cache -o -path /var/lib/postgresql -o -path ${dumps} \\) -prune -o \\
         -printf '%p %y %m %u:%g\\n' | sort`,
    );
  const digests = () => deployed.shell(`cd ${dumps}; sha256sum -- * | sort -k2`);
  /** What an application would notice: its data, its rights, and those of everybody else. */
  const lookAtDatabase = () =>
    deployed.shell(`cd /; for table in users events expenses; do
      runuser -u postgres -- psql -XAtqd ${database} -c "SELECT '$table', count(*), md5(string_agg(t::text, '' ORDER BY id)) FROM $table t"
    done; runuser -u postgres -- pg_dumpall --globals-only | grep -vE '^(--|$)' | grep -v '^\\\\' | grep -v ${role} | sort
    runuser -u postgres -- pg_dump --schema-only ${database} | grep -vE '^(--|$)' | grep -v '^\\\\' | grep -v ${role} | sort`);

  before(async () => {
    deployed = await Deployment.create(vmid);
    await deployed.sql("CREATE DATABASE other");
    untouched = await listFiles();
    await deployed.stack.up();
    await deployed.run(["systemctl", "start", service]);
    scheduled = (await deployed.shell(`cd ${dumps}; ls *.dump`)).trim();
    globals = (await deployed.shell(`cd ${dumps}; ls globals_*.sql`)).trim();
    await deployed.type(
      `pct exec ${vmid} -- sudo -u postgres pg_dump -d ${database} --format=custom --file=${dumps}/manual_$(date +%Y%m%d_%H%M%S).dump`,
    );
  });

  after(() => deployed.remove());

  describe("plain", () => {
    it("refuses before it touches anything, and names what is protected", async () => {
      const files = await listFiles();
      // As an operator types it: the Automation API would skip the preview, which is what refuses.
      const said = await deployed.stack.cli(["destroy", "--yes"]).then(
        () => assert.fail("it should have been refused"),
        (error: unknown) =>
          error instanceof CommandError ? error.result.stdout + error.result.stderr : assert.fail(String(error)),
      );
      for (const facet of ["LifecycleConfiguration", "Policy", "PublicAccessBlock", "OwnershipControls"])
        assert.match(
          said,
          new RegExp(
            `Preview failed: resource "urn:.*Bucket${facet}::off-host" cannot be deleted\n *because it is protected\\.`,
          ),
        );
      assert.equal(await listFiles(), files);
      assert.equal((await deployed.shell(`systemctl is-active ${timer}`)).trim(), "active");
      await deployed.expectClean();
    });
  });

  describe("with the container stopped", () => {
    it("fails, and says so", async () => {
      await deployed.lab.stopContainer(vmid);
      try {
        const said = await failure(deployed.stack.destroy({ excludeProtected: true }));
        assert.match(
          said,
          new RegExp(`container ${vmid} on 10\\.232\\.0\\.1 is stopped|container '${vmid}' not running!`),
        );
      } finally {
        await deployed.lab.startContainer(vmid);
      }
      await deployed.stack.up();
      await deployed.expectClean();
    });
  });

  describe("excluding what is protected", () => {
    let before_: { digests: string; database: string };

    before(async () => {
      // A role that somebody has entangled with the rest of the cluster.
      await deployed.sql(
        `CREATE TABLE notes (note text); GRANT SELECT, INSERT ON notes TO ${role};
        ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO ${role}`,
        "other",
      );
      await deployed.sql(`GRANT ${role} TO expense_app; GRANT CREATE ON DATABASE postgres TO ${role}`);
      before_ = { digests: await digests(), database: await lookAtDatabase() };
      const outcome = await deployed.stack.destroy({ excludeProtected: true });
      for (const name of artefacts) assert.ok(changed(outcome).includes(`delete ${name}`), name);
    });

    it("leaves nothing else in the container than there was", async () => {
      const left = (await listFiles()).split("\n");
      const was = new Set(untouched.split("\n"));
      assert.deepEqual(
        left.filter((line) => !was.has(line)),
        [
          // systemd's own, and the job's records of the copies that are still in the bucket.
          "/var/lib/systemd/timers d 755 root:root",
          "/var/lib/trade-show-db d 700 root:root",
          "/var/lib/trade-show-db/lock f 600 root:root",
          "/var/lib/trade-show-db/off-host d 700 root:root",
          "/var/lib/trade-show-db/off-host/s3 d 700 root:root",
          `/var/lib/trade-show-db/off-host/s3/${scheduled}.json f 600 root:root`,
          `/var/lib/trade-show-db/off-host/s3/${globals}.json f 600 root:root`,
        ],
      );
      assert.deepEqual(
        [...was].filter((line) => !left.includes(line)),
        [],
      );
    });

    it("leaves no unit, no account, no role, no process", async () => {
      const nothing = async (lines: string) => assert.equal((await deployed.shell(lines)).trim(), "");
      await nothing(`systemctl list-units --all --plain --no-legend 'trade-show*'`);
      await nothing(`systemctl list-unit-files --no-legend 'trade-show*' || true`);
      await nothing(`systemctl list-timers --all --no-legend | grep trade-show || true`);
      await nothing(`getent passwd ${role} || true`);
      await nothing(`getent group ${role} || true`);
      await nothing(`runuser -u postgres -- pg_dumpall --schema-only | grep -w ${role} || true`);
      assert.equal(await deployed.sql("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'trade%'"), "0");
      assert.equal(
        await deployed.sql(
          "SELECT count(*) FROM pg_shdepend s LEFT JOIN pg_roles r ON r.oid = s.refobjid WHERE s.refclassid = 'pg_authid'::regclass AND r.oid IS NULL",
        ),
        "0",
      );
    });

    it("keeps every dump, byte for byte, scheduled ones and manual ones, for postgres alone", async () => {
      assert.equal(await digests(), before_.digests);
      const stats = await deployed.shell(`stat -c '%n %F %a %U:%G' ${dumps} ${dumps}/*`);
      const [directory, ...files] = stats.trim().split("\n");
      assert.equal(directory, `${dumps} directory 700 postgres:postgres`);
      assert.equal(files.length, 5);
      for (const line of files)
        assert.match(
          line,
          /(_\d{8}T\d{6}Z\.(dump|sql)(\.json)?|\/manual_\d{8}_\d{6}\.dump) regular file 600 postgres:postgres$/,
        );
    });

    it("lets no other account read one, a new one neither", async () => {
      await deployed.type(
        `pct exec ${vmid} -- sudo -u postgres pg_dump -d ${database} --format=custom --file=${dumps}/manual_after.dump`,
      );
      // The next account that is made gets the role's old uid.
      await deployed.shell("useradd --system --groups adm curious");
      const files = (await deployed.shell(`ls -d ${dumps}/*`)).trim().split("\n");
      assert.equal(files.length, 6);
      for (const file of files)
        for (const user of ["curious", "nobody", "www-data"]) {
          const { code, stderr } = await deployed.lab.exec(vmid, ["head", "-c1", file], { user });
          assert.notEqual(code, 0, `${user} reads ${file}`);
          assert.match(stderr, /Permission denied/);
        }
      await deployed.shell("userdel curious");
    });

    it("keeps the bucket, its rule and its copies", async () => {
      const s3 = deployed.lab.s3.client();
      const { Rules = [] } = await s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket: deployed.bucket }));
      assert.deepEqual(Rules.map(({ ID, Status }) => `${ID} ${Status}`).sort(), [
        "abort-uploads Enabled",
        "expire-superseded Enabled",
        "remove-noncurrent Enabled",
      ]);
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: deployed.bucket }));
      assert.equal(Contents.length, 4);
    });

    it("does the database no harm", async () => {
      assert.equal(await lookAtDatabase(), before_.database);
      assert.equal(
        await deployed.sql(
          "SET ROLE expense_app; UPDATE expenses SET merchant = merchant WHERE id = (SELECT min(id) FROM expenses) RETURNING 1",
        ),
        "1",
      );
    });

    it("keeps in the state what is protected, and no more", async () => {
      const state = JSON.parse(await deployed.stack.exportState()) as {
        deployment: { resources: { type: string; protect?: boolean }[] };
      };
      const kept = state.deployment.resources
        .map(({ type, protect }) => `${type}${protect ? " protected" : ""}`)
        .sort();
      assert.deepEqual(kept, [
        "aws:s3/bucket:Bucket protected",
        "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration protected",
        "aws:s3/bucketOwnershipControls:BucketOwnershipControls protected",
        "aws:s3/bucketPolicy:BucketPolicy protected",
        "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock protected",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration protected",
        "aws:s3/bucketVersioning:BucketVersioning protected",
        "pgbackup:index:BackupBucket protected",
        "pulumi:providers:aws protected",
        "pulumi:pulumi:Stack",
      ]);
    });

    it("is followed by a clean up: dumps are the role's again, and the next backup knows the older ones", async () => {
      const outcome = await deployed.stack.up();
      for (const name of artefacts) assert.ok(changed(outcome).includes(`create ${name}`), name);
      assert.deepEqual(warnings(outcome), []);
      await deployed.expectClean();
      const stats = (await deployed.shell(`stat -c '%n %a %U:%G' ${dumps} ${dumps}/*`)).trim().split("\n");
      assert.equal(stats[0], `${dumps} 3770 ${role}:postgres`);
      for (const line of stats.slice(1))
        assert.match(
          line,
          line.includes("manual_") ? / 6[04]{2} postgres:postgres$/ : / 640 trade_show_backup_prod:postgres$/,
        );
      await deployed.run(["systemctl", "start", service]);
      const s3 = deployed.lab.s3.client();
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: deployed.bucket }));
      assert.equal(Contents.length, 8);
      const said = await deployed.journal(service, "--since -1min");
      assert.match(said, /the night succeeded/);
      assert.doesNotMatch(said, /warning/);
      const tags = await s3.send(
        new GetObjectTaggingCommand({ Bucket: deployed.bucket, Key: `ct${vmid}/${scheduled}` }),
      );
      assert.deepEqual(tags.TagSet, [{ Key: "superseded", Value: "true" }]);
      await deployed.type(
        `pct exec ${vmid} -- /usr/local/bin/trade-show-db-restore.sh --file ${scheduled} --new again --yes`,
      );
      assert.equal(await deployed.sql("SELECT count(*) FROM expenses", "again"), "2000");
    });
  });

  describe("with the container gone", () => {
    it("succeeds", async () => {
      await deployed.lab.destroyContainer(vmid);
      const outcome = await deployed.stack.destroy({ excludeProtected: true });
      for (const name of artefacts) assert.ok(changed(outcome).includes(`delete ${name}`), name);
      const state = await deployed.stack.exportState();
      assert.ok(!state.includes("command:remote:Command"));
    });
  });
});
