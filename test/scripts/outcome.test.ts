import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster } from "./cluster";
import { OutcomeSite } from "./outcomeSite";
import { Receiver } from "./receiver";
import { S3Server } from "./s3Server";
import type { Settings } from "./site";

const failure = {
  MONITOR_UNIT: "trade-show-db-backup.service",
  MONITOR_SERVICE_RESULT: "exit-code",
  MONITOR_EXIT_CODE: "exited",
  MONITOR_EXIT_STATUS: "1",
  MONITOR_INVOCATION_ID: "0123456789abcdef0123456789abcdef",
};
const success = { ...failure, MONITOR_SERVICE_RESULT: "success", MONITOR_EXIT_STATUS: "0" };

describe("what came of a night", function () {
  let cluster: Cluster;
  let site: OutcomeSite;
  let receiver: Receiver;
  let url: string;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase(
      "shop",
      "create table events (id int primary key); insert into events select generate_series(1, 20)",
    );
  });

  beforeEach(async () => {
    receiver = new Receiver();
    url = await receiver.listen();
    site = new OutcomeSite(cluster, ["shop"]);
  });

  afterEach(() => {
    receiver.close();
    site.remove();
  });

  after(() => cluster.stop());

  const every = (): Settings => ({ NOTIFY_COMMAND: `${site.programs}/hear`, NOTIFY_MAIL: "ops@example.org" });

  it("that failed is told by command, mail and webhook, with what failed and what to do", async () => {
    site.configureOutcome(
      { ...every(), BACKUP_COMMAND: "/usr/local/bin/trade-show-db-backup.sh" },
      { NOTIFY_WEBHOOK: `${url}/services/T0/SECRET?api-version=1&sig=x/y`, PING_URL: `${url}/ping/uuid/?rid=1` },
    );
    const told = await site.tell(failure);
    assert.equal(told.code, 0, told.stderr);
    const machine = execFileSync("uname", ["-n"], { encoding: "utf8" }).trim();
    const title = `Backup FAILED: trade-show-db, container 2320 (${machine} on pve)`;
    assert.match(told.stderr, new RegExp(`told by NOTIFY_COMMAND: Backup FAILED`));

    const facts = fs.readFileSync(site.heard, "utf8");
    for (const line of [
      "PGBACKUP_DATABASES=shop",
      "PGBACKUP_EVENT=failed",
      "PGBACKUP_FAILURES=1",
      "PGBACKUP_HOST=pve",
      "PGBACKUP_RESULT=exit-code",
      "PGBACKUP_STATUS=1",
      "PGBACKUP_SUBJECT=backup",
      `PGBACKUP_TITLE=${title}`,
      "PGBACKUP_VMID=2320",
      "Databases: shop",
      "  shop: none",
      "  02:00:01 error: the last line; Failed with result 'exit-code'.",
      "  pct exec 2320 -- journalctl --no-pager --since yesterday --unit trade-show-db-backup.service",
      "  pct exec 2320 -- /usr/local/bin/trade-show-db-backup.sh --dry-run",
      "  pct exec 2320 -- systemctl start trade-show-db-backup.service",
    ])
      assert.ok(facts.split("\n").includes(line), `${line}\n${facts}`);
    assert.match(facts, /^The backup of container 2320 .* failed: exit status 1\.$/m);

    const [arguments_, to, subject] = fs.readFileSync(site.mail, "utf8").split("\n");
    assert.deepEqual([arguments_, to, subject], ["-i -- ops@example.org", "To: ops@example.org", `Subject: ${title}`]);
    assert.match(fs.readFileSync(site.mail, "utf8"), /\n\nThe backup of container 2320 /);

    const [ping, hook] = receiver.posts;
    assert.equal(receiver.posts.length, 2);
    assert.equal(ping?.url, "/ping/uuid/fail?rid=1");
    assert.match(ping.body, /Failed with result 'exit-code'/);
    assert.deepEqual([hook?.url, hook?.type], ["/services/T0/SECRET?api-version=1&sig=x/y", "application/json"]);
    const json = JSON.parse(hook?.body ?? "") as Record<string, unknown>;
    assert.ok(String(json.text).startsWith(`${title}\n\nThe backup of`));
    const { text: _text, journal, since, ...rest } = json;
    assert.match(String(journal), /the last line/);
    assert.equal(typeof since, "number");
    assert.deepEqual(rest, {
      title,
      subject: "backup",
      event: "failed",
      name: "trade-show-db",
      host: "pve",
      vmid: 2320,
      machine,
      databases: ["shop"],
      unit: "trade-show-db-backup.service",
      result: "exit-code",
      status: 1,
      failures: 1,
    });
    assert.doesNotMatch(told.stderr + told.stdout, /SECRET|uuid/);
  });

  it("names the reason as systemd gives it", async () => {
    site.configureOutcome({ NOTIFY_COMMAND: `${site.programs}/hear` });
    for (const [result, code, status, reason, number] of [
      ["signal", "killed", "KILL", "its process was ended by SIGKILL", 137],
      ["timeout", "killed", "TERM", "it took longer than its time limit (TimeoutStartSec) and was stopped", 143],
      ["oom-kill", "killed", "KILL", "the kernel ended it because memory ran out", 137],
      ["exit-code", "exited", "3", "another run was active (exit status 3)", 3],
      ["resources", "", "", "systemd could not run it (result 'resources')", 255],
    ] as const) {
      const facts = { MONITOR_SERVICE_RESULT: result, MONITOR_EXIT_CODE: code, MONITOR_EXIT_STATUS: status };
      assert.equal((await site.tell({ ...failure, ...facts })).code, 0);
      const text = fs.readFileSync(site.heard, "utf8");
      assert.ok(text.includes(`failed: ${reason}.`), text);
      assert.ok(text.includes(`PGBACKUP_STATUS=${number}\n`), text);
    }
    assert.match(fs.readFileSync(site.heard, "utf8"), /failure 5 in a row/);
  });

  it("that succeeded is told only after a failure, once", async () => {
    site.configureOutcome(every(), { PING_URL: `${url}/ping` });
    assert.equal((await site.tell(success)).code, 0);
    assert.deepEqual([fs.existsSync(site.heard), fs.existsSync(site.mail)], [false, false]);
    await site.tell(failure);
    await site.tell(failure);
    assert.equal((await site.tell(success)).code, 0);
    assert.match(fs.readFileSync(site.heard, "utf8"), /^PGBACKUP_EVENT=recovered$/m);
    assert.match(fs.readFileSync(site.heard, "utf8"), / succeeded, after 2 failed since \d{4}-/);
    assert.match(fs.readFileSync(site.mail, "utf8"), /^Subject: Backup works again: trade-show-db/m);
    fs.rmSync(site.heard);
    await site.tell(success);
    assert.equal(fs.existsSync(site.heard), false);
    await site.tell({}, ["started"]);
    assert.deepEqual(
      receiver.posts.map((post) => post.url),
      ["/ping", "/ping/fail", "/ping/fail", "/ping", "/ping", "/ping/start"],
    );
  });

  it("reaches the other channels when one fails, and says which", async () => {
    site.shadow("sendmail", "echo 'no relay' >&2; exit 75");
    site.configureOutcome(
      { ...every(), NOTIFY_SECONDS: "1" },
      { NOTIFY_WEBHOOK: `${url}/stalled/SECRET`, PING_URL: `${url}/stalled/uuid` },
    );
    const told = await site.tell(failure);
    assert.equal(told.code, 1);
    assert.match(fs.readFileSync(site.heard, "utf8"), /PGBACKUP_EVENT=failed/);
    assert.match(told.stderr, /^error: sendmail ended with status 75: no relay$/m);
    assert.match(told.stderr, /^error: NOTIFY_WEBHOOK: no answer within 1 s$/m);
    assert.match(told.stderr, /^warning: PING_URL\/fail: no answer within 1 s$/m);
    assert.match(told.stderr, /^error: not everything was told or kept: NOTIFY_MAIL NOTIFY_WEBHOOK failed$/m);
    assert.doesNotMatch(told.stderr, /SECRET|uuid/);

    receiver.status = 404;
    site.shadow("hear", "sleep 60");
    site.configureOutcome(
      { NOTIFY_COMMAND: `${site.programs}/hear`, NOTIFY_SECONDS: "1" },
      { NOTIFY_WEBHOOK: `${url}/hook` },
    );
    const second = await site.tell(failure);
    assert.match(second.stderr, /^error: NOTIFY_COMMAND took longer than 1 s and was stopped$/m);
    assert.match(second.stderr, /^error: NOTIFY_WEBHOOK: refused with HTTP 404$/m);
  });

  it("is told although a ping is dead, and a night does not fail for it", async () => {
    site.configureOutcome({}, { PING_URL: "http://127.0.0.1:1/x" });
    for (const [facts, verb] of [
      [success, "ended"],
      [{}, "started"],
    ] as const) {
      const told = await site.tell(facts, [verb]);
      assert.equal(told.code, 0, told.stderr);
      assert.match(told.stderr, /^warning: PING_URL\S*: cannot be reached \(curl ended with 7\)$/m);
    }
  });

  it("is told although the settings file is broken or the record cannot be written", async () => {
    site.configureOutcome(
      { ...every(), RETENTION_DAYS: "many", METRICS_DIRECTORY: site.metrics },
      { NOTIFY_WEBHOOK: `${url}/hook` },
    );
    fs.appendFileSync(site.settingsFile, "DATABASES=(\n$(touch " + site.heard + ".executed)\n");
    fs.writeFileSync(path.join(site.state, "night.json"), "{ broken");
    fs.mkdirSync(path.join(site.state, "night.json.new"));
    const told = await site.tell(failure);
    assert.equal(told.code, 1);
    assert.match(told.stderr, /^error: not everything was told or kept: the record failed$/m);
    const text = fs.readFileSync(site.heard, "utf8");
    assert.match(text, /^Databases: unknown$/m);
    assert.match(text, /^Earlier dumps are untouched; the newest verified ones:\n {2}unknown$/m);
    const metrics = fs.readFileSync(path.join(site.metrics, "trade-show-db.prom"), "utf8");
    assert.match(metrics, /^pgbackup_last_exit_status\{name="trade-show-db"\} 1$/m);
    assert.match(metrics, /^pgbackup_free_bytes\{\S+\} \d+$/m);
    assert.doesNotMatch(metrics, /pgbackup_dump/);
    assert.match(text, /^Settings: error: .* line \d+: bash cannot read it/m);
    assert.ok(fs.existsSync(site.mail));
    assert.equal(receiver.posts[0]?.url, "/hook");
  });

  it("could not be started is told with its reason: the dumps' directory is gone, or nothing may be mounted", async () => {
    const tell = async (): Promise<string> => {
      site.configureOutcome(every());
      assert.equal((await site.tell({ ...failure, MONITOR_EXIT_STATUS: "226" })).code, 0);
      return fs.readFileSync(site.heard, "utf8");
    };
    assert.match(await tell(), /failed: the container no longer lets systemd mount \(226\/NAMESPACE\)/);
    fs.rmSync(site.dumps, { recursive: true });
    assert.match(await tell(), /failed: \/\S+\/dumps is gone \(226\/NAMESPACE\): pulumi up makes it anew\./);
  });

  it("started by hand sends a test message", async () => {
    site.configureOutcome(every(), { NOTIFY_WEBHOOK: `${url}/hook` });
    assert.equal((await site.tell({})).code, 0);
    assert.match(
      fs.readFileSync(site.mail, "utf8"),
      /^Subject: Backup test message: .*[^]*This is a test: nothing failed/m,
    );
    assert.equal((JSON.parse(receiver.posts[0]?.body ?? "") as { event: string }).event, "test");
    assert.equal(fs.existsSync(path.join(site.state, "night.json")), false);
  });

  it("wrong settings and lost ways to tell are named before and by the night, whose dump stands", async () => {
    for (const [key, value, right] of [
      ["NOTIFY_COMMAND", "mail me", "a program's absolute path"],
      ["NOTIFY_MAIL", "-oops@example.org", "one mail address"],
      ["METRICS_DIRECTORY", "metrics", "an absolute path"],
      ["NOTIFY_SECONDS", "0", "a whole number of seconds"],
      ["BACKUP_VMID", "x", "the container's number"],
    ] as const) {
      site.configureOutcome({ [key]: value });
      const refused = await site.run("backup.sh");
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, new RegExp(`line \\d+: ${key} is '${value}': must be ${right}`));
    }
    site.configureOutcome({ NOTIFY_COMMAND: `${site.programs}/gone --now` });
    assert.match((await site.run("backup.sh", ["--dry-run"])).stderr, /NOTIFY_COMMAND begins with '.*\/gone'/);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(night.stderr, /the night failed for: notification\./);
    assert.equal(site.dumpFiles.length, 1);
    site.configureOutcome({}, { PING_URL: "https://example.org/x#SECRET" });
    const told = await site.tell(success);
    assert.equal(told.code, 1);
    assert.match(told.stderr, /PING_URL \(not shown: it is a secret\) must be a URL without #/);
    assert.doesNotMatch(told.stderr, /SECRET/);
  });

  it("is in the metrics, which keep what the last success was", async () => {
    const s3 = new S3Server();
    try {
      site.configureOutcome({ METRICS_DIRECTORY: site.metrics, S3_BUCKET: "bucket", S3_ENDPOINT: await s3.listen() });
      assert.equal((await site.run("backup.sh")).code, 0);
      assert.equal((await site.tell(success)).code, 0);
      const good = site.readMetrics("trade-show-db.prom");
      assert.equal((await site.tell({ ...failure, MONITOR_EXIT_STATUS: "1" })).code, 0);
      const bad = site.readMetrics("trade-show-db.prom");
      const one = '{name="trade-show-db"}';
      const shop = '{name="trade-show-db",database="shop"}';
      assert.deepEqual(
        [`last_exit_status${one}`, `consecutive_failures${one}`, `dumps${shop}`, `dump_rows${shop}`].map((key) => [
          good.get(`pgbackup_${key}`),
          bad.get(`pgbackup_${key}`),
        ]),
        [
          [0, 1],
          [0, 1],
          [1, 1],
          [20, 20],
        ],
      );
      const manifest = site.manifest(site.dumpFiles[0] ?? "");
      assert.equal(bad.get(`pgbackup_dump_size_bytes${shop}`), manifest.size);
      for (const name of ["last_success_timestamp_seconds", "last_success_duration_seconds"]) {
        assert.ok(good.has(`pgbackup_${name}${one}`));
        assert.equal(good.get(`pgbackup_${name}${one}`), bad.get(`pgbackup_${name}${one}`));
      }
      const copies = [...bad].filter(([key]) => key.startsWith("pgbackup_copies{"));
      assert.equal(copies.length, 1);
      assert.match(copies[0]?.[0] ?? "", /database="shop",target=".*bucket\/ct2320\/"/);
      assert.equal(copies[0]?.[1], 1);
      assert.ok((bad.get(`pgbackup_free_bytes{name="trade-show-db",directory="${site.dumps}"}`) ?? 0) > 0);
      assert.deepEqual(fs.readdirSync(site.metrics), ["trade-show-db.prom"]);
      assert.equal(fs.statSync(path.join(site.metrics, "trade-show-db.prom")).mode & 0o777, 0o644);
    } finally {
      s3.close();
    }
  });

  it("is told although the metrics cannot be written", async () => {
    site.configureOutcome({ NOTIFY_COMMAND: `${site.programs}/hear`, METRICS_DIRECTORY: `${site.metrics}/gone` });
    const told = await site.tell(failure);
    assert.equal(told.code, 1);
    assert.match(told.stderr, /METRICS_DIRECTORY is '.*\/gone': must be a directory that .* may write/);
    assert.ok(fs.existsSync(site.heard));
  });
});
