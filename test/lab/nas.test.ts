/** Copies on a NAS, and copies that only a private key held elsewhere can read. */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { GetObjectCommand, ListObjectsV2Command } from "@aws-sdk/client-s3";
import { run } from "../../lab/command";
import type { Lab } from "../../lab/lab";
import { nasFacts } from "../../lab/settings";
import { changed, Deployment } from "./deployment";

const vmid = 2347;
const dumps = "/var/backups/trade-show-app";
const service = "trade-show-db-backup.service";
/** Directory of the container's copies, as the NAS's account sees it. */
const directory = `/ct${vmid}`;

describe("copies on a NAS", function () {
  let lab: Lab;
  let deployment: Deployment;
  /** Names of the dumps, oldest first. */
  const nights: string[] = [];

  before(async () => {
    deployment = await Deployment.create(vmid, { settings: nasFacts });
    lab = deployment.lab;
    await deployment.stack.up();
  });

  after(() => deployment.remove());

  it("are declared so that the next preview is clean", () => deployment.expectClean());

  it("are, after a night, the dump and the globals with their manifests, and nothing else", async () => {
    const dump = await backUp();
    const globals = await globalsOf(dump);
    const files = [dump, `${dump}.json`, globals, `${globals}.json`];
    assert.deepEqual(lab.nas.list(directory), [".pgbackup-probe", ...files]);
    assert.deepEqual(await inBucket(), files, "as in the bucket");
  });

  it("are the bytes that stand in the container, and each manifest vouches for them", async () => {
    const [dump = ""] = nights;
    for (const file of [dump, await globalsOf(dump)]) {
      const copy = onNas(file);
      assert.equal(sha256(copy), await sumOf(file), file);
      const manifest = JSON.parse(onNas(`${file}.json`).toString("utf8")) as Record<string, unknown>;
      assert.deepEqual([manifest.sha256, manifest.size, manifest.file], [sha256(copy), copy.length, file]);
    }
  });

  it("need a key that only the job's account can read", async () => {
    const key = "/etc/trade-show-app/nas-key";
    assert.equal(await deployment.run(["stat", "-c", "%a %U:%G", key]), "600 trade_show_backup_prod:root\n");
    assert.equal(await deployment.run(["cat", key]), lab.nas.server.privateKey);
  });

  it("are fetched by the runbook's commands", async () => {
    await enter();
    const [dump = ""] = nights;
    const [list = "", ...fetches] = await runbook(/^ {4}(rsync .*)$/gm);
    const listed = await deployment.shell(list);
    assert.ok(listed.includes(` ${dump}\n`), listed);
    await deployment.shell(
      `mkdir /root/fetched; cd /root/fetched\n${fetches.join("\n").replaceAll("<file>.dump", dump)}`,
    );
    const sums = await deployment.shell("cd /root/fetched; sha256sum *; rm -r /root/fetched");
    assert.equal(sums, [dump, `${dump}.json`].map((file) => `${sha256(onNas(file))}  ${file}\n`).join(""));
  });

  it("are what a drill proves, though this container's own are gone", async () => {
    await deployment.shell(`mkdir /root/away; mv ${dumps}/* /root/away`);
    await deployment.run(["systemctl", "start", "trade-show-db-drill.service"]);
    const report = await deployment.run(["/usr/local/bin/trade-show-db-drill.sh", "--report", "--json"]);
    const { ok, databases } = JSON.parse(report) as { ok: boolean; databases: { source: string; dump: string }[] };
    assert.deepEqual([ok, databases.map(({ source, dump }) => [source, dump])], [true, [["nas", nights[0]]]]);
    assert.deepEqual(await inContainer(), [""]);
    await deployment.shell(`mv /root/away/* ${dumps}; rmdir /root/away`);
  });

  describe("while the NAS shows another host key", () => {
    it("are missed by a night that fails, says so, and keeps everything else", async () => {
      const before = copies();
      await lab.nas.server.changeHostKey();
      const said = await failedNight();
      assert.match(said, /^error: .*NAS.*host key/im);
      assert.ok(said.includes(lab.nas.address), said);
      const [first = "", second = ""] = nights;
      const globals = [await globalsOf(first), await globalsOf(second)];
      const expected = [first, second, ...globals].flatMap((file) => [file, `${file}.json`]).sort();
      assert.deepEqual(await inContainer(), expected, "locally");
      assert.deepEqual(await inBucket(), expected, "in the bucket");
      assert.deepEqual(copies(), before, "on the NAS");
    });

    it("are made good by the next night, once the new key is pinned: backup.env alone changes", async () => {
      await deployment.stack.setConfig("nasHostKey", lab.nas.server.hostKey);
      assert.deepEqual(changed(await deployment.stack.up()), ["update /etc/trade-show-app/backup.env"]);
      await backUp();
      assert.deepEqual(copies(), await inContainer());
      for (const file of nights) assert.equal(sha256(onNas(file)), await sumOf(file), file);
    });
  });

  describe("encrypted to an age recipient", () => {
    let home: string;
    let dump: string;

    before(async () => {
      home = fs.mkdtempSync(path.join(os.tmpdir(), "pgbackup-nas-test-"));
      await run(["age-keygen", "-o", path.join(home, "key.txt")]);
      const { stdout } = await run(["age-keygen", "-y", path.join(home, "key.txt")]);
      await deployment.stack.setConfig("ageRecipients", [stdout.trim()]);
      assert.deepEqual(changed(await deployment.stack.up()), [
        "update /etc/trade-show-app/backup.env",
        "update packages",
        "update trade-show-db-drill.service", // which cannot read those, and proves the container's own again
      ]);
      dump = await backUp();
    });

    after(() => fs.rmSync(home, { recursive: true }));

    it("are unreadable on the NAS and in the bucket, and named .age", async () => {
      for (const files of [copies(), await inBucket()]) {
        assert.deepEqual(
          files.filter((file) => file.startsWith(dump)),
          [`${dump}.age`, `${dump}.json`],
        );
      }
      for (const copy of [onNas(`${dump}.age`), await fromBucket(`${dump}.age`)]) {
        assert.match(copy.subarray(0, 22).toString("latin1"), /^age-encryption\.org\/v1\n/);
        assert.ok(!copy.includes("PGDMP"));
      }
    });

    it("are the dump again by the runbook's command, with the private key that stayed outside", async () => {
      const [command = ""] = await runbook(/^ {4}(age --decrypt .*)$/gm);
      for (const copy of [onNas(`${dump}.age`), await fromBucket(`${dump}.age`)]) {
        fs.writeFileSync(path.join(home, `${dump}.age`), copy);
        const line = command.replaceAll("<file>.dump", dump).replace("<private key file>", "key.txt");
        await run(["bash", "-euc", line], { cwd: home });
        assert.equal(sha256(fs.readFileSync(path.join(home, dump))), await sumOf(dump));
        fs.rmSync(path.join(home, dump));
      }
    });
  });

  // In a group of its own, because mocha runs the groups last.
  describe("without the setting", () => {
    it("are no more: the key leaves the container, and the bucket alone gets the next night", async () => {
      const before = copies();
      for (const name of Object.keys(nasFacts(lab))) await deployment.stack.setConfig(name, undefined);
      assert.deepEqual(changed(await deployment.stack.up()), [
        "delete /etc/trade-show-app/nas-key",
        "update /etc/trade-show-app/backup.env",
        "update packages",
        "update trade-show-db-backup.service", // which may speak to the targets' addresses only
      ]);
      const here = await deployment.run(["ls", "-A", "/etc/trade-show-app"]);
      assert.deepEqual(here.trim().split("\n"), ["backup-secrets.env", "backup.env", "s3-ca.pem"]);
      const { code } = await lab.exec(vmid, ["sh", "-c", "grep -rlF 'OPENSSH PRIVATE KEY' /etc /var/lib/pgbackup"]);
      assert.equal(code, 1, "the key was kept nowhere");
      await deployment.expectClean();
      const dump = await backUp();
      assert.deepEqual(copies(), before);
      assert.ok((await inBucket()).includes(`${dump}.json`));
    });
  });

  /** Makes a backup through the service, and returns the name of the dump. */
  async function backUp(): Promise<string> {
    await deployment.type(`pct exec ${vmid} -- systemctl start ${service}`);
    return newDump();
  }

  /** Makes a backup that has to fail, and returns what its journal says. */
  async function failedNight(): Promise<string> {
    const cursor = (await deployment.run(["journalctl", "-n0", "--show-cursor"])).split("cursor: ")[1]?.trim() ?? "";
    const { code } = await lab.pct(`pct exec ${vmid} -- systemctl start ${service}`);
    assert.equal(code, 1);
    const status = await deployment.run(["systemctl", "show", "-P", "ExecMainStatus", service]);
    assert.equal(status, "1\n");
    await newDump();
    return deployment.journal(service, `--after-cursor='${cursor}'`);
  }

  async function newDump(): Promise<string> {
    const files = (await inContainer()).filter((file) => file.endsWith(".dump"));
    const [made = assert.fail("no new dump"), ...others] = files.filter((file) => !nights.includes(file));
    assert.deepEqual(others, []);
    nights.push(made);
    return made;
  }

  /** Name of the globals of the night of a dump. */
  async function globalsOf(dump: string): Promise<string> {
    const all = (await inContainer()).filter((file) => /^globals_.*\.sql$/.test(file));
    return all[nights.indexOf(dump)] ?? assert.fail(`no globals for ${dump}`);
  }

  async function inContainer(): Promise<string[]> {
    return (await deployment.run(["ls", "-A", dumps])).trim().split("\n").sort();
  }

  /** Names of the objects in the bucket, below the container's prefix. */
  async function inBucket(): Promise<string[]> {
    const Prefix = `ct${vmid}/`;
    const { Contents = [] } = await lab.s3.client().send(new ListObjectsV2Command({ Bucket: deployment.bucket }));
    return Contents.map(({ Key = "" }) => Key.replace(Prefix, "")).sort();
  }

  async function fromBucket(file: string): Promise<Buffer> {
    const object = { Bucket: deployment.bucket, Key: `ct${vmid}/${file}` };
    const { Body } = await lab.s3.client().send(new GetObjectCommand(object));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  /** Names of the files on the NAS, without the one that each night tries whether it may write there. */
  function copies(): string[] {
    return lab.nas.list(directory).filter((file) => file !== ".pgbackup-probe");
  }

  function onNas(file: string): Buffer {
    return fs.readFileSync(lab.nas.file(directory, file));
  }

  async function sumOf(file: string): Promise<string> {
    return (await deployment.run(["sha256sum", `${dumps}/${file}`])).split(" ")[0] ?? "";
  }

  /** Commands of the runbook. */
  async function runbook(pattern: RegExp): Promise<string[]> {
    const text = String((await deployment.stack.outputs()).runbook?.value);
    return [...text.matchAll(pattern)].map(([, command = ""]) => command);
  }

  /** Makes the container a machine whose root the NAS's account admits. */
  async function enter(): Promise<void> {
    const { privateKey, hostKey } = lab.nas.server;
    const write = (file: string, input: string) =>
      lab.exec(vmid, ["sh", "-c", `umask 077; mkdir -p /root/.ssh; cat >/root/.ssh/${file}`], { input });
    await write("id_ed25519", privateKey);
    await write("known_hosts", `${lab.nas.address} ${hostKey}\n`);
  }
});

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
