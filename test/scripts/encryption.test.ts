import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster } from "./cluster";
import { NasServer } from "./nasServer";
import { S3Server } from "./s3Server";
import { Site } from "./site";

describe("copies encrypted to age recipients", function () {
  let cluster: Cluster;
  let site: Site;
  let s3: S3Server;
  let nas: NasServer;
  let endpoint: string;

  before(async () => {
    cluster = new Cluster();
    cluster.createDatabase(
      "large",
      `create table blobs as select i, string_agg(md5(random()::text), '') as text
         from generate_series(1, 34000) i, generate_series(1, 16) j group by i`,
    );
    s3 = new S3Server();
    endpoint = await s3.listen();
    nas = new NasServer(cluster.role);
    await nas.start();
  });

  afterEach(() => site.remove());

  after(async () => {
    s3.close();
    await nas.remove();
    cluster.stop();
  });

  it("are what the private key makes the dump of, at both targets; manifests stay plain and say so", async () => {
    const key = path.join(nas.root, "age-key");
    execFileSync("age-keygen", ["-o", key], { stdio: "ignore" });
    const recipient = execFileSync("age-keygen", ["-y", key], { encoding: "utf8" }).trim();
    site = new Site(cluster, ["large"], {
      ...nas.settings,
      S3_BUCKET: "bucket",
      S3_ENDPOINT: endpoint,
      AGE_RECIPIENTS: [recipient],
      COMPRESSION: "none",
    });
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    const [dump = ""] = site.dumpFiles;
    assert.deepEqual(nas.copies, [`${dump}.age`, `${dump}.json`]);
    const stored = (file: string): Buffer => s3.objects.get(`/bucket/ct2320/${file}`) ?? assert.fail(file);
    assert.ok(!s3.objects.has(`/bucket/ct2320/${dump}`));
    for (const [encrypted, text] of [
      [stored(`${dump}.age`), stored(`${dump}.json`).toString()],
      [fs.readFileSync(nas.file(`${dump}.age`)), fs.readFileSync(nas.file(`${dump}.json`), "utf8")],
    ] as const) {
      const plain = execFileSync("age", ["--decrypt", "--identity", key], { input: encrypted, maxBuffer: 2 ** 26 });
      assert.equal(createHash("sha256").update(plain).digest("hex"), site.sha256(dump));
      const { off_host } = JSON.parse(text) as { off_host: { file: string; size: number; encryption: string } };
      assert.deepEqual([off_host.file, off_host.size, off_host.encryption], [`${dump}.age`, encrypted.length, "age"]);
    }
    assert.equal(s3.uploads.size, 0);
    assert.deepEqual(site.files, [dump, `${dump}.json`], "nothing encrypted is left here");
    fs.writeFileSync(path.join(site.dumps, "x.dump.age"), "");
    const check = await site.run("backup.sh", ["--check", "x.dump.age"]);
    assert.equal(check.code, 1);
    assert.match(check.stderr, /x\.dump\.age is encrypted: decrypt it first, age --decrypt --identity KEY/);
  });

  it("whose reader dies are given up and said to be missing; the next night makes them good", async () => {
    const recipient = execFileSync("age-keygen", ["-y"], {
      encoding: "utf8",
      input: execFileSync("age-keygen", { stdio: ["ignore", "pipe", "ignore"] }),
    }).trim();
    site = new Site(cluster, ["large"], { S3_BUCKET: "bucket", S3_ENDPOINT: endpoint, AGE_RECIPIENTS: [recipient] });
    site.shadow("perl", `if [[ $2 == */plain ]]; then kill -KILL $$; fi; exec /usr/bin/perl "$@"`);
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1, night.stderr);
    assert.match(night.stderr, /large: error: off-host copy: large_\w+\.dump cannot be read: signal KILL, /);
    assert.match(night.stderr, /error: missing off-host: \S+large_\w+\.dump\.age: the next night makes it good/);
    assert.equal(s3.uploads.size, 0);
    site.shadow("perl", `exec /usr/bin/perl "$@"`);
    const healthy = await site.run("backup.sh");
    assert.equal(healthy.code, 0, healthy.stderr);
    for (const dump of site.dumpFiles) assert.ok(s3.objects.has(`/bucket/ct2320/${dump}.age`), dump);
  });

  it("to nobody who could read them are refused before anything is dumped", async () => {
    const settings = { S3_BUCKET: "bucket", S3_ENDPOINT: endpoint };
    site = new Site(cluster, ["large"], settings);
    for (const [recipient, message] of [
      ["age1qqqqqq", /AGE_RECIPIENTS: age refuses them: age: error: .*age1qqqqqq/],
      ["bob", /line \d+: AGE_RECIPIENTS is 'bob': must be public keys, 'age1…'/],
      ["AGE-SECRET-KEY-1HIDDEN", /AGE_RECIPIENTS holds a private key: must be public ones/],
    ] as const) {
      site.configure({ ...settings, AGE_RECIPIENTS: [recipient] });
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, message);
      assert.ok(!night.stderr.includes("HIDDEN"));
      assert.deepEqual(site.files, []);
    }
  });
});
