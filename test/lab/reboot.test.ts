/** The container goes down: over the timer's hour, in the middle of a backup. */
import * as assert from "node:assert/strict";
import { ListObjectsV2Command } from "@aws-sdk/client-s3";
import { until } from "../../lab/waiting";
import { Deployment } from "./deployment";

const dumps = "/var/backups/trade-show-app";
const service = "trade-show-db-backup.service";
const timer = "trade-show-db-backup.timer";
const database = "expense_app_production";
const stamp = `/var/lib/systemd/timers/stamp-${timer}`;

/** The globals beside the dumps, once they are finished: `writer.test.ts` is about them. */
const globals = /globals_\d{8}T\d{6}Z\.sql(\.json)?$/;

/** Names in the directory of dumps, partials too, sorted. */
async function listDumps(deployed: Deployment): Promise<string[]> {
  return (await deployed.shell(`ls -A ${dumps}`)).split("\n").filter((name) => name !== "" && !globals.test(name));
}

async function listCopies(deployed: Deployment): Promise<string[]> {
  const { Contents = [] } = await deployed.lab.s3.client().send(new ListObjectsV2Command({ Bucket: deployed.bucket }));
  return Contents.map(({ Key = "" }) => Key)
    .filter((key) => !globals.test(key))
    .sort();
}

async function serviceState(deployed: Deployment): Promise<string> {
  return (await deployed.shell(`systemctl show -p ActiveState --value ${service}`)).trim();
}

describe("reboot", function () {
  describe("over the timer's hour", () => {
    const vmid = 2356;
    let deployed: Deployment;

    before(async () => {
      deployed = await Deployment.create(vmid);
      await deployed.stack.up();
    });

    after(() => deployed.remove());

    it("does not start a backup that was not missed", async () => {
      await deployed.lab.rebootContainer(vmid);
      assert.equal(await serviceState(deployed), "inactive");
      assert.equal((await deployed.shell(`systemctl is-active ${timer}`)).trim(), "active");
      assert.deepEqual(await listDumps(deployed), []);
    });

    it("makes up for the one that was: dumped, verified, copied", async () => {
      assert.deepEqual(await listDumps(deployed), []);
      // The timer's memory of its last run, as after two days of being switched off.
      await deployed.lab.stopContainer(vmid);
      await deployed.lab.run(["touch", "-d", "2 days ago", `${deployed.lab.directory}/lxc/${vmid}/rootfs${stamp}`]);
      await deployed.lab.startContainer(vmid);
      await until(
        "the service has run by itself",
        async () => {
          assert.notEqual(await serviceState(deployed), "failed");
          return (await deployed.shell(`systemctl show -p Result,ExecMainExitTimestampMonotonic ${service}`)) ===
            "Result=success\nExecMainExitTimestampMonotonic=0\n"
            ? undefined
            : (await serviceState(deployed)) === "inactive" || undefined;
        },
        { timeout: 60_000 },
      );
      const names = await listDumps(deployed);
      assert.equal(names.length, 2);
      const [dump = "", manifest = ""] = names;
      assert.match(dump, /^expense_app_production_\d{8}T\d{6}Z\.dump$/);
      assert.equal(manifest, `${dump}.json`);
      assert.equal(
        await deployed.shell(`cd ${dumps}; sha256sum <${dump} | cut -d' ' -f1`),
        await deployed.shell(`jq -r .sha256 ${dumps}/${manifest}`),
      );
      assert.deepEqual(
        await listCopies(deployed),
        names.map((name) => `ct${vmid}/${name}`),
      );
      assert.match(await deployed.journal(service, "-b"), /the night succeeded: 1 database\(s\)/);
      // And it has not started again.
      const [, time = ""] = / (\S+ UTC)$/.exec(deployed.calendar) ?? [];
      assert.ok((await deployed.shell(`systemctl list-timers --no-legend ${timer}`)).includes(` ${time} `));
      await deployed.expectClean();
    });
  });

  describe("in the middle of a backup, the plug pulled", () => {
    const vmid = 2357;
    let deployed: Deployment;

    before(async () => {
      deployed = await Deployment.create(vmid);
      await deployed.stack.up();
      await deployed.run(["systemctl", "start", service]);
      // Rows that do not compress: 25 MB of dump, some seconds.
      await deployed.sql(`CREATE TABLE receipts AS SELECT n AS id, (SELECT string_agg(encode(sha512((n::text || m)::bytea), 'hex'), '')
        FROM generate_series(1, 100) m) AS scan FROM generate_series(1, 4000) n`);
    });

    after(() => deployed.remove());

    it("leaves no half dump that looks good, and the next run succeeds and tidies up", async () => {
      const [first = "", firstManifest = ""] = await listDumps(deployed);
      const digest = await deployed.shell(`sha256sum ${dumps}/${first}`);
      await deployed.run(["systemctl", "start", "--no-block", service]);
      const partial = await until(
        "pg_dump is writing",
        async () => {
          const found = (await deployed.shell(`find ${dumps} -name '.*.partial' -size +1M`)).trim();
          return found === "" ? undefined : found;
        },
        { timeout: 60_000, every: 20 },
      );
      await deployed.lab.stopContainer(vmid, true);
      await deployed.lab.startContainer(vmid);

      // What an operator, the restore or retention would take for a dump: the first one only.
      const left = await listDumps(deployed);
      assert.deepEqual(
        left.filter((name) => !name.startsWith(".")),
        [first, firstManifest],
      );
      assert.ok(left.includes(partial.replace(`${dumps}/`, "")), left.join(" "));
      assert.equal(await deployed.shell(`sha256sum ${dumps}/${first}`), digest);
      assert.deepEqual(
        await listCopies(deployed),
        [first, firstManifest].map((name) => `ct${vmid}/${name}`),
      );
      const plan = await deployed.type(
        `pct exec ${vmid} -- /usr/local/bin/trade-show-db-restore.sh latest --database ${database} --new again --plan 2>&1`,
      );
      assert.ok(plan.includes(first), plan);

      await deployed.run(["systemctl", "start", service]);
      const names = await listDumps(deployed);
      assert.deepEqual(
        names.filter((name) => name.startsWith(".")),
        [],
      );
      assert.equal(names.length, 4);
      assert.deepEqual(names.slice(0, 2), [first, firstManifest]);
      assert.match(
        await deployed.journal(service, "-b"),
        new RegExp(`warning: removed ${partial.replaceAll(".", "\\.")}, left by a run that was cut off`),
      );
      assert.equal((await deployed.shell("ls -A /var/lib/trade-show-db")).trim(), "lock\noff-host\nrestore.lock");
      await deployed.expectClean();
    });
  });
});
