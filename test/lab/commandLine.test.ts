/** As a user's own terminal does it: `pulumi …` in this package's directory, index.ts run by the language host. */
import * as assert from "node:assert/strict";
import { Deployment } from "./deployment";

const vmid = 2361;

describe("the command line", function () {
  let deployed: Deployment;

  const type = async (...args: string[]) => {
    const { code, stdout, stderr } = await deployed.stack.asUser(args);
    return { code, said: stdout + stderr };
  };
  const succeed = async (...args: string[]) => {
    const { code, said } = await type(...args);
    assert.equal(code, 0, said);
    return said;
  };
  const artefacts = () =>
    deployed.shell("find /etc/trade-show-app /usr/local /var/lib/pgbackup -printf '%p %T@\\n' | sort | sha256sum");

  before(async () => {
    deployed = await Deployment.create(vmid);
  });

  after(() => deployed.remove());

  it("pulumi up deploys, and a second preview is clean", async () => {
    await succeed("up", "--yes");
    assert.equal(
      (await deployed.shell("systemctl is-enabled trade-show-db-backup.timer")).trim(),
      "enabled",
      "the timer stands",
    );
    await succeed("preview", "--expect-no-changes");
  });

  it("finds what the Automation API deploys the same, and the other way round", async () => {
    await deployed.expectClean();
    await deployed.stack.setConfig("retentionDays", 15);
    await deployed.stack.up();
    await succeed("preview", "--expect-no-changes");
  });

  it("pulumi stack output runbook prints the runbook", async () => {
    const { stdout } = await deployed.stack.cli(["stack", "output", "runbook"]);
    assert.match(stdout, /^# Backups in container 2361\n/);
  });

  it("says what drifted, beside a diff of one update", async () => {
    await deployed.shell("chmod 0666 /etc/trade-show-app/backup.env");
    const said = await succeed("preview", "--diff");
    assert.match(
      said,
      /^ *warning: \/etc\/trade-show-app\/backup\.env was changed in container 2361: mode 0666 instead of 0644$/m,
    );
    assert.match(said, /^ +~ 1 to update$/m);
    await succeed("up", "--yes");
    await succeed("preview", "--expect-no-changes");
  });

  it("refuses a wrong setting with one message, once, before anything is touched", async () => {
    const before = await artefacts();
    await deployed.stack.setConfig("retentionDays", 0);
    for (const operation of [["preview"], ["up", "--yes"]]) {
      const { code, said } = await type(...operation);
      assert.notEqual(code, 0);
      const errors = said.split("\n").filter((line) => /^ *error: /.test(line));
      assert.deepEqual(
        errors.map((line) => line.trim()),
        ['error: pgbackup:retentionDays is "0"; right would be a whole number from 1 to 36500.'],
        said,
      );
    }
    await deployed.stack.setConfig("retentionDays", 15);
    assert.equal(await artefacts(), before);
  });

  it("pulumi destroy refuses, npm run destroy removes all but the data", async () => {
    const before = await artefacts();
    const refused = await type("destroy", "--yes");
    assert.notEqual(refused.code, 0);
    assert.match(refused.said, /cannot be deleted\n *because it is protected/);
    assert.equal(await artefacts(), before);
    await succeed("destroy", "--exclude-protected", "--yes");
    assert.equal(
      (await deployed.shell("ls -d /etc/trade-show-app /usr/local/bin/* 2>/dev/null || true")).trim(),
      "",
      "nothing of it is left",
    );
    await succeed("up", "--yes");
    await succeed("preview", "--expect-no-changes");
  });
});
