/** Deployments that end half-way: what was left is seen, and the next `up` completes or takes it back. */
import * as assert from "node:assert/strict";
import { spawn } from "node:child_process";
import * as path from "node:path";
import { attempt } from "../../lab/command";
import { repository } from "../../lab/places";
import { until } from "../../lab/waiting";
import { changed, Deployment, failure, timeOfDay, warnings } from "./deployment";
import { Relay } from "./relay";

const vmid = 2359;
const environment = "/etc/trade-show-app/backup.env";
const restore = "/usr/local/bin/trade-show-db-restore.sh";
const timer = "trade-show-db-backup.timer";
const service = "trade-show-db-backup.service";

/**
 * Makes the agent wait for ever in the middle of applying backup.env: `after` tells whether the file alone is written,
 * or its receipt too. Its `od` makes the receipt's salt, its last `mv` puts the receipt in its place.
 */
const hang = {
  file: `printf '%s\\n' '#!/bin/bash' 'if grep -q RETENTION_DAYS=21 ${environment}; then echo >/run/hangs; cat /run/release; fi' \\
    'exec /usr/bin/od "$@"' >/usr/local/sbin/od`,
  receipt: `printf '%s\\n' '#!/bin/bash' '/usr/bin/mv "$@" || exit' \\
    'case "\${!#}" in */receipts/*backup.env) echo >/run/hangs; cat /run/release ;; esac' >/usr/local/sbin/mv`,
};

describe("interrupted", function () {
  let deployed: Deployment;
  let relay: Relay;
  let old: string;
  let secretsOf: () => Promise<string>;

  before(async () => {
    relay = await Relay.start();
    deployed = await Deployment.create(vmid, { settings: relay.settings });
    await deployed.stack.setConfig("driftDetection", true); // writes all settings, for the other process too
    secretsOf = () => deployed.shell("sha256sum /etc/trade-show-app/backup-secrets.env");
  });

  after(async () => {
    await relay.cut();
    await deployed.remove();
  });

  const read = () => deployed.shell(`cat ${environment}`);

  async function reached(): Promise<void> {
    const { lab } = deployed;
    await until("the agent is in the middle", async () =>
      (await lab.exec(vmid, ["test", "-e", "/run/hangs"])).code === 0 ? true : undefined,
    );
    assert.match(await read(), /^RETENTION_DAYS=21$/m);
  }

  async function letGo(): Promise<void> {
    await deployed.shell(`rm -f /usr/local/sbin/od /usr/local/sbin/mv /run/hangs
      timeout 5 sh -c 'echo >/run/release' || true; rm /run/release`);
    await until("no agent is at work", async () =>
      (await deployed.lab.exec(vmid, ["pgrep", "-f", "pgbackup/agent apply"])).code === 1 ? true : undefined,
    );
  }

  async function hangAfter(what: keyof typeof hang): Promise<void> {
    await deployed.shell(`mkfifo /run/release; ${hang[what]}; chmod 0755 /usr/local/sbin/*`);
  }

  describe("the first up", () => {
    it("with PostgreSQL gone just after the probe: fails, and says which", async () => {
      relay.onConnection = async (number) => {
        if (number === 2) await deployed.shell("systemctl stop postgresql");
      };
      const said = await failing(upElsewhere(deployed));
      relay.onConnection = () => Promise.resolve();
      assert.match(said, /role-trade_show_backup_prod[^]*connection to server on socket .* failed/);
    });

    it("has finished what does not depend on it, and not what does", async () => {
      await deployed.shell(`test -x ${restore} -a -f ${environment} -a -d /var/backups/trade-show-app`);
      assert.equal((await deployed.shell("ls /etc/systemd/system")).includes("trade-show"), false);
    });

    it("is completed by the next, once the cause is gone", async () => {
      await deployed.shell("systemctl start postgresql");
      assert.deepEqual(
        changed(await deployed.stack.up()).filter((each) => !each.endsWith(" ct2359")),
        [
          `create audit-/usr/local/bin/trade-show-db-backup.sh`,
          `create role-trade_show_backup_prod`,
          `create ${service}`,
          `create ${timer}`,
          "create trade-show-db-drill.service",
          "create trade-show-db-drill.timer",
        ],
      );
      await deployed.expectClean();
      await deployed.run(["systemctl", "start", service]);
      old = await read();
    });
  });

  describe("an up that meets a directory in the place of a file", () => {
    let calendar: string;

    it("fails, says what to do, and leaves the directory alone", async () => {
      await deployed.shell(
        `rm ${restore}; mkdir ${restore}; echo mine >${restore}/file; echo '# by hand' >>${environment}`,
      );
      calendar = deployed.calendar;
      await deployed.stack.setConfig("schedule", timeOfDay(11));
      const said = await failing(upElsewhere(deployed));
      assert.match(
        said,
        new RegExp(`${restore} is a directory; a file is to stand there\\. Move it away and run again\\.`),
      );
      assert.equal(await deployed.shell(`cat ${restore}/file`), "mine\n");
    });

    it("has not touched what depends on it", async () => {
      assert.ok((await deployed.shell(`cat /etc/systemd/system/${timer}`)).includes(`OnCalendar=${calendar}\n`));
    });

    it("is completed by the next", async () => {
      await deployed.shell(`mv ${restore} /root/restore`);
      // Whether the failed up came as far as the settings, which do not depend on the file, is the engine's affair.
      const updated = changed(await deployed.stack.up()).filter((each) => each !== `update ${environment}`);
      assert.deepEqual(updated, [`update ${restore}`, `update ${timer}`].sort());
      assert.equal(await read(), old);
      await deployed.expectClean();
      assert.ok(
        (await deployed.shell(`cat /etc/systemd/system/${timer}`)).includes(`OnCalendar=${deployed.calendar}\n`),
      );
    });
  });

  for (const what of ["file", "receipt"] as const) {
    describe(`the connection lost after the ${what} was written, and the change taken back`, () => {
      it("fails", async () => {
        await hangAfter(what);
        await deployed.stack.setConfig("retentionDays", 21);
        const up = failing(upElsewhere(deployed));
        await reached();
        await relay.cut();
        const said = await up;
        await relay.mend();
        await letGo();
        assert.match(said, /remote command exited without exit status or exit signal/);
        assert.match(await read(), /^RETENTION_DAYS=21$/m);
      });

      it("shows in preview, and up brings the old content back", async () => {
        await deployed.stack.setConfig("retentionDays", undefined);
        assert.deepEqual(changed(await deployed.stack.preview()), [`update ${environment}`]);
        assert.deepEqual(changed(await deployed.stack.up()), [`update ${environment}`]);
        assert.equal(await read(), old);
        await deployed.expectClean();
      });
    });
  }

  describe("the engine killed after the receipt was written, and the change taken back", () => {
    it("leaves a lock, which preview and up name, and `pulumi cancel` removes", async () => {
      await hangAfter("receipt");
      await deployed.stack.setConfig("retentionDays", 21);
      const up = upElsewhere(deployed);
      await reached();
      const family = await descendants(up.pid);
      for (const pid of family) process.kill(pid, "SIGKILL");
      await up.ended;
      assert.ok(family.length >= 4, "node, the engine and two providers");
      await letGo();
      await deployed.stack.setConfig("retentionDays", undefined);
      const said = await failure(deployed.stack.up());
      assert.match(said, /the stack is currently locked by 1 lock\(s\)[^]*pulumi cancel/);
      await deployed.stack.cancel();
    });

    it("shows in preview, and one up brings the old content back", async () => {
      const outcome = await deployed.stack.preview();
      assert.deepEqual(changed(outcome), [`update ${environment}`]);
      assert.match(await read(), /^RETENTION_DAYS=21$/m);
      const secrets = await secretsOf();
      assert.deepEqual(changed(await deployed.stack.up()), [`update ${environment}`]);
      assert.equal(await read(), old);
      assert.equal(await secretsOf(), secrets);
      await deployed.expectClean();
      assert.deepEqual(warnings(await deployed.stack.preview()), []);
    });
  });
});

interface Elsewhere {
  readonly pid: number;
  readonly ended: Promise<{ readonly code: number | null; readonly output: string }>;
}

/**
 * Runs `up` of this very stack, as it is configured, in a process of its own: it can be killed with its engine and
 * providers, and what a failed run leaves of itself in the SDK (the next one in that process may wait for it for ever)
 * ends with it, as it does with the command line.
 */
function upElsewhere({ lab, stack }: Deployment): Elsewhere {
  const program = `require(${JSON.stringify(path.join(repository, "lab/lab"))}).Lab.open(${JSON.stringify(lab.name)})
    .then((lab) => lab.stack(${JSON.stringify(stack.name)}, {}).up())
    .catch((error) => { console.log(error.message); process.exitCode = 1; })
    .finally(() => process.exit())`;
  const child = spawn(process.execPath, ["-r", "ts-node/register/transpile-only", "-e", program], {
    cwd: repository,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.on("data", (data: Buffer) => (output += data.toString()));
  const ended = new Promise<{ code: number | null; output: string }>((resolve) =>
    child.on("close", (code) => resolve({ code, output })),
  );
  return { pid: child.pid ?? assert.fail("it did not start"), ended };
}

/** What it printed; fails unless it failed. */
async function failing({ ended }: Elsewhere): Promise<string> {
  const { code, output } = await ended;
  assert.equal(code, 1, output);
  return output;
}

/** A process and all that came from it, by their ids, the youngest first. */
async function descendants(pid: number): Promise<number[]> {
  const { stdout } = await attempt(["ps", "-e", "-o", "pid=,ppid="]);
  const pairs = stdout
    .trim()
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number));
  const family = [pid];
  for (const parent of family) for (const [child = 0, of] of pairs) if (of === parent) family.push(child);
  return family.reverse();
}
