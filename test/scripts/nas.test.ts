import * as assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import * as path from "node:path";
import { Cluster, until } from "./cluster";
import { NasServer } from "./nasServer";
import { S3Server } from "./s3Server";
import { Site, type Settings } from "./site";

describe("copies to a NAS", function () {
  let cluster: Cluster;
  let site: Site;
  let nas: NasServer;

  before(() => {
    cluster = new Cluster();
    cluster.createDatabase("shop", "create table t (id int primary key); insert into t select generate_series(1, 30)");
    cluster.createDatabase("medium", "create table t as select md5(random()::text) from generate_series(1, 3000)");
    cluster.createDatabase(
      "large",
      `create table blobs as select i, string_agg(md5(random()::text), '') as text
         from generate_series(1, 60000) i, generate_series(1, 16) j group by i`,
    );
  });

  beforeEach(async () => {
    nas = new NasServer(cluster.role);
    await nas.start();
  });

  afterEach(async () => {
    await nas.remove();
    site.remove();
  });

  after(() => cluster.stop());

  function makeSite(databases: string[], settings: Settings = {}): void {
    site = new Site(cluster, databases, { ...nas.settings, ...settings });
  }

  /** Public key of a new age identity. */
  function makeRecipient(): string {
    const identity = execFileSync("age-keygen", { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return /public key: (\S+)/.exec(identity)?.[1] ?? "";
  }

  async function goodNight(): Promise<string> {
    const night = await site.run("backup.sh");
    assert.equal(night.code, 0, night.stderr);
    return night.stderr;
  }

  /** Every dump and manifest of the site is on the NAS, equal, and nothing else. */
  function assertAllThere(): void {
    assert.deepEqual(nas.copies, site.files);
    for (const dump of site.dumpFiles) {
      assert.ok(fs.readFileSync(nas.file(dump)).equals(fs.readFileSync(path.join(site.dumps, dump))), dump);
      const { off_host, ...rest } = JSON.parse(fs.readFileSync(nas.file(`${dump}.json`), "utf8")) as {
        off_host: unknown;
      };
      const manifest = site.manifest(dump);
      assert.deepEqual(rest, manifest);
      assert.deepEqual(off_host, { file: dump, size: manifest.size, sha256: manifest.sha256 });
    }
  }

  /** Makes a dump, its copy and its entry as old as that. */
  function age(dump: string, days: number): string {
    const old = site.age(dump, days);
    const entry = (name: string): string => path.join(site.state, "off-host", "nas", `${name}.json`);
    for (const suffix of ["", ".json"]) fs.renameSync(nas.file(dump + suffix), nas.file(old + suffix));
    fs.writeFileSync(entry(old), fs.readFileSync(entry(dump), "utf8").replaceAll(dump, old));
    execFileSync("chown", [cluster.role, entry(old)]);
    fs.rmSync(entry(dump));
    return old;
  }

  /** Starts a night on the large database and halts its pg_dump once part of the dump is on the NAS. */
  async function haltMidway(): Promise<{ readonly pid: number; readonly night: ReturnType<Site["start"]> }> {
    const night = site.start("backup.sh");
    const pid = await until("pg_dump has written more than is sent at once", () => {
      const [found] = site.processes("pg_dump");
      const partial = site.files.find((file) => file.endsWith(".dump.partial"));
      const enough = partial !== undefined && fs.statSync(path.join(site.dumps, partial)).size > 9 * 1024 ** 2;
      return enough ? found : undefined;
    });
    process.kill(pid, "SIGSTOP");
    await until("part of it is there", () => nas.copies.some((file) => fs.statSync(nas.file(file)).size > 1_000_000));
    return { pid, night };
  }

  it("grow with the dump; the manifest comes last", async () => {
    makeSite(["large"]);
    const go = path.join(site.root, "go");
    site.shadow("pg_restore", `until [[ -e ${go} ]]; do sleep 0.1; done; exec /usr/bin/pg_restore "$@"`);
    const { pid, night } = await haltMidway();
    assert.match(nas.copies.join(), /^large_\w+\.dump$/, "no manifest: it does not exist");
    process.kill(pid, "SIGCONT");
    await until("all of it is there, while it is still verified", () => {
      const [partial = ""] = site.files.filter((file) => file.endsWith(".dump.partial"));
      const [copy = ""] = nas.copies;
      return (
        site.processes("pg_restore").length &&
        fs.statSync(nas.file(copy)).size === fs.statSync(path.join(site.dumps, partial)).size
      );
    });
    assert.match(nas.copies.join(), /^large_\w+\.dump$/);
    fs.writeFileSync(go, "");
    const outcome = await night.outcome;
    assert.equal(outcome.code, 0, outcome.stderr);
    assertAllThere();
    const list = await site.run("backup.sh", ["--list"]);
    assert.match(list.stdout, /yes +nas +large_\w+\.dump/);
  });

  it("whose dump died never get a manifest, and are removed where that is allowed; the next night is good", async () => {
    makeSite(["large"], { NAS_RETENTION_DAYS: "30" });
    const { pid, night } = await haltMidway();
    process.kill(pid, "SIGKILL");
    assert.equal((await night.outcome).code, 1);
    assert.deepEqual(nas.copies, [], "removed by the next copier, that of the globals");
    await goodNight();
    assertAllThere();
  });

  it("go on where they were when the connection is cut", async () => {
    makeSite(["large"], { NAS_STALL_SECONDS: "60" }); // rsync is a child of the one that is watched
    const record = path.join(site.state, "sent");
    // The second transfer's connection dies; what each transfer sent is recorded.
    site.shadow(
      "rsync",
      `[[ "$*" == *--append* ]] || exec /usr/bin/rsync "$@"
       if [[ -s '${record}' && ! -e '${record}.cut' ]]; then : >'${record}.cut'; exit 12; fi
       /usr/bin/rsync --stats "$@" | sed -n 's/,//g; s/^Literal data: \\([0-9]*\\).*/\\1/p' >>'${record}'`,
    );
    await goodNight();
    assertAllThere();
    const sent = fs.readFileSync(record, "utf8").trim().split("\n").map(Number);
    const sizes = fs
      .readdirSync(site.dumps)
      .filter((file) => !file.endsWith(".json"))
      .map((file) => fs.statSync(path.join(site.dumps, file)).size);
    const sum = (numbers: number[]): number => numbers.reduce((total, each) => total + each, 0);
    assert.equal(sum(sent), sum(sizes), "every byte once");
  });

  it("of a dump that is damaged once it is verified never get a manifest", async () => {
    makeSite(["shop"]);
    // At the same size, before the NAS is asked whether it holds what is here.
    site.shadow(
      "rsync",
      `if [[ "$*" == *--dry-run*.dump* && ! -e '${site.root}/done' ]]; then
         : >'${site.root}/done'
         printf x | dd of="$(echo '${site.dumps}'/shop_*.dump)" bs=1 seek=100 conv=notrunc status=none
       fi
       exec /usr/bin/rsync "$@"`,
    );
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    const [dump = ""] = site.dumpFiles;
    assert.match(
      night.stderr,
      new RegExp(`shop: error: \\S+${dump} is damaged and therefore not copied: its SHA-256 is`),
    );
    assert.ok(!nas.copies.includes(`${dump}.json`));
    assert.match(night.stderr, new RegExp(`error: missing off-host: \\S+${dump}: `));
  });

  it("that arrived damaged are found by the NAS's own reading, and mended", async () => {
    makeSite(["shop"]);
    await goodNight();
    const [dump = ""] = site.dumpFiles;
    // As after an attempt that wrote something else under this name.
    const wrong = fs.readFileSync(nas.file(dump));
    wrong[100] = (wrong[100] ?? 0) ^ 1;
    fs.writeFileSync(nas.file(dump), wrong);
    fs.rmSync(path.join(site.state, "off-host"), { recursive: true });
    const held = fs.openSync(nas.file(dump), "r");
    await goodNight();
    assertAllThere();
    // Whoever reads the old one, and its manifest, while it is replaced, or after a cut, has it whole.
    assert.deepEqual(fs.readFileSync(held), wrong);
    fs.closeSync(held);
  });

  it("of a dump that is whole before its copy has begun are made as well", async () => {
    makeSite(["shop"]);
    const partials = `${site.dumps}/.shop_*.dump.partial`;
    site.shadow(
      "jq",
      `if [[ "$*" == *'"sending"'* ]]; then while compgen -G '${partials}' >/dev/null; do sleep 0.05; done; fi
      exec /usr/bin/jq "$@"`,
    );
    await goodNight();
    assertAllThere();
  });

  const hangs: [string, string, () => void][] = [
    ["in the middle", "large", () => site.shadow("rsync", `exec /usr/bin/rsync --bwlimit=1000 "$@"`)],
    [
      "once it was sent everything",
      "medium",
      () => {
        const slowly = "while (sysread STDIN, $_, 2000) { syswrite STDOUT, $_; select undef, undef, undef, .1 }";
        site.shadow("ssh", `exec /usr/bin/ssh "$@" < <(/usr/bin/perl -e '${slowly}')`);
      },
    ],
  ];
  for (const [when, database, slow] of hangs) {
    it(`whose NAS hangs ${when}, and yet says that it is there, are given up in time; the next night makes them good`, async () => {
      makeSite([database], { NAS_STALL_SECONDS: "5" });
      slow(); // so that there is a middle
      const night = site.start("backup.sh");
      const arrives = () => nas.copies.some((name) => name.endsWith(".dump")) && nas.writers[0];
      const writer = await until("the dump arrives", arrives);
      process.kill(writer, "SIGSTOP"); // as if its disk hung
      const outcome = await night.outcome;
      process.kill(writer, "SIGKILL");
      assert.equal(outcome.code, 1);
      assert.match(outcome.stderr, /off-host copy to rsync:\S+: no answer in time \(5 s\)/);
      assert.match(
        outcome.stderr,
        /missing off-host: rsync:\S+(?:large|medium)_\w+\.dump: the next night makes it good/,
      );
      assert.equal(site.dumpFiles.length, 1);
      await until("nothing of it runs on", () => site.processes().length === 0);
      for (const name of ["rsync", "ssh"]) site.shadow(name, `exec /usr/bin/${name} "$@"`);
      await goodNight();
      assertAllThere();
    });
  }

  const unreachable: [
    string,
    (settings: Record<string, string>) => Record<string, string> | Promise<Record<string, string>>,
    RegExp,
  ][] = [
    [
      "nobody listens",
      async (settings) => (await nas.stop(), settings),
      /connection refused: does sshd run there, on NAS_PORT \d+/,
    ],
    [
      "the login is refused",
      (settings) => (nas.admitNobody(), settings),
      /login refused: NAS_USER is 'root', NAS_KEY_FILE \S+client/,
    ],
    [
      "the key is open to others",
      (settings) => (fs.chmodSync(nas.keyFile, 0o644), settings),
      /NAS_KEY_FILE \S+ has mode 644: must be 600/,
    ],
    [
      "the directory cannot be made",
      (settings) => (fs.writeFileSync(path.join(nas.directory, "ct2320"), ""), settings),
      /NAS_DIRECTORY is '\/ct2320': must be a directory|status \d+/,
    ],
  ];
  for (const [what, arrange, message] of unreachable) {
    it(`${what}: said before the dump, which is made all the same, or refused if so set`, async () => {
      makeSite(["shop"]);
      const settings = await arrange(nas.settings);
      site.configure(settings);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, message);
      assert.ok(night.stderr.search(message) < night.stderr.indexOf("dumped and verified"));
      assert.match(
        night.stderr,
        /missing off-host: rsync:\/\/root@127\.0\.0\.1:\d+\/ct2320\/shop_\w+\.dump: the next night/,
      );
      assert.equal(site.dumpFiles.length, 1);
      site.configure({ ...settings, UNREACHABLE_TARGET: "refuse" });
      const refused = await site.run("backup.sh");
      assert.equal(refused.code, 1);
      assert.match(
        refused.stderr,
        /nothing is dumped, because rsync:\S+ is out of reach and UNREACHABLE_TARGET is 'refuse'/,
      );
      assert.equal(site.dumpFiles.length, 1);
      const dry = await site.run("backup.sh", ["--dry-run"]);
      assert.equal(dry.code, 1);
      assert.match(dry.stderr, message);
    });
  }

  it("a changed host key is refused, both fingerprints named; pinned anew, all is made good", async () => {
    makeSite(["shop"]);
    const pinned = nas.fingerprint("host");
    await nas.stop();
    nas.makeKey("host");
    await nas.start();
    const shown = nas.fingerprint("host");
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.ok(night.stderr.includes(`it shows ${shown}, NAS_HOST_KEY is ${pinned} (ssh-ed25519)`), night.stderr);
    assert.deepEqual(nas.copies, []);
    site.configure(nas.settings);
    await goodNight();
    assertAllThere();
  });

  it("a full NAS is named, also when ssh is slow to pass its words on; freed, the next night makes it good", async () => {
    makeSite(["large"]);
    site.shadow("ssh", `exec /usr/bin/ssh "$@" 2> >(trap '' USR1; text=$(cat); sleep 1; printf '%s' "$text" >&2)`);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", nas.directory]);
    try {
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assert.match(night.stderr, /the NAS is full: .*No space left on device/);
      assert.ok(!nas.copies.some((file) => file.endsWith(".json")));
      execFileSync("mount", ["-o", "remount,size=200m", nas.directory]);
      await goodNight();
      assertAllThere();
    } finally {
      execFileSync("umount", [nas.directory]);
    }
  });

  it("that are encrypted here need room here: said beforehand, the dump is made, the next night makes it good", async () => {
    makeSite(["large"], { AGE_RECIPIENTS: [makeRecipient()] });
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m,mode=750", "tmpfs", site.state]);
    try {
      execFileSync("chown", [`${cluster.role}:${cluster.role}`, site.state]);
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1, night.stderr);
      const message =
        /large: error: off-host copy: not enough space in \S+\/state to prepare large_\w+\.dump for the NAS: about [\d.]+MB \(\d+ bytes\) are needed, [\d.]+MB \(\d+ bytes\) are free/;
      assert.match(night.stderr, message);
      assert.ok(night.stderr.search(message) < night.stderr.indexOf("dumped and verified"));
      assert.match(
        night.stderr,
        /error: missing off-host: rsync:\S+\/large_\w+\.dump\.age: the next night makes it good/,
      );
      assert.equal((await site.run("backup.sh", ["--check", site.dumpFiles[0] ?? ""])).code, 0);
      assert.ok(!nas.copies.some((file) => file.startsWith("large_")), nas.copies.join(" "));
    } finally {
      execFileSync("umount", [site.state]);
    }
    await goodNight();
    assert.ok(nas.copies.includes(`${site.dumpFiles[0]}.age`), nas.copies.join(" "));
  });

  it("that are encrypted here, and take room here, are not made beside the next dump", async () => {
    makeSite(["shop", "medium"], { AGE_RECIPIENTS: [makeRecipient()] });
    // Whoever did not wait would be through by then.
    const dumped = `compgen -G '${site.dumps}/medium_*.dump.json' >/dev/null`;
    const first = path.join(site.state, "first");
    site.shadow(
      "rsync",
      `if [[ "$*" == *shop_* ]] && mkdir ${first} 2>/dev/null; then
  for _ in {1..30}; do if ${dumped}; then break; fi; sleep 0.1; done
fi
exec /usr/bin/rsync "$@"`,
    );
    const said = await goodNight();
    const order = [...said.matchAll(/^(shop|medium): (dumped|off-host)/gm)].map(([line]) => line);
    assert.deepEqual(order, ["shop: dumped", "shop: off-host", "medium: dumped", "medium: off-host"]);
  });

  it("of which old ones go by NAS_RETENTION_DAYS: never the newest, labelled ones, nor on a failed night", async () => {
    makeSite(["shop"], { NAS_RETENTION_DAYS: "30", RETENTION_DAYS: "14" });
    const latest = (): string => site.dumpFiles.filter((file) => file.startsWith("shop_")).at(-1) ?? "";
    await goodNight();
    const ancient = age(latest(), 40);
    site.shadow("pg_dumpall", "exit 1"); // the night of 'shop' is good, not that of the globals
    const bad = await site.run("backup.sh");
    fs.rmSync(path.join(site.programs, "pg_dumpall"));
    assert.equal(bad.code, 1, bad.stderr);
    assert.ok(nas.copies.includes(latest()) && latest() !== ancient);
    assert.ok(nas.copies.includes(ancient) && site.files.includes(ancient), "nothing goes on a night that failed");
    await goodNight();
    const twenty = age(latest(), 20);
    assert.ok(!site.files.includes(ancient), "gone here after 14 days");
    assert.ok(!nas.copies.includes(ancient) && !nas.copies.includes(`${ancient}.json`), "and there after 30");
    assert.equal((await site.run("backup.sh", ["--now", "--label", "mine"])).code, 0);
    const labelled = site.dumpFiles.find((file) => file.startsWith("manual_")) ?? "";
    age(labelled, 400);
    await goodNight();
    assert.ok(!site.files.includes(twenty));
    assert.ok(nas.copies.includes(twenty), "older than 14 days, younger than 30");
    const entries = fs.readdirSync(path.join(site.state, "off-host", "nas"));
    assert.ok(entries.includes(`${twenty}.json`), "still known");
    assert.ok(nas.copies.some((file) => /^manual_\w+/.test(file)));
  });

  it("of dumps that are kept for longer here go all the same, once, and are said to be expired", async () => {
    makeSite(["shop"], { NAS_RETENTION_DAYS: "3", RETENTION_DAYS: "14" });
    await goodNight();
    const old = age(site.dumpFiles[0] ?? "", 5);
    assert.match(await goodNight(), new RegExp(`removed rsync:\\S+/${old}, older than 3 days`));
    for (let night = 0; night < 2; night++) {
      assert.ok(!nas.copies.includes(old) && site.files.includes(old));
      const list = await site.run("backup.sh", ["--list"]);
      assert.match(list.stdout, new RegExp(`yes +expired nas +${old}$`, "m"));
      assert.ok(!(await goodNight()).includes(old), "neither copied nor removed again");
    }
  });

  it("a NAS that removes nothing (-no-del) is said to need NAS_RETENTION_DAYS 0", async () => {
    makeSite(["shop"], { NAS_RETENTION_DAYS: "1" });
    await goodNight();
    const [dump = ""] = site.dumpFiles;
    const old = age(dump, 10);
    nas.admit("-no-del");
    const night = await site.run("backup.sh");
    assert.equal(night.code, 1);
    assert.match(
      night.stderr,
      /the NAS removes nothing for us \(append-only\?\): NAS_RETENTION_DAYS is 1, must be 0 then/,
    );
    assert.ok(site.files.includes(old), "nor was anything removed here");
  });

  it("one target failing does not stop the other; the night says which copy is missing where", async () => {
    const s3 = new S3Server();
    const endpoint = await s3.listen();
    try {
      const both = { S3_BUCKET: "bucket", S3_ENDPOINT: endpoint };
      makeSite(["shop"], both);
      s3.fault = { kind: "deny", match: "PUT" };
      const night = await site.run("backup.sh");
      assert.equal(night.code, 1);
      assertAllThere();
      assert.deepEqual(
        [...night.stderr.matchAll(/missing off-host: (\w+):\S+(shop|globals)_/g)].map(([, scheme, what]) => [
          scheme,
          what,
        ]),
        [
          ["http", "shop"],
          ["http", "globals"],
        ],
      );
      s3.fault = undefined;
      await nas.stop();
      const other = await site.run("backup.sh");
      assert.equal(other.code, 1);
      assert.equal([...s3.objects.keys()].filter((each) => each.includes("/shop_")).length, 4);
      await nas.start();
      await goodNight();
      assertAllThere();
    } finally {
      s3.close();
    }
  });
});
