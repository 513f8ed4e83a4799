import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, findProcesses, start, until, type Outcome } from "./cluster";
import { ReadableBucket, reader } from "./readableBucket";
import { scripts, Site } from "./site";

describe("restore.sh --from s3", function () {
  this.timeout(120_000);
  let cluster: Cluster;
  let site: Site;
  let bucket: ReadableBucket;
  let identity: string;
  let dump: string;
  let content: Buffer;
  let manifest: object;

  const older = "shop_20260101T020000Z.dump";
  const encrypted = "shop_20260102T020000Z.dump";

  before(async () => {
    cluster = new Cluster();
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 500)");
    bucket = new ReadableBucket();
    site = new Site(cluster, ["shop"]);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    [dump = ""] = site.dumpFiles;
    content = fs.readFileSync(path.join(site.dumps, dump));
    manifest = site.manifest(dump);
    site.configure({ S3_BUCKET: "bucket", S3_ENDPOINT: await bucket.listen(), S3_STALL_SECONDS: "60" });
    identity = path.join(site.root, "identity");
    execFileSync("age-keygen", ["-o", identity], { stdio: "ignore" });
  });

  beforeEach(() => {
    for (const file of site.files) fs.rmSync(path.join(site.dumps, file));
    bucket.stall = undefined;
    bucket.objects.clear();
    store(older, "2026-01-01T02:00:00.000Z");
    store(dump, new Date().toISOString());
  });

  after(() => {
    bucket.close();
    site.remove();
    cluster.stop();
  });

  const store = (file: string, started: string, object = file, bytes = content): void => {
    const about = { ...manifest, file, started, off_host: { file: object } };
    bucket.objects.set(`ct2320/${object}`, bytes);
    bucket.objects.set(`ct2320/${file}.json`, Buffer.from(JSON.stringify(about)));
  };

  const encrypt = (recipient: string): Buffer => execFileSync("age", ["-r", recipient], { input: content });
  const recipient = (): string => execFileSync("age-keygen", ["-y", identity], { encoding: "utf8" }).trim();

  const environment = (): NodeJS.ProcessEnv => ({ ...cluster.env, BACKUP_ENV: site.settingsFile });
  const restore = (args: string[], env: NodeJS.ProcessEnv = reader, input = ""): Promise<Outcome> =>
    start(path.join(scripts, "restore.sh"), [...args, "--from", "s3"], { ...environment(), ...env }, input).outcome;

  const refuses = async (
    args: string[],
    message: RegExp,
    input = "",
    env: NodeJS.ProcessEnv = reader,
  ): Promise<void> => {
    const outcome = await restore([...args, "--new", "never"], env, input);
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, message);
    assert.deepEqual(site.files, []);
    assert.equal(cluster.sql("postgres", "select count(*) from pg_database where datname = 'never'"), "0");
  };

  it("restores the newest, the one of a time, the one of a name; what it fetched stays an ordinary dump", async () => {
    const newest = await restore(
      ["latest", "--database", "shop", "--new", "fresh"],
      {},
      "AKIAREADER\nreader's secret\n",
    );
    assert.equal(newest.code, 0, newest.stderr);
    assert.match(newest.stderr, /Access key id of a reader of http[^]*Its secret \(not shown\)/);
    assert.match(newest.stderr, /role 'app' read as set session authorization, because .*, and read public\.t/);
    assert.equal(cluster.sql("fresh", "select count(*) from t"), "500");
    cluster.asPostgres("dropdb", ["fresh"]);
    assert.deepEqual(site.files, [dump, `${dump}.json`]);
    assert.equal((await site.run("backup.sh", ["--check", dump])).code, 0);
    const again = await restore(["latest", "--database", "shop", "--fetch"]);
    assert.match(again.stderr, /is here already/);
    for (const which of [
      ["--at", "2026-01-01 02:00", "--database", "shop"],
      ["--file", older],
    ]) {
      const fetched = await restore([...which, "--fetch"]);
      assert.equal(fetched.code, 0, fetched.stderr);
      assert.deepEqual(site.dumpFiles, [older, dump].sort());
      fs.rmSync(path.join(site.dumps, older));
    }
  });

  it("decrypts with an identity of this run, by file or typed", async () => {
    store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, encrypt(recipient()));
    for (const [args, input] of [
      [["--identity", identity], ""],
      [[], fs.readFileSync(identity, "utf8").split("\n").at(-2) ?? ""],
    ] as const) {
      const fetched = await restore(["--file", encrypted, "--fetch", ...args], reader, `${input}\n`);
      assert.equal(fetched.code, 0, fetched.stderr);
      assert.deepEqual(site.files, [encrypted, `${encrypted}.json`]);
      assert.deepEqual(fs.readFileSync(path.join(site.dumps, encrypted)), content);
      for (const file of site.files) fs.rmSync(path.join(site.dumps, file));
    }
  });

  it("refuses before anything is touched, and keeps nothing of it", async () => {
    const flipped = Buffer.from(content);
    flipped[content.length >> 1] = (flipped[content.length >> 1] ?? 0) ^ 1;
    bucket.objects.set(`ct2320/${older}`, flipped);
    await refuses(["--file", older], /is damaged off-host: its SHA-256 is/);
    bucket.objects.set(`ct2320/${older}`, content.subarray(0, 1000));
    await refuses(["--file", older], /is damaged off-host: its SHA-256 is/);
    bucket.objects.delete(`ct2320/${older}`);
    await refuses(
      ["--file", older],
      /\.json is at http.*, but shop_20260101T020000Z\.dump is not: the copy is no longer whole/,
    );
    bucket.objects.set(`ct2320/${older}`, content);
    bucket.objects.delete(`ct2320/${older}.json`);
    await refuses(["--file", older], /there is no dump 'shop_20260101T020000Z\.dump' at http/);
    await refuses(
      ["--at", "2026-01-01 02:00", "--database", "shop"],
      /there is no dump of database 'shop' taken not after/,
    );
    const stranger = path.join(site.root, "stranger");
    execFileSync("age-keygen", ["-o", stranger], { stdio: "ignore" });
    store(encrypted, "2026-01-02T02:00:00.000Z", `${encrypted}.age`, encrypt(recipient()));
    await refuses(
      ["--file", encrypted, "--identity", stranger],
      /cannot be decrypted with this identity: .*no identity matched/,
    );
    fs.rmSync(stranger);
    await refuses(["--file", encrypted], /no age identity: type it, or name its file/);
    await refuses(
      ["--file", encrypted, "--identity", "/nowhere"],
      /--identity is '\/nowhere': must be a readable file/,
    );
    const writer = { S3_READER_ACCESS_KEY_ID: "AKIAWRITER", S3_READER_SECRET_ACCESS_KEY: "x" };
    await refuses(["--file", older], /HTTP 403 AccessDenied/, "", writer);
    await refuses(["--file", older], /no reader's key: type it, or set/, "", {});
  });

  it("shows no secret in any process's arguments or environment, and a killed download is removed by the next run", async () => {
    const work = path.join(site.root, "work");
    fs.mkdirSync(work);
    fs.chmodSync(work, 0o755);
    bucket.stall = `ct2320/${older}`;
    const args = ["--file", older, "--from", "s3", "--fetch", "--work", work];
    const running = start(path.join(scripts, "restore.sh"), args, environment(), "AKIAREADER\nreader's secret\n");
    const partial = path.join(work, `.${older}.download`);
    await until("the download has begun", () => fs.existsSync(partial) && fs.statSync(partial).size > 0);
    const all = fs.readdirSync("/proc").filter((entry) => /^\d+$/.test(entry));
    const read = (file: string): string => {
      try {
        return fs.readFileSync(file, "latin1");
      } catch {
        return "";
      }
    };
    assert.ok(findProcesses(`BACKUP_ENV=${site.settingsFile}`, "curl").length === 1);
    for (const pid of all)
      assert.ok(!`${read(`/proc/${pid}/cmdline`)}${read(`/proc/${pid}/environ`)}`.includes("reader's secret"), pid);
    for (const pid of [running.pid, ...findProcesses(`BACKUP_ENV=${site.settingsFile}`)]) process.kill(pid, "SIGKILL");
    await running.outcome;
    assert.ok(fs.existsSync(partial));
    const next = await site.run("restore.sh", ["--clean-up"]);
    assert.equal(next.code, 0, next.stderr);
    assert.match(next.stderr, /half fetched by a run that was cut off, is removed/);
    assert.deepEqual([fs.readdirSync(work), site.files], [[], []]);
  });
});
