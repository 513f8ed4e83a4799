import * as assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, type Outcome } from "./cluster";
import { OutcomeSite } from "./outcomeSite";
import { flipBit } from "./site";
import { Receiver } from "./receiver";

const unit = "trade-show-db-drill.service";
const invocation = "0123456789abcdef0123456789abcdef";

describe("what came of a drill", function () {
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
    cluster.createDatabase("other", "create table t (id int); insert into t values (1)");
  });

  beforeEach(async () => {
    receiver = new Receiver();
    url = await receiver.listen();
  });

  async function prepare(...databases: readonly string[]): Promise<void> {
    site = new OutcomeSite(cluster, databases);
    site.configureOutcome(
      {
        NOTIFY_COMMAND: `${site.programs}/hear`,
        NOTIFY_MAIL: "ops@example.org",
        METRICS_DIRECTORY: site.metrics,
        DRILL_COMMAND: "/usr/local/bin/trade-show-db-drill.sh",
      },
      { NOTIFY_WEBHOOK: `${url}/hook`, PING_URL: `${url}/ping` },
    );
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
  }

  afterEach(() => {
    receiver.close();
    site.remove();
  });

  after(() => cluster.stop());

  /** Tells of a drill that began then and ended so, as its unit does. */
  function tell(began: number, result: string, status: string, code = "exited"): Promise<Outcome> {
    site.shadow("systemctl", `printf 'InvocationID=${invocation}\\nExecMainStartTimestamp=@${began}\\n'`);
    const facts = {
      ...{ MONITOR_UNIT: unit, MONITOR_INVOCATION_ID: invocation, MONITOR_SERVICE_RESULT: result },
      ...{ MONITOR_EXIT_CODE: code, MONITOR_EXIT_STATUS: status },
    };
    return site.tell(facts, ["ended", "drill"]);
  }

  /** Does a drill and tells of it. */
  async function drill(expected: number): Promise<number> {
    const began = Math.floor(Date.now() / 1000);
    const { code, stderr } = await site.run("drill.sh");
    assert.equal(code, expected, stderr);
    const told = await tell(began, code === 0 ? "success" : "exit-code", String(code));
    assert.equal(told.code, 0, told.stderr);
    return began;
  }

  const dumpOf = (database: string): string =>
    site.dumpFiles.find((file) => file.startsWith(`${database}_`)) ?? assert.fail(database);

  /** Flips one bit in the middle of a file, or back. */
  const flip = (dump: string): void => flipBit(path.join(site.dumps, dump));

  const heard = (): string => fs.readFileSync(site.heard, "utf8");
  const record = () =>
    JSON.parse(fs.readFileSync(path.join(site.state, "drill.json"), "utf8")) as Readonly<Record<string, unknown>>;
  const read = (metric: string, labels = ""): number | undefined =>
    site.readMetrics("trade-show-db-drill.prom").get(`pgbackup_drill_${metric}{name="trade-show-db"${labels}}`);

  it("that failed is told like a night, with what its report says, and pings nothing", async () => {
    await prepare("shop", "other");
    const dump = dumpOf("shop");
    flip(dump);
    await drill(1);
    const machine = execFileSync("uname", ["-n"], { encoding: "utf8" }).trim();
    const title = `Backup drill FAILED: trade-show-db, container 2320 (${machine} on pve)`;
    for (const line of [
      "PGBACKUP_SUBJECT=drill",
      "PGBACKUP_EVENT=failed",
      "PGBACKUP_FAILURES=1",
      "PGBACKUP_STATUS=1",
      `PGBACKUP_TITLE=${title}`,
      `PGBACKUP_UNIT=${unit}`,
      `The drill of container 2320 (${machine} on pve) failed: exit status 1.`,
      "Databases: shop, other",
      "Its report says:",
      "  02:00:01 error: the last line; Failed with result 'exit-code'.",
      "What to do: read what failed, put it right, then do another one:",
      "  pct exec 2320 -- /usr/local/bin/trade-show-db-drill.sh --report",
      `  pct exec 2320 -- journalctl --no-pager --since yesterday --unit ${unit}`,
      `  pct exec 2320 -- systemctl start ${unit}`,
    ])
      assert.ok(heard().split("\n").includes(line), `${line}\n${heard()}`);
    assert.match(heard(), /^When: \S+ \S+ UTC to \S+ \S+ UTC; failure 1 in a row, since \d{4}-/m);
    assert.match(
      heard(),
      /^ {2}shop: FAILED after [\d.]+ s: \S+ is damaged: its SHA-256 is \w+, its manifest says \w+/m,
    );
    assert.match(heard(), new RegExp(`^ {2}other: restored and proved in [\\d.]+ s, from ${dumpOf("other")}$`, "m"));
    assert.doesNotMatch(heard(), /Earlier dumps|--dry-run/);
    assert.match(
      fs.readFileSync(site.mail, "utf8"),
      /^-i -- ops@example\.org\nTo: \S+\nSubject: Backup drill FAILED: /,
    );
    assert.deepEqual(
      receiver.posts.map((post) => post.url),
      ["/hook"],
    );
    const json = JSON.parse(receiver.posts[0]?.body ?? "") as Record<string, unknown>;
    assert.deepEqual(
      [json.subject, json.event, json.title, json.unit, json.status, json.failures, json.databases],
      ["drill", "failed", title, unit, 1, 1, ["shop", "other"]],
    );
  });

  it("that succeeded is told only after a failure, with the measured recovery times; the night has a record of its own", async () => {
    await prepare("shop");
    await drill(0);
    assert.deepEqual([fs.existsSync(site.heard), fs.existsSync(site.mail)], [false, false]);
    const dump = dumpOf("shop");
    flip(dump);
    const first = await drill(1);
    await drill(1);
    assert.match(heard(), /failure 2 in a row/);
    assert.deepEqual([record().failures, record().failed_since], [2, first]);
    flip(dump);
    await drill(0);
    assert.match(heard(), /^PGBACKUP_EVENT=recovered$/m);
    assert.match(heard(), /^The drill of container 2320 .* succeeded, after 2 failed since \d{4}-/m);
    assert.match(heard(), /^How long a recovery takes, from picking the dump to the proof:$/m);
    assert.match(heard(), new RegExp(`^ {2}shop: restored and proved in [\\d.]+ s, from ${dump}$`, "m"));
    assert.match(fs.readFileSync(site.mail, "utf8"), /^Subject: Backup drill works again: trade-show-db/m);
    assert.deepEqual([record().failures, record().failed_since], [0, null]);
    fs.rmSync(site.heard);
    await drill(0);
    assert.equal(fs.existsSync(site.heard), false);
    assert.equal(fs.existsSync(path.join(site.state, "night.json")), false);
    assert.deepEqual(
      receiver.posts.map((post) => post.url),
      ["/hook", "/hook", "/hook"],
    );
  });

  it("that was not what the manifest says is told with some of what differs", async () => {
    await prepare("shop");
    const dump = dumpOf("shop");
    const manifest = { ...site.manifest(dump), tables: { "public.events": 21 } };
    fs.writeFileSync(path.join(site.dumps, `${dump}.json`), JSON.stringify(manifest));
    await drill(1);
    assert.match(
      heard(),
      /^ {2}shop: FAILED after [\d.]+ s: restored from \S+, but not what its manifest says: see above$/m,
    );
    assert.match(heard(), /^ {4}differs: \{"fact":"tables","table":"public\.events",.*"found":20/m);
    assert.equal(read("ok", ',database="shop"'), 0);
    assert.equal(read("rows", ',database="shop"'), 20);
    assert.equal(read("recovery_seconds", ',database="shop"'), undefined);
  });

  it("that was ended before it could report is not told with what another one found", async () => {
    await prepare("shop");
    const began = await drill(0);
    const told = await tell(began + 60, "timeout", "TERM", "killed");
    assert.equal(told.code, 0, told.stderr);
    assert.match(heard(), /failed: it took longer than its time limit \(TimeoutStartSec\) and was stopped\.$/m);
    assert.match(heard(), /^Its report says:\n {2}nothing: no report of this drill was found$/m);
    assert.doesNotMatch(heard(), /restored and proved/);
  });

  it("that another one kept from beginning is told as that, and is no failure", async () => {
    await prepare("shop");
    fs.writeFileSync(path.join(site.state, "drill.lock"), "4711\n");
    execFileSync("chown", [`${cluster.role}:`, path.join(site.state, "drill.lock")]);
    const refuse = async (): Promise<void> => {
      const holder = spawn("flock", [path.join(site.state, "drill.lock"), "sh", "-c", "echo held; cat"]);
      await new Promise((resolve) => holder.stdout.once("data", resolve));
      await drill(3);
      holder.stdin.end();
      await new Promise((resolve) => holder.once("exit", resolve));
    };
    await refuse();
    assert.match(heard(), /^PGBACKUP_EVENT=refused$/m);
    assert.match(heard(), /^PGBACKUP_TITLE=Backup drill NOT DONE: trade-show-db, container 2320/m);
    assert.match(heard(), / was not done: another run was active \(exit status 3\)\. Nothing failed\.$/m);
    assert.match(heard(), new RegExp(`^ {2}pct exec 2320 -- systemctl start ${unit}$`, "m"));
    assert.doesNotMatch(heard(), /FAILED|in a row|report says/);
    assert.deepEqual([record().failures, record().failed_since, record().status], [0, null, 3]);
    assert.deepEqual([read("consecutive_failures"), read("last_exit_status")], [0, 3]);
    fs.rmSync(site.heard);
    await drill(0);
    assert.equal(fs.existsSync(site.heard), false, "nothing had failed: nothing works again");

    const dump = dumpOf("shop");
    flip(dump);
    await drill(1);
    await refuse();
    assert.deepEqual([record().failures, read("consecutive_failures")], [1, 1]);
    flip(dump);
    await drill(0);
    assert.match(heard(), / succeeded, after 1 failed since /);
  });

  it("is in metrics of its own, which keep what the last success was", async () => {
    await prepare("shop", "other");
    const night = {
      ...{ MONITOR_UNIT: "trade-show-db-backup.service", MONITOR_INVOCATION_ID: invocation },
      ...{ MONITOR_SERVICE_RESULT: "success", MONITOR_EXIT_CODE: "exited", MONITOR_EXIT_STATUS: "0" },
    };
    assert.equal((await site.tell(night)).code, 0);
    const nights = fs.readFileSync(path.join(site.metrics, "trade-show-db.prom"), "utf8");
    assert.doesNotMatch(nights, /drill/);

    const began = await drill(0);
    const [report = ""] = fs.readdirSync(path.join(site.state, "drills"));
    const { databases } = JSON.parse(fs.readFileSync(path.join(site.state, "drills", report), "utf8")) as {
      databases: readonly { database: string; seconds: number }[];
    };
    const good = site.readMetrics("trade-show-db-drill.prom");
    const ended = read("last_success_timestamp_seconds") ?? 0;
    assert.ok(ended >= began && ended <= Date.now() / 1000, String(ended));
    assert.deepEqual(
      [...good].map(([key, value]) => [key.replace("pgbackup_drill_", "").replace('name="trade-show-db"', ""), value]),
      [
        ["last_attempt_timestamp_seconds{}", began],
        ["last_exit_status{}", 0],
        ["consecutive_failures{}", 0],
        ["last_success_timestamp_seconds{}", ended],
        ["last_success_duration_seconds{}", ended - began],
        // A sample goes before the earlier ones of its name.
        ['ok{,database="other"}', 1],
        ['ok{,database="shop"}', 1],
        ['recovery_seconds{,database="other"}', databases.find((one) => one.database === "other")?.seconds],
        ['recovery_seconds{,database="shop"}', databases.find((one) => one.database === "shop")?.seconds],
        ['rows{,database="other"}', 1],
        ['rows{,database="shop"}', 20],
        ["damaged_dumps{}", 0],
      ],
    );

    flip(dumpOf("shop"));
    await drill(1);
    assert.deepEqual([read("last_exit_status"), read("consecutive_failures")], [1, 1]);
    assert.equal(read("last_success_timestamp_seconds"), ended);
    assert.equal(read("damaged_dumps"), 1);
    assert.deepEqual(
      ["shop", "other"].map((database) => ["ok", "rows"].map((metric) => read(metric, `,database="${database}"`))),
      [
        [0, undefined],
        [1, 1],
      ],
    );
    assert.equal(read("recovery_seconds", ',database="shop"'), undefined);
    assert.equal(fs.readFileSync(path.join(site.metrics, "trade-show-db.prom"), "utf8"), nights);
    assert.deepEqual(fs.readdirSync(site.metrics).sort(), ["trade-show-db-drill.prom", "trade-show-db.prom"]);
  });

  it("that was cut off has proved none of the databases it did not come to; before the first one nothing is known", async () => {
    await prepare("shop", "other");
    const began = Math.floor(Date.now() / 1000);
    assert.equal((await tell(began, "exit-code", "226")).code, 0);
    assert.equal(read("last_exit_status"), 226);
    assert.equal(read("ok", ',database="shop"'), undefined);

    // What a drill leaves that is killed before its first database has ended.
    const [work, reports] = [path.join(site.state, "drill.work"), path.join(site.state, "drills")];
    for (const directory of [work, reports]) fs.mkdirSync(directory);
    fs.writeFileSync(path.join(work, "started"), new Date().toISOString().replace(/\.\d+/, ""));
    execFileSync("chown", ["-R", `${cluster.role}:`, work, reports]);
    assert.equal((await site.run("drill.sh", ["--clean-up"])).code, 0);
    assert.equal((await tell(began, "signal", "KILL", "killed")).code, 0);
    assert.match(heard(), /^Its report says:\n {2}cut off: it was killed, or the machine went down$/m);
    assert.deepEqual([read("ok", ',database="shop"'), read("ok", ',database="other"')], [0, 0]);
  });

  it("has a test message of its own, and no other words", async () => {
    await prepare("shop");
    assert.equal((await site.tell({}, ["ended", "drill"])).code, 0);
    assert.match(fs.readFileSync(site.mail, "utf8"), /^Subject: Backup drill test message: /m);
    assert.match(heard(), /^This is a test: nothing failed\. When a drill of container 2320 .* fails, /m);
    assert.equal(fs.existsSync(path.join(site.state, "drill.json")), false);
    for (const words of [["ended", "night"], ["drill"], []]) {
      const refused = await site.tell({}, words);
      assert.equal(refused.code, 2);
      assert.match(refused.stderr, /^error: '.*' is none of started, ended, ended drill and --help \(try --help\)$/m);
    }
  });
});
