import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, until } from "./cluster";
import { S3Server, type Fault } from "./s3Server";
import { scripts, Site } from "./site";

const mebibyte = 1024 ** 2;

describe("copies to S3 while the dump is written", function () {
  let cluster: Cluster;
  let site: Site;
  let s3: S3Server;
  let endpoint: string;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 30)");
    cluster.createDatabase("other", "create table t (id int)");
    // 31 MB, 18 MB when compressed: parts of 8 MiB and a rest.
    cluster.createDatabase(
      "large",
      `create table blobs as select i, string_agg(md5(random()::text), '') as text
         from generate_series(1, 60000) i, generate_series(1, 16) j group by i`,
    );
  });

  afterEach(() => {
    s3.close();
    site.remove();
  });

  after(() => cluster.stop());

  async function makeSite(databases: string[], settings: Record<string, string> = {}): Promise<void> {
    s3 = new S3Server();
    endpoint = await s3.listen();
    site = new Site(cluster, databases, withS3(settings));
  }

  const withS3 = (settings: Record<string, string> = {}): Record<string, string> => ({
    S3_BUCKET: "bucket",
    S3_ENDPOINT: endpoint,
    ...settings,
  });

  const key = (file: string): string => `/bucket/ct2320/${file}`;

  /** Keys of all objects but the globals, without the prefix. */
  const stored = (): string[] =>
    [...s3.objects.keys()]
      .map((each) => each.replace(key(""), ""))
      .filter((each) => !each.startsWith("globals_"))
      .sort();

  const partsSent = (): number => [...s3.uploads.values()].reduce((sum, upload) => sum + upload.parts.size, 0);

  /** The night's own process. */
  const holder = (): number => Number(fs.readFileSync(path.join(site.state, "lock"), "utf8"));

  /** The process of a database, of its pg_dump. */
  const parentOf = (pid: number): number =>
    Number(execFileSync("ps", ["-o", "ppid=", "-p", String(pid)], { encoding: "utf8" }));

  /** Starts a night on the large database and halts its pg_dump once a part has arrived. */
  async function haltAfterFirstPart(): Promise<{ readonly pid: number; readonly night: ReturnType<Site["start"]> }> {
    const night = site.start("backup.sh");
    const pid = await until("pg_dump has written more than a part", () => {
      const [found] = site.processes("pg_dump");
      const partial = site.files.find((file) => file.endsWith(".dump.partial"));
      return found !== undefined &&
        partial !== undefined &&
        fs.statSync(path.join(site.dumps, partial)).size > 8.5 * mebibyte
        ? found
        : undefined;
    });
    process.kill(pid, "SIGSTOP");
    await until("the first part has arrived", () => partsSent() === 1);
    return { pid, night };
  }

  it("parts go up meanwhile; what makes an object of them comes after the dump exists, the manifest last", async () => {
    await makeSite(["large"]);
    const { pid, night } = await haltAfterFirstPart();
    assert.deepEqual(stored(), []);
    assert.deepEqual(
      s3.accepted.map(({ method, url }) => `${method} ${url.replace(/[^?]*\?/, "").replace(/=.*&/, "=…&")}`),
      ["POST uploads=", `PUT partNumber=…&uploadId=${encodeURIComponent([...s3.uploads.keys()][0] ?? "")}`],
    );
    process.kill(pid, "SIGCONT");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 0, outcome.stderr);
    const [dump = ""] = site.dumpFiles;
    assert.deepEqual(stored(), [dump, `${dump}.json`]);
    const content = fs.readFileSync(path.join(site.dumps, dump));
    assert.ok(s3.objects.get(key(dump))?.equals(content));
    assert.equal(s3.uploads.size, 0);
    const manifest = JSON.parse(s3.objects.get(key(`${dump}.json`))?.toString() ?? "") as {
      off_host: { file: string; size: number; parts: { size: number; sha256: string }[] };
    };
    const parts = [content.subarray(0, 8 * mebibyte), content.subarray(8 * mebibyte, 16 * mebibyte)];
    parts.push(content.subarray(16 * mebibyte));
    const { off_host, ...rest } = manifest;
    assert.deepEqual(rest, site.manifest(dump));
    assert.deepEqual(off_host, {
      file: dump,
      size: content.length,
      parts: parts.map((part) => ({
        size: part.length,
        sha256: createHash("sha256").update(part).digest("hex"),
      })),
    });
    const ofDump = s3.accepted.filter(({ url }) => url.includes(dump));
    assert.deepEqual(
      ofDump.slice(-2).map(({ method, url }) => `${method} ${url.replace(/uploadId=.*/, "uploadId")}`),
      [`POST ${key(dump)}?uploadId`, `PUT ${key(dump)}.json`],
    );
  });

  it("all parts are sent while the dump is still verified; one that cannot be read never becomes an object", async () => {
    await makeSite(["large"]);
    const go = path.join(site.root, "go");
    site.shadow(
      "pg_restore",
      `until [[ -s ${go} ]]; do sleep 0.1; done; case $(<${go}) in bad) echo torn >&2; exit 1 ;; esac; exec /usr/bin/pg_restore "$@"`,
    );
    for (const [verdict, code] of [
      ["bad", 1],
      ["good", 0],
    ] as const) {
      fs.rmSync(go, { force: true });
      s3.accepted.length = 0;
      const night = site.start("backup.sh");
      await until("every part has arrived", () => partsSent() === 3);
      assert.deepEqual(site.dumpFiles, []);
      assert.deepEqual(stored(), []);
      assert.ok(s3.accepted.every(({ url }) => /uploads=|partNumber=/.test(url)));
      fs.writeFileSync(go, verdict);
      const outcome = await night.outcome;
      assert.equal(outcome.code, code, outcome.stderr);
      assert.equal(s3.uploads.size, 0);
      assert.deepEqual(stored(), site.files);
      if (verdict === "bad") assert.match(outcome.stderr, /large: error: pg_restore cannot read the dump: torn/);
    }
  });

  for (const [what, signal, code] of [
    ["pg_dump killed midway", "SIGKILL", 1],
    ["the night stopped midway", "SIGTERM", 143],
  ] as const) {
    it(`${what}: the upload is aborted, nothing becomes an object`, async () => {
      await makeSite(["large"]);
      const { pid, night } = await haltAfterFirstPart();
      process.kill(signal === "SIGKILL" ? pid : holder(), signal);
      if (signal === "SIGTERM") process.kill(pid, "SIGCONT");
      const outcome = await night.outcome;
      assert.equal(outcome.code, code, outcome.stderr);
      assert.deepEqual(stored(), []);
      assert.equal(s3.uploads.size, 0);
      assert.deepEqual(site.files, []);
      await until("nothing of it runs on", () => site.processes().length === 0);
      const next = await site.run("backup.sh");
      assert.equal(next.code, 0, next.stderr);
      assert.deepEqual(stored(), site.files);
    });
  }

  it("a night that is stopped ends with that, however long the server takes to abort the upload", async () => {
    await makeSite(["large", "shop"], { S3_STALL_SECONDS: "2" });
    const { pid, night } = await haltAfterFirstPart();
    s3.fault = { kind: "stall", match: "DELETE" };
    process.kill(holder(), "SIGTERM");
    process.kill(pid, "SIGCONT");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 143, outcome.stderr);
    assert.equal(outcome.stderr, "error: stopped by a signal; partials removed, earlier dumps untouched\n");
    assert.deepEqual(fs.readdirSync(site.dumps), []);
    assert.deepEqual(site.processes(), []);
  });

  it("everything killed at once (power cut): no object; the next night removes the parts that were left", async () => {
    await makeSite(["large"]);
    const { night } = await haltAfterFirstPart();
    await until("all of it is killed", () => site.signal("SIGKILL") === 0);
    await night.outcome;
    assert.deepEqual(stored(), []);
    assert.equal(s3.uploads.size, 1);
    const next = await site.run("backup.sh");
    assert.equal(next.code, 0, next.stderr);
    assert.equal(s3.uploads.size, 0);
    assert.deepEqual(stored(), site.files);
    assert.deepEqual(
      fs.readdirSync(path.join(site.state, "off-host", "s3")).filter((entry) => entry.startsWith("large")),
      [`${site.dumpFiles[0] ?? ""}.json`],
    );
  });

  it("only the night's own process dies: its copier gives up by itself and completes nothing", async () => {
    await makeSite(["large"]);
    const { pid, night } = await haltAfterFirstPart();
    const main = holder();
    const part = parentOf(pid);
    assert.ok(site.processes().includes(main) && site.processes().includes(part));
    process.kill(main, "SIGKILL");
    process.kill(part, "SIGKILL");
    process.kill(pid, "SIGCONT");
    await night.outcome;
    await until("all of it is gone", () => site.processes().length === 0);
    assert.deepEqual(stored(), []);
    assert.equal(s3.uploads.size, 0, "aborted");
  });

  it("a target that stalls neither stretches nor breaks the dump: it exists while the target still hangs", async () => {
    await makeSite(["large"], { S3_STALL_SECONDS: "9999" });
    s3.fault = { kind: "stall", match: "partNumber=1" };
    const met = s3.faultMet();
    const night = site.start("backup.sh");
    await met;
    await until(
      "dump and manifest exist",
      () => site.files.length === 2 && site.files.every((each) => each[0] !== "."),
    );
    assert.equal(s3.uploads.size, 1, "and the part is still on its way");
    assert.deepEqual(stored(), []);
    s3.close();
    const outcome = await night.outcome;
    assert.equal(outcome.code, 1);
    assert.match(outcome.stderr, /large: dumped and verified/);
    assert.match(outcome.stderr, /error: missing off-host: http\S+large_\w+\.dump: the next night makes it good/);
  });

  it("a slow target holds up no dump, and takes the copies of one database after the other's", async () => {
    await makeSite(["large", "shop"]);
    const go = path.join(site.root, "go");
    site.shadow(
      "curl",
      `if [[ "$*" == *partNumber=1* ]]; then until [[ -e ${go} ]]; do sleep 0.1; done; fi; exec /usr/bin/curl "$@"`,
    );
    const night = site.start("backup.sh");
    const whole = /^(large|shop)_\w+\.dump\.json$|^globals_\w+\.sql\.json$/;
    const manifests = (): string[] => fs.readdirSync(site.dumps).filter((file) => whole.test(file));
    await until("all dumps exist", () => manifests().length === 3);
    const sent = (): string[] =>
      s3.accepted.map(({ method, url }) => `${method} ${/ct2320\/([a-z]+)_/.exec(url)?.[1]}`);
    assert.deepEqual(sent(), ["POST large"]);
    fs.writeFileSync(go, "");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 0, outcome.stderr);
    const turns = sent()
      .map((request) => request.split(" ")[1])
      .filter((what, position, all) => what !== all[position - 1]);
    assert.equal(turns[0], "large");
    assert.deepEqual(turns.sort(), ["globals", "large", "shop"]);
    assert.deepEqual(stored(), site.files);
  });

  it("only one database's process dies: the night goes on with the next, and fails", async () => {
    await makeSite(["large", "shop"]);
    const { pid, night } = await haltAfterFirstPart();
    process.kill(parentOf(pid), "SIGKILL");
    process.kill(pid, "SIGCONT");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 1, outcome.stderr);
    assert.match(outcome.stderr, /^error: the night failed for: 'large'\. /m);
    assert.match(stored().join(" "), /^(shop_\w+\.dump) \1\.json$/);
  });

  it("a night that is told to stop while it asks whether the target is there leaves nothing running", async () => {
    await makeSite(["shop"], { S3_STALL_SECONDS: "9999" });
    s3.fault = { kind: "stall", match: "" };
    const met = s3.faultMet();
    const night = site.start("backup.sh");
    await met;
    assert.equal(site.processes("curl").length, 1);
    process.kill(holder(), "SIGTERM");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 143, outcome.stderr);
    assert.deepEqual(site.processes(), []);
    assert.equal(outcome.stderr, "error: stopped by a signal; partials removed, earlier dumps untouched\n");
    assert.deepEqual(site.files, []);
  });

  it("a dead target is waited for once a night, whatever the number of databases", async () => {
    await makeSite(["shop", "other"], { S3_STALL_SECONDS: "1" });
    let asked = 0;
    const count = (): void => void s3.faultMet().then(() => ((asked += 1), count()));
    count();
    s3.fault = { kind: "stall", match: "PUT" };
    const dying = await site.run("backup.sh");
    assert.equal(dying.code, 1);
    assert.equal(asked, 1, "the first dump's copy; neither the second's nor the globals'");
    assert.equal(dying.stderr.match(/missing off-host: /g)?.length, 3);
    assert.equal(site.dumpFiles.length, 2);
    s3.fault = { kind: "stall", match: "" };
    const dead = await site.run("backup.sh");
    assert.equal(dead.code, 1);
    assert.equal(asked, 2, "only the question before the night");
    assert.match(dead.stderr, /error: off-host target S3, S3_ENDPOINT 'http:\S+': no answer in time/);
    assert.equal(site.dumpFiles.length, 4);
    s3.fault = undefined;
    site.configure(withS3());
    const good = await site.run("backup.sh");
    assert.equal(good.code, 0, good.stderr);
    assert.deepEqual(stored(), site.files);
  });

  const faults: [string, Fault, RegExp][] = [
    ["a part refused", { kind: "deny", match: "partNumber=2" }, /PUT \S+\.dump: refused with HTTP 403 AccessDenied/],
    [
      "a bit of a part flipped on the way",
      { kind: "flip", match: "partNumber=2" },
      /HTTP 400 XAmzContentSHA256Mismatch/,
    ],
    ["cut in every try of a part", { kind: "cut", match: "partNumber=2" }, /PUT \S+\.dump: curl: \(5[256]\)/],
    ["the completion refused", { kind: "deny", match: /POST \S+uploadId/ }, /POST \S+\.dump: refused with HTTP 403/],
    [
      "HTTP 200 with a failure in it",
      { kind: "fail late", match: /POST \S+uploadId/ },
      /could not put the parts together/,
    ],
    ["the manifest refused", { kind: "deny", match: ".dump.json" }, /PUT \S+\.dump\.json: refused with HTTP 403/],
  ];
  for (const [what, fault, message] of faults) {
    it(`${what}: no manifest, no parts left; the next night makes it good with the same code`, async () => {
      await makeSite(["large"], { COMPRESSION: "none" });
      s3.fault = fault;
      const bad = await site.run("backup.sh");
      assert.equal(bad.code, 1, bad.stderr);
      assert.match(bad.stderr, message);
      const [first = ""] = site.dumpFiles;
      assert.deepEqual(stored(), fault.match === ".dump.json" ? [first] : []);
      assert.equal(s3.uploads.size, 0);
      s3.fault = undefined;
      const good = await site.run("backup.sh");
      assert.equal(good.code, 0, good.stderr);
      assert.deepEqual(stored(), site.files);
      assert.ok(s3.objects.get(key(first))?.equals(fs.readFileSync(path.join(site.dumps, first))));
    });
  }

  const passing: [string, Fault][] = [
    ["a part cut once", { kind: "cut", match: "partNumber=1", times: 1 }],
    ["a server that is busy twice", { kind: "busy", match: "partNumber=1", times: 2 }],
    ["the answer to a whole dump lost once", { kind: "lose", match: /PUT \S+\.dump$/, times: 1 }],
  ];
  for (const [what, fault] of passing) {
    it(`${what}: tried again, the night is good`, async () => {
      await makeSite([String(fault.match).includes("part") ? "large" : "shop"], { COMPRESSION: "none" });
      s3.fault = fault;
      const good = await site.run("backup.sh");
      assert.equal(good.code, 0, good.stderr);
      assert.equal(fault.times, 0);
      assert.deepEqual(stored(), site.files);
    });
  }

  it("an object of the same name that is not ours is not overwritten, and said to be there", async () => {
    await makeSite(["shop"]);
    for (let second = 0; second < 60; second++) {
      const stamp = new Date(Date.now() + second * 1000).toISOString().replace(/[-:]|\.\d+/g, "");
      s3.objects.set(key(`shop_${stamp}.dump`), Buffer.from("another machine's"));
    }
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(night.stderr, /HTTP 412 PreconditionFailed: .*not from this attempt.* S3_PREFIX of its own/);
    assert.deepEqual(
      new Set([...s3.objects.values()].map(String).filter((each) => each.length < 20)),
      new Set(["another machine's"]),
    );
    assert.ok(!stored().includes(`${site.dumpFiles[0] ?? ""}.json`));
  });

  it("copies that a lost ledger knows nothing of are put again by the next night", async () => {
    await makeSite(["shop"]);
    assert.equal((await site.run("backup.sh")).code, 0);
    const first = stored();
    fs.rmSync(path.join(site.state, "off-host"), { recursive: true });
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    assert.deepEqual(stored(), site.files);
    assert.ok(first.every((each) => stored().includes(each)));
  });

  it("copies that the bucket's lifecycle rule has removed are said to be expired, and are not put again", async () => {
    await makeSite(["shop"], { S3_RETENTION_DAYS: "3" });
    assert.equal((await site.run("backup.sh")).code, 0);
    const [first = ""] = site.dumpFiles;
    const entry = path.join(site.state, "off-host/s3", `${first}.json`);
    /** Makes the copy look that many days old; returns what the next night's list says of it. */
    const isListed = async (days: number): Promise<string> => {
      const stamp = new Date(Date.now() - days * 86_400_000).toISOString().replace(/[-:]|\.\d+/g, "");
      fs.writeFileSync(entry, fs.readFileSync(entry, "utf8").replace(/"copied": "[^"]+"/, `"copied": "${stamp}"`));
      const night = await site.run("backup.sh");
      assert.equal(night.code, 0, night.stderr);
      const { stdout } = await site.run("backup.sh", ["--list"]);
      return stdout.split("\n").find((line) => line.endsWith(`  ${first}`)) ?? stdout;
    };
    assert.match(await isListed(3.9), / yes +s3 /, "it counts whole days");
    assert.match(await isListed(4.1), / yes +expired s3 /);
    for (const gone of [first, `${first}.json`]) s3.objects.delete(key(gone));
    assert.match(await isListed(4.1), / yes +expired s3 /);
    assert.ok(!stored().includes(first));
    for (const file of [first, `${first}.json`]) fs.rmSync(path.join(site.dumps, file));
    assert.equal((await site.run("backup.sh")).code, 0);
    assert.ok(!fs.existsSync(entry), "nobody asks for it any more");
  });

  it("what may have got through before is put again; a server without If-None-Match does as well", async () => {
    await makeSite(["shop"]);
    s3.fault = { kind: "lose", match: /PUT \S+\.dump$/ };
    const lost = await site.run("backup.sh");
    assert.equal(lost.code, 1);
    assert.deepEqual(stored(), site.dumpFiles, "there, though we do not know");
    s3.fault = undefined;
    assert.equal((await site.run("backup.sh")).code, 0);
    s3.knowsConditions = false;
    const without = await site.run("backup.sh");
    assert.equal(without.code, 0, without.stderr);
    assert.deepEqual(stored(), site.files);
  });

  it("a dump that is whole before its copy has begun is copied as well", async () => {
    await makeSite(["shop"]);
    const partials = `${site.dumps}/.shop_*.dump.partial`;
    site.shadow(
      "mkfifo",
      `if [[ "$*" == */content* ]]; then while compgen -G '${partials}' >/dev/null; do sleep 0.05; done; fi
      exec /usr/bin/mkfifo "$@"`,
    );
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    assert.deepEqual(stored(), site.files);
  });

  it("parts are few, and as large as 10,000 of them must be to hold four times what is expected; S3 takes them all", () => {
    const few = [1, 16 * 8 * mebibyte, 16 * 8 * mebibyte + 1, 1024 * mebibyte];
    const expected = [...few, 2500 * 64 * mebibyte, 2500 * 64 * mebibyte + 1, 1024 ** 4, 5 * 1024 ** 4];
    const program = `. '${scripts}/lib/targets/s3.sh'; for size in ${expected.join(" ")}; do choose_part_size "$size"; echo; done`;
    const sizes = execFileSync("bash", ["-euc", program], { encoding: "utf8" }).trim().split("\n").map(Number);
    assert.deepEqual(
      sizes.map((size) => size / mebibyte),
      [8, 8, 16, 64, 64, 128, 512, 4096],
    );
    for (const [position, size] of sizes.entries())
      assert.ok(size * 10_000 >= 4 * (expected[position] ?? 0), String(size));
  });

  it("manifest and ledger describe a copy of 10,000 parts, more than fit on a command line", async () => {
    await makeSite(["shop"]);
    const file = "shop_20260101T000000Z.dump";
    fs.writeFileSync(path.join(site.dumps, `${file}.json`), "{}");
    const hash = "0".repeat(64);
    const program = `shopt -s inherit_errexit
      for part in log signals settings names content manifest dump offhost ledger packing encryption targets/s3 s3; do
        . '${scripts}/lib/'$part.sh
      done
      load_settings; AGE_RECIPIENTS=(); WORK=$(mktemp -d '${site.root}/work.XXXX')
      s3_send() {
        for ((number = 1; number <= 10000; number++)); do echo "$number 67108864 ${hash} checksum etag"; done >"$COPY_WORK/parts"
        describe_object >"$COPY_WORK/facts"
      }
      s3_send_manifest() { cp "$COPY_WORK/manifest" '${site.root}/sent'; }
      copy_dump s3 shop ${file} none & wait "$!"`;
    const env = { ...process.env, BACKUP_ENV: site.settingsFile };
    execFileSync("bash", ["-Eeuo", "pipefail", "-c", program], { env, stdio: "pipe" });
    const facts = { size: 10_000 * 64 * mebibyte, parts: Array(10_000).fill({ size: 64 * mebibyte, sha256: hash }) };
    const sent = JSON.parse(fs.readFileSync(path.join(site.root, "sent"), "utf8")) as object;
    assert.deepEqual(sent, { off_host: { file, ...facts } });
    const ledger = path.join(site.state, "off-host/s3", `${file}.json`);
    const { state, object, size, parts } = JSON.parse(fs.readFileSync(ledger, "utf8")) as Record<string, unknown>;
    assert.deepEqual({ state, object, size, parts }, { state: "copied", object: file, ...facts });
  });
});
