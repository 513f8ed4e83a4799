import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, start, until } from "./cluster";
import { S3Server } from "./s3Server";
import { flipBit, scripts, Site } from "./site";

describe("backup.sh as people run it", function () {
  let cluster: Cluster;
  let site: Site;
  let s3: S3Server;
  let endpoint: string;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 30)");
  });

  beforeEach(async () => {
    s3 = new S3Server();
    endpoint = await s3.listen();
  });

  afterEach(() => {
    s3.close();
    site.remove();
  });

  after(() => cluster.stop());

  const withS3 = (): Record<string, string> => ({ S3_BUCKET: "bucket", S3_ENDPOINT: endpoint });
  const labelled = ["--now", "--label", "before-migration"];

  /** Every file below the site with its content and time. */
  const everything = (): string =>
    execFileSync("find", [site.root, "-printf", "%P %s %m %T@\n"], { encoding: "utf8" })
      .split("\n")
      .filter((line) => !line.startsWith("programs"))
      .sort()
      .join("\n");

  describe("--now --label", () => {
    it("makes a verified dump that is off-host, supersedes nothing and outlives retention", async () => {
      site = new Site(cluster, ["shop"], withS3());
      assert.equal((await site.run("backup.sh")).code, 0);
      const [nightly = ""] = site.dumpFiles;
      const old = site.age(nightly, 20);
      const outcome = await site.run("backup.sh", labelled);
      assert.equal(outcome.code, 0, outcome.stderr);
      const dump = site.dumpFiles.find((file) => file.startsWith("manual_")) ?? "";
      assert.match(dump, /^manual_before-migration_shop_\d{8}T\d{6}Z\.dump$/);
      assert.equal(site.manifest(dump).label, "before-migration");
      assert.equal(site.manifest(dump).sha256, site.sha256(dump));
      assert.ok(s3.urls.includes(`/bucket/ct2320/${dump}.json`));
      assert.ok(
        !s3.urls.some((url) => url.includes("tagging") && url.includes(nightly)),
        "the night's copy stays the newest",
      );
      assert.ok(site.files.includes(old), "nothing is let go");

      const aged = site.age(dump, 400);
      for (let night = 1; night <= 2; night++) assert.equal((await site.run("backup.sh")).code, 0);
      assert.ok(site.files.includes(aged) && site.files.includes(`${aged}.json`));
      assert.ok(!site.files.includes(old));
      const tagged = s3.urls.filter((url) => url.includes("tagging"));
      assert.ok(tagged.length > 0 && !tagged.some((url) => url.includes("manual_")), tagged.join(" "));
      const restored = await site.run("restore.sh", ["--file", aged, "--new", "shop_before"]);
      assert.equal(restored.code, 0, restored.stderr);
    });

    it("is made good off-host by the next night if its copy failed", async () => {
      site = new Site(cluster, ["shop"], withS3());
      s3.fault = { kind: "deny", match: "manual_" };
      const bad = await site.run("backup.sh", labelled);
      assert.equal(bad.code, 1, bad.stderr);
      s3.fault = undefined;
      assert.equal((await site.run("backup.sh")).code, 0);
      assert.ok(s3.urls.some((url) => /manual_before-migration_shop_\w+\.dump\.json$/.test(url)));
    });

    it("removes its own partial left by a run that was cut off, and nobody else's", async () => {
      site = new Site(cluster, ["shop"]);
      const left = (name: string, owner: string): string => {
        fs.writeFileSync(path.join(site.dumps, name), "half");
        execFileSync("chown", [owner, path.join(site.dumps, name)]);
        return name;
      };
      left(".manual_x_shop_20260101T000000Z.dump.partial", cluster.role);
      const restore = left(".manual_before_restore_shop_20260101T000000Z.dump.partial", "postgres");
      assert.equal((await site.run("backup.sh")).code, 0);
      assert.deepEqual(
        site.files.filter((file) => file.startsWith(".")),
        [restore],
      );
    });
  });

  it("--list shows every dump with what is known of it", async () => {
    site = new Site(cluster, ["shop"], withS3());
    assert.match((await site.run("backup.sh", ["--list"])).stderr, /no dumps in .* yet/);
    assert.equal((await site.run("backup.sh")).code, 0);
    s3.fault = { kind: "deny", match: "manual_" };
    await site.run("backup.sh", labelled);
    fs.writeFileSync(path.join(site.dumps, "manual_20200101_000000.dump"), "mine");
    fs.writeFileSync(path.join(site.dumps, "shop_20200101T000000Z.dump"), "no manifest");
    const before = everything();
    const list = await site.run("backup.sh", ["--list"]);
    assert.equal(list.code, 0, list.stderr);
    const rows = list.stdout.trim().split("\n");
    assert.match(rows[0] ?? "", /^TIME \(UTC\) +DATABASE +SIZE +ROWS +LABEL +VERIFIED +OFF-HOST +FILE$/);
    const row = (file: RegExp): string => rows.find((line) => file.test(line)) ?? "";
    assert.match(
      row(/ shop_20(?!200101)/),
      /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +shop +[\d.]+[kK]?B +30 +- +yes +s3 +shop_\w+\.dump$/,
    );
    assert.match(row(/manual_before/), / 30 +before-migration +yes +NO s3 +manual_before-migration_shop_/);
    assert.match(row(/manual_20200101/), / - +4\.0B +- +- +by hand +NO s3 +manual_20200101_000000\.dump$/);
    assert.match(row(/ shop_20200101/), / - +NO +NO s3 +shop_20200101T000000Z\.dump$/);
    assert.equal(rows.length, 5);
    assert.equal(everything(), before, "nothing was written");
  });

  describe("--check", () => {
    beforeEach(async () => {
      site = new Site(cluster, ["shop"]);
      assert.equal((await site.run("backup.sh")).code, 0);
    });

    it("says that a good dump is whole, by name, by path, and as the role", async () => {
      const [dump = ""] = site.dumpFiles;
      for (const file of [dump, path.join(site.dumps, dump)]) {
        const good = await site.run("backup.sh", ["--check", file]);
        assert.equal(good.code, 0, good.stderr);
        assert.match(good.stderr, /is whole, read through to its end; its manifest speaks of 1 tables, 30 rows/);
      }
      const env = { ...cluster.env, BACKUP_ENV: site.settingsFile };
      const asRole = ["-u", cluster.role, "--", path.join(scripts, "backup.sh"), "--check", dump];
      const role = await start("runuser", asRole, env).outcome;
      assert.equal(role.code, 0, role.stderr);
    });

    it("a dump that postgres made by hand is read through", async () => {
      const file = path.join(site.dumps, "manual_x.dump");
      cluster.asPostgres("pg_dump", ["-d", "shop", "-Fc", `--file=${file}`]);
      const good = await site.run("backup.sh", ["--check", "manual_x.dump"]);
      assert.equal(good.code, 0, good.stderr);
      assert.match(good.stderr, /made by hand and has no manifest/);
      fs.truncateSync(file, fs.statSync(file).size - 100);
      assert.equal((await site.run("backup.sh", ["--check", "manual_x.dump"])).code, 1);
    });

    const damages: [string, (file: string) => void, RegExp][] = [
      ["a flipped bit", flipBit, /is damaged: its SHA-256 is/],
      ["truncation", (file) => fs.truncateSync(file, 900), /does not fit its manifest: it has 900 bytes/],
      ["a missing manifest", (file) => fs.rmSync(`${file}.json`), /has no manifest/],
      [
        "what only a read-through finds",
        (file) => {
          fs.truncateSync(file, fs.statSync(file).size - 30);
          const name = path.basename(file);
          const manifest = { ...site.manifest(name), size: fs.statSync(file).size, sha256: site.sha256(name) };
          fs.writeFileSync(`${file}.json`, JSON.stringify(manifest));
        },
        /is damaged: pg_restore says/,
      ],
      ["absence", (file) => fs.rmSync(file), /does not exist: must be a dump/],
    ];
    for (const [what, damage, message] of damages) {
      it(`finds ${what}`, async () => {
        const [dump = ""] = site.dumpFiles;
        damage(path.join(site.dumps, dump));
        const bad = await site.run("backup.sh", ["--check", dump]);
        assert.equal(bad.code, 1, bad.stderr);
        assert.match(bad.stderr, message);
        assert.ok(!bad.stderr.includes("is whole"));
      });
    }
  });

  describe("--dry-run", () => {
    it("prints what would be done and writes nothing", async () => {
      site = new Site(cluster, ["shop"], withS3());
      assert.equal((await site.run("backup.sh")).code, 0);
      const old = site.age(site.dumpFiles[0] ?? "", 20);
      const before = everything();
      const requests = s3.urls.length;
      const dry = await site.run("backup.sh", ["--dry-run"]);
      assert.equal(dry.code, 0, dry.stderr);
      assert.match(dry.stdout, /^would dump 'shop' to \/.*\/shop_\w+\.dump, about [\d.]+K?B \(server 1\d/m);
      assert.match(dry.stdout, /^would copy shop_\w+\.dump to http.*\/bucket\/ct2320\/shop_/m);
      assert.ok(dry.stdout.includes(`would remove ${old}, older than 14 days`), dry.stdout);
      const manual = await site.run("backup.sh", ["--dry-run", ...labelled]);
      assert.match(manual.stdout, /^would dump 'shop' to .*\/manual_before-migration_shop_/m);
      assert.ok(!manual.stdout.includes("would remove"));
      assert.equal(everything(), before);
      assert.equal(s3.urls.length, requests);
    });

    it("finds what would fail: a database, an off-host target, a run that is active", async () => {
      site = new Site(cluster, ["nowhere", "shop"], withS3());
      const dry = await site.run("backup.sh", ["--dry-run"]);
      assert.equal(dry.code, 1);
      assert.match(dry.stderr, /nowhere: error: cannot log in/);
      assert.match(dry.stderr, /the night would fail for: 'nowhere'\. Nothing was written/);
      assert.match(dry.stdout, /would dump 'shop'/);
      s3.close();
      const dead = await site.run("backup.sh", ["--dry-run"]);
      assert.equal(dead.code, 1);
      assert.match(dead.stderr, /off-host target S3, S3_ENDPOINT 'http.*': connection refused/);
      const lock = path.join(site.state, "lock");
      fs.writeFileSync(lock, "77\n");
      const holder = start("flock", [lock, "cat", "/dev/zero"], cluster.env);
      holder.outcome.catch(() => undefined);
      await until("the lock is held", () => {
        try {
          execFileSync("flock", ["--nonblock", lock, "true"]);
          return false;
        } catch {
          return true;
        }
      });
      const busy = await site.run("backup.sh", ["--dry-run"]);
      execFileSync("pkill", ["-P", String(holder.pid)]);
      await holder.outcome;
      assert.equal(busy.code, 3, busy.stderr);
    });
  });

  it("on a terminal shows bytes written of bytes expected, elsewhere nothing of it", async () => {
    site = new Site(cluster, ["shop"]);
    const command = `'${path.join(scripts, "backup.sh")}' --now`;
    const env = { ...cluster.env, BACKUP_ENV: site.settingsFile };
    const terminal = await start("script", ["-qec", command, "/dev/null"], env).outcome;
    assert.equal(terminal.code, 0, terminal.stdout);
    const seen = terminal.stdout.replaceAll("\r\u001b[K", "<wiped>");
    assert.match(seen, /<wiped>shop: [\d.]+K?B written, about [\d.]+MB expected<wiped>/);
    assert.match(seen, /the night succeeded/);
    const journal = await site.run("backup.sh");
    assert.equal(journal.code, 0, journal.stderr);
    assert.ok(!journal.stderr.includes("expected") && !journal.stderr.includes("\u001b"));
  });

  it("wrong usage is refused with status 2, saying what is right", async () => {
    site = new Site(cluster, ["shop"]);
    const wrong: [string[], RegExp][] = [
      [["--label", "x"], /--label needs --now/],
      [["--now", "--label", "a_b"], /--label is 'a_b': must be 1 to 40 of/],
      [["--now", "--label"], /--label needs a value/],
      [["--list", "--check", "x"], /one of --list, --check, --audit and --dry-run only/],
      [["--list", "--now"], /--now goes with/],
    ];
    for (const [args, message] of wrong) {
      const outcome = await site.run("backup.sh", args);
      assert.equal(outcome.code, 2, args.join(" "));
      assert.match(outcome.stderr, message);
    }
    const help = await site.run("backup.sh", ["--help"]);
    assert.equal(help.code, 0);
    for (const option of ["--now", "--label", "--dry-run", "--list", "--check", "Exit status"])
      assert.ok(help.stdout.includes(option), option);
  });
});
