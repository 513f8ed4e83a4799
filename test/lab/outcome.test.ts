/** Nights that fail for real, and who is told of them: by the units, in their sandbox, through systemd. */
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { promtool } from "../../lab/promtool";
import { run } from "../../lab/command";
import { addresses } from "../../lab/network";
import { until } from "../../lab/waiting";
import { Receiver } from "../scripts/receiver";
import { Deployment, failure } from "./deployment";

const vmid = 2371;
const service = "trade-show-db-backup.service";
const outcome = "trade-show-db-backup-failed.service";
const metricsFile = "/var/lib/prometheus/node-exporter/trade-show-db.prom";
const hook = "hook-2b0c6a4dd5f14c51a7";
const ping = "ping-91c2f3f0c8b24a0c9e";
const secretsFile = "/etc/trade-show-app/outcome-secrets.env";

describe("what came of a night", function () {
  this.timeout(180_000);
  const receiver = new Receiver();
  let deployed: Deployment;

  before(async () => {
    const url = await receiver.listen(addresses.host);
    deployed = await Deployment.create(vmid, {
      settings: {
        notifyCommand: "/usr/local/bin/page --team 'data base'",
        notifyMail: "ops@example.org",
        notifyWebhook: `${url}/${hook}`,
        pingUrl: `${url}/${ping}`,
        metricsDirectory: "/var/lib/prometheus/node-exporter",
      },
    });
  });

  after(async () => {
    receiver.close();
    await deployed.remove();
  });

  it("needs its program and its sendmail in the container, or up says so", async () => {
    const first = await failure(deployed.stack.up());
    assert.match(first, /\/usr\/local\/bin\/page: there is no such program in the container\. Install what brings it/);
    await write(
      "/usr/local/bin/page",
      `#!/bin/bash\n{ echo "args: $*"; env | grep ^PGBACKUP_; cat; } >/var/lib/trade-show-db/paged\n`,
    );
    assert.match(await failure(deployed.stack.up()), /sendmail: there is no such program in the container/);
    // As postfix has it: what takes the mail in is set-group-id, and without that the queue is closed.
    await deployed.shell(`install -d -m 0730 -o root -g mail /srv/queue
      install -m 2755 -o root -g mail /usr/bin/tee /usr/local/sbin/postdrop`);
    await write("/usr/sbin/sendmail", `#!/bin/bash\n/usr/local/sbin/postdrop /srv/queue/mail >/dev/null\n`);
    await deployed.stack.up();
    await deployed.expectClean();
  });

  it("that was good: is pinged with its start, and in metrics that promtool accepts; nobody is told", async () => {
    await night(0);
    assert.deepEqual(received(), [`/${ping}/start`, `/${ping}`]);
    assert.equal(await paged(), "");
    const text = await deployed.run(["cat", metricsFile]);
    assert.match(text, /^pgbackup_last_exit_status\{name="trade-show-db"\} 0$/m);
    assert.match(text, /^pgbackup_dump_rows\{name="trade-show-db",database="expense_app_production"\} [1-9]\d+$/m);
    assert.match(text, /^pgbackup_copies\{name="trade-show-db",database="expense_app_production",target="\S+"\} 1$/m);
    assert.equal(await deployed.run(["stat", "-c", "%a %U", metricsFile]), "644 trade_show_backup_prod\n");
    const tool = await promtool();
    assert.equal((await run([tool, "check", "metrics"], { input: text })).stdout, "");
    await assert.rejects(run([tool, "check", "metrics"], { input: text.replace("# HELP pgbackup_dumps", "# HELP x") }));
  });

  it("that failed because PostgreSQL was stopped: everybody is told why, with the journal", async () => {
    await deployed.run(["systemctl", "stop", "postgresql@15-main.service"]);
    await night(1);
    await deployed.run(["systemctl", "start", "postgresql@15-main.service"]);
    const text = await paged();
    assert.match(text, /^args: --team data base$/m);
    assert.match(text, /^PGBACKUP_EVENT=failed$/m);
    assert.match(text, /^The backup of container 2371 \(\S+ on \S+\) failed: exit status 1\.$/m);
    assert.match(text, /^ {2}\S+ .*cannot log in to database 'expense_app_production'/m);
    assert.match(text, /^ {2}\S+ systemd\[1\]: trade-show-db-backup\.service: Failed with result 'exit-code'\.$/m);
    assert.match(text, /^ {2}pct exec 2371 -- systemctl start trade-show-db-backup\.service$/m);
    const mail = await deployed.run(["cat", "/srv/queue/mail"]);
    assert.match(mail, /^To: ops@example\.org\nSubject: Backup FAILED: trade-show-db, container 2371/);
    assert.deepEqual(received(), [`/${ping}/start`, `/${ping}/fail`, `/${hook}`]);
    const after = await deployed.run(["cat", metricsFile]);
    assert.match(after, /^pgbackup_last_exit_status\{name="trade-show-db"\} 1$/m);
    assert.match(after, /^pgbackup_last_success_timestamp_seconds\{name="trade-show-db"\} \d+$/m);
  });

  it("that was killed, or took too long, is told as well", async () => {
    const hold = `begin; lock table public.expenses; select pg_sleep(120)`;
    const holder = deployed.sql(hold).catch(() => "ended");
    await until(
      "the lock is held",
      async () =>
        (await deployed.sql(
          "select count(*) from pg_locks where relation = 'public.expenses'::regclass and granted",
        )) !== "0" || undefined,
    );
    await deployed.run(["systemctl", "start", "--no-block", service]);
    await until(
      "the dump waits for the lock",
      async () => (await deployed.sql("select count(*) from pg_locks where not granted")) !== "0" || undefined,
    );
    await deployed.run(["systemctl", "kill", "--kill-whom=all", "--signal=KILL", service]);
    await told();
    assert.match(await paged(), /failed: its process was ended by SIGKILL\.$/m);

    await deployed.shell(`mkdir -p /run/systemd/system/${service}.d
      printf '[Service]\\nTimeoutStartSec=3s\\n' >/run/systemd/system/${service}.d/short.conf; systemctl daemon-reload`);
    await night(1);
    assert.match(await paged(), /failed: it took longer than its time limit \(TimeoutStartSec\) and was stopped\.$/m);
    assert.match(await paged(), /failure 3 in a row/);
    await deployed.shell(`rm -r /run/systemd/system/${service}.d; systemctl daemon-reload`);
    await deployed.sql(
      "select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(120)%' and pid <> pg_backend_pid()",
    );
    await holder;
    received();
  });

  it("that is good again is told once", async () => {
    await night(0);
    assert.match(await paged(), /^PGBACKUP_EVENT=recovered$/m);
    assert.match(await paged(), / succeeded, after 3 failed since /);
    assert.match(await deployed.run(["cat", "/srv/queue/mail"]), /^Subject: Backup works again/m);
    assert.deepEqual(received(), [`/${ping}/start`, `/${ping}`, `/${hook}`]);
    await deployed.run(["rm", "/var/lib/trade-show-db/paged"]);
    await night(0);
    assert.equal(await paged(), "");
  });

  it("a way to tell that is dead keeps no other from it; the unit fails and says which", async () => {
    receiver.status = 503;
    await deployed.run(["mv", "/usr/sbin/sendmail", "/usr/sbin/sendmail.gone"]);
    await night(1); // the night itself notices that mail is gone
    assert.match(await paged(), /^PGBACKUP_EVENT=failed$/m);
    assert.match(await paged(), /NOTIFY_MAIL is 'ops@example\.org', but there is no sendmail/);
    const journal = await deployed.shell(`journalctl -o cat -u ${outcome} -p err`);
    assert.match(journal, /^error: NOTIFY_WEBHOOK: refused with HTTP 503$/m);
    assert.match(journal, /^error: not everything was told or kept: NOTIFY_MAIL NOTIFY_WEBHOOK failed$/m);
    await deployed.shell("mv /usr/sbin/sendmail.gone /usr/sbin/sendmail");
    receiver.status = 200;
  });

  it("its URLs are nowhere in plain text but in one file of the account", async () => {
    const state = await deployed.stack.exportState();
    const journal = await deployed.run(["journalctl", "--no-pager", "--all", "--output=export"]);
    const config = fs.readFileSync(deployed.stack.config.file, "utf8");
    for (const secret of [hook, ping])
      for (const [where, text] of Object.entries({ state, journal, config })) {
        assert.ok(!text.includes(secret), `${secret} in the ${where}`);
      }
    const found = await deployed.shell(`grep -rlF -e ${hook} -e ${ping} /etc /usr/local /var /run 2>/dev/null || true`);
    assert.equal(found, `${secretsFile}\n`);
    assert.equal(await deployed.run(["stat", "-c", "%a %U", secretsFile]), "600 trade_show_backup_prod\n");
    await deployed.expectClean();
  });

  async function write(path: string, text: string): Promise<void> {
    const { code, stderr } = await deployed.lab.exec(vmid, ["sh", "-c", `cat >${path}; chmod 755 ${path}`], {
      input: text,
    });
    assert.equal(code, 0, stderr);
  }

  /** Runs the night as the timer does, and waits until it is told. */
  async function night(code: number): Promise<void> {
    assert.equal((await deployed.lab.exec(vmid, ["systemctl", "start", service])).code, code);
    await told();
  }

  async function told(): Promise<void> {
    await until("the night is told", async () => {
      const states = await deployed.shell(
        `systemctl show -P ActiveState ${service} ${outcome} ${outcome.replace("failed", "succeeded")}; systemctl list-jobs --no-legend`,
      );
      return /^((inactive|failed)\n+){3}$/.test(states) || undefined;
    });
  }

  /** What the program was given last. */
  async function paged(): Promise<string> {
    return deployed.shell("cat /var/lib/trade-show-db/paged 2>/dev/null || true");
  }

  /** Paths that were asked for since this was called last. */
  function received(): string[] {
    return receiver.posts.splice(0).map(({ url }) => url);
  }
});
