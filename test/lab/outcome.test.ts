/** Nights and drills that fail for real, and who is told of them: by the units, in their sandbox, through systemd. */
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { promtool } from "../../lab/debianFiles";
import { run } from "../../lab/command";
import { addresses } from "../../lab/network";
import { until } from "../../lab/waiting";
import { Receiver } from "../scripts/receiver";
import { Deployment, failure } from "./deployment";

const vmid = 2371;
const service = "trade-show-db-backup.service";
const drillService = "trade-show-db-drill.service";
const outcome = "trade-show-db-backup-failed.service";
const metricsFile = "/var/lib/prometheus/node-exporter/trade-show-db.prom";
const drillMetricsFile = "/var/lib/prometheus/node-exporter/trade-show-db-drill.prom";
const hook = "hook-2b0c6a4dd5f14c51a7";
const ping = "ping-91c2f3f0c8b24a0c9e";
const secretsFile = "/etc/trade-show-app/outcome-secrets.env";

describe("what came of a night", function () {
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
    const text = await checked(metricsFile);
    assert.match(text, /^pgbackup_last_exit_status\{name="trade-show-db"\} 0$/m);
    assert.match(text, /^pgbackup_dump_rows\{name="trade-show-db",database="expense_app_production"\} [1-9]\d+$/m);
    assert.match(text, /^pgbackup_copies\{name="trade-show-db",database="expense_app_production",target="\S+"\} 1$/m);
    assert.equal(await deployed.run(["stat", "-c", "%a %U", metricsFile]), "644 trade_show_backup_prod\n");
    await assert.rejects(check(text.replace("# HELP pgbackup_dumps", "# HELP x")));
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
    assert.deepEqual(received(), [`/${ping}/start`, `/${ping}`]);
  });

  it("a drill that failed because the newest dump is damaged is told, with what its report says; it pings nothing", async () => {
    const nights = await deployed.run(["cat", metricsFile]);
    const dump = (await deployed.shell("cd /var/backups/trade-show-app; ls -t *.dump | head -n 1")).trim();
    await deployed.shell(`file=/var/backups/trade-show-app/${dump}
      printf '\\xff\\x00\\xff' | dd of="$file" bs=1 seek=$(($(stat -c %s "$file") / 2)) conv=notrunc status=none`);
    await drill(1);
    const text = await paged();
    assert.match(text, /^PGBACKUP_SUBJECT=drill$/m);
    assert.match(text, /^PGBACKUP_EVENT=failed$/m);
    assert.match(text, /^The drill of container 2371 \(\S+ on \S+\) failed: exit status 1\.$/m);
    assert.match(text, /^ {2}expense_app_production: FAILED after [\d.]+ s: \S+ is damaged: its SHA-256 is /m);
    assert.match(text, /^ {2}1 of \d+ dump\(s\) kept here DAMAGED: \S+\.dump$/m);
    assert.match(text, /^ {2}\S+ systemd\[1\]: trade-show-db-drill\.service: Failed with result 'exit-code'\.$/m);
    assert.match(text, /^ {2}pct exec 2371 -- systemctl start trade-show-db-drill\.service$/m);
    const [, command = ""] = /^ {2}(pct exec 2371 -- \S+ --report)$/m.exec(text) ?? [];
    const { code, stdout } = await deployed.lab.pct(command);
    assert.deepEqual([code, stdout.split("\n")[0]?.replace(/\S+Z/, "…")], [1, "Drill of …: FAILED"]);
    assert.match(await deployed.run(["cat", "/srv/queue/mail"]), /^Subject: Backup drill FAILED: trade-show-db, /m);
    assert.deepEqual(received(), [`/${hook}`]);
    const metrics = await checked(drillMetricsFile);
    assert.match(metrics, /^pgbackup_drill_last_exit_status\{name="trade-show-db"\} 1$/m);
    assert.match(metrics, /^pgbackup_drill_ok\{name="trade-show-db",database="expense_app_production"\} 0$/m);
    assert.doesNotMatch(metrics, /pgbackup_drill_(recovery|last_success)/);
    assert.equal(await deployed.run(["cat", metricsFile]), nights);
  });

  it("a drill that was killed is told; one that another one kept from beginning is told as that", async () => {
    await night(0);
    received();
    await deployed.shell(`
      systemctl start --no-block ${drillService}
      until [[ -s /var/lib/trade-show-db/drill/scratch/data/postmaster.pid ]]; do sleep 0.05; done
      systemctl kill --signal=KILL ${drillService}`);
    await told(drillService);
    assert.match(await paged(), /failed: its process was ended by SIGKILL\.$/m);
    assert.match(await paged(), /^Its report says:\n {2}cut off: it was killed, or the machine went down$/m);
    assert.match(await paged(), /failure 2 in a row/);

    await deployed.shell(`! flock /var/lib/trade-show-db/drill.lock systemctl start ${drillService} 2>/dev/null`);
    await told(drillService);
    assert.match(await paged(), /^PGBACKUP_EVENT=refused$/m);
    assert.match(await paged(), / was not done: another run was active \(exit status 3\)\. Nothing failed\.$/m);
    assert.match(await deployed.run(["cat", "/srv/queue/mail"]), /^Subject: Backup drill NOT DONE: trade-show-db, /m);
    assert.deepEqual(received(), [`/${hook}`, `/${hook}`]);
  });

  it("a drill that is good again is told once, with how long a recovery takes", async () => {
    // The damaged dump is an older one by now; the operator does as the drill said.
    const damaged = await deployed.shell(
      `journalctl --sync; journalctl -o cat -u ${drillService} | grep -o 'remove both: rm -r .*'`,
    );
    await deployed.shell(damaged.trim().split("\n").at(-1)?.replace("remove both: ", "") ?? "false");
    await drill(0);
    assert.match(await paged(), /^PGBACKUP_EVENT=recovered$/m);
    assert.match(await paged(), /^The drill of .* succeeded, after 2 failed since /m);
    const [, seconds] =
      /^ {2}expense_app_production: restored and proved in ([\d.]+) s, from \S+\.dump$/m.exec(await paged()) ?? [];
    assert.deepEqual(received(), [`/${hook}`]);
    const labels = '{name="trade-show-db",database="expense_app_production"}';
    const metrics = await checked(drillMetricsFile);
    assert.ok(metrics.split("\n").includes(`pgbackup_drill_recovery_seconds${labels} ${seconds}`), metrics);
    assert.ok(metrics.split("\n").includes(`pgbackup_drill_ok${labels} 1`), metrics);
    assert.match(metrics, /^pgbackup_drill_last_success_timestamp_seconds\{name="trade-show-db"\} \d+$/m);
    await deployed.run(["rm", "/var/lib/trade-show-db/paged"]);
    await drill(0);
    assert.equal(await paged(), "");
    assert.deepEqual(received(), []);
  });

  it("that is over before the journal takes in what it says is told with its lines all the same", async () => {
    await deployed.run(["systemctl", "stop", "postgresql@15-main.service"]);
    await deployed.shell(`systemctl kill --signal=STOP systemd-journald.service
      systemctl start ${service} || true
      systemctl kill --signal=CONT systemd-journald.service`);
    await told();
    await deployed.run(["systemctl", "start", "postgresql@15-main.service"]);
    assert.match(await paged(), /^ {2}\S+ .*cannot log in to database 'expense_app_production'/m);
    await night(0);
    received();
  });

  it("a way to tell that is dead keeps no other from it; the unit fails and says which", async () => {
    receiver.status = 503;
    await deployed.run(["mv", "/usr/sbin/sendmail", "/usr/sbin/sendmail.gone"]);
    await night(1); // the night itself notices that mail is gone
    assert.match(await paged(), /^PGBACKUP_EVENT=failed$/m);
    assert.match(await paged(), /NOTIFY_MAIL is 'ops@example\.org', but there is no sendmail/);
    const journal = await deployed.journal(outcome, "-p err");
    assert.match(journal, /^error: NOTIFY_WEBHOOK: refused with HTTP 503$/m);
    assert.match(journal, /^error: not everything was told or kept: NOTIFY_MAIL NOTIFY_WEBHOOK failed$/m);
    await deployed.shell("mv /usr/sbin/sendmail.gone /usr/sbin/sendmail");
    receiver.status = 200;
  });

  it("its URLs are nowhere in plain text but in one file of the account", async () => {
    const state = await deployed.stack.exportState();
    const journal = await deployed.shell("journalctl --sync; journalctl --no-pager --all --output=export");
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

  /** The same of a drill. */
  async function drill(code: number): Promise<void> {
    assert.equal((await deployed.lab.exec(vmid, ["systemctl", "start", drillService])).code, code);
    await told(drillService);
  }

  async function told(of = service): Promise<void> {
    const units = ["", "-failed", "-succeeded"].map((end) => of.replace(".service", `${end}.service`));
    await until("the run is told", async () => {
      const states = await deployed.shell(
        `systemctl show -P ActiveState ${units.join(" ")}; systemctl list-jobs --no-legend`,
      );
      return /^((inactive|failed)\n+){3}$/.test(states) || undefined;
    });
  }

  /** Text of a file of metrics that promtool accepts. */
  async function checked(file: string): Promise<string> {
    const text = await deployed.run(["cat", file]);
    assert.equal(await check(text), "");
    return text;
  }

  async function check(text: string): Promise<string> {
    return (await run([await promtool(), "check", "metrics"], { input: text })).stdout;
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
