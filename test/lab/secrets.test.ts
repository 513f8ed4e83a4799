/** Secrets stay where they belong. Every place is looked at by a finder that first has to find a secret put there. */
import * as assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import * as fs from "node:fs";
import { passphrase } from "../../lab/stack";
import { nasFacts } from "../../lab/settings";
import { until } from "../../lab/waiting";
import { changed, Deployment } from "./deployment";

const vmid = 2343;
const secretsFile = "/etc/trade-show-app/backup-secrets.env";
const drillSecretsFile = "/etc/trade-show-app/drill-secrets.env";
const nasKeyFile = "/etc/trade-show-app/nas-key";

/** What the finders are tried with. */
const planted = "Planted+Secret/0123456789abcdefghijklmnop";

/** The secret half of a key that a user brings along. */
const ownSecret = "Own+Secret/zyxwvutsrqponmlkjihgfedcba9876";

describe("secrets", function () {
  let deployment: Deployment;
  let sampler: ProcessList;
  /** Texts that must be nowhere in plain. */
  let secrets: string[];
  /** All the engine has printed so far. */
  let said = "";
  /** Size of the host's sshd log before anything was deployed. */
  let logged: number;

  before(async () => {
    deployment = await Deployment.create(vmid, { settings: (lab) => ({ ...nasFacts(lab), drillFrom: "s3" }) });
    sampler = await ProcessList.watch();
    logged = fs.statSync(sshdLog()).size;
    await deployment.stack.up({ diff: true, onOutput: listen });
    secrets = [
      await bucketSecret(),
      await readerSecret(),
      ownSecret,
      passphrase,
      ...privateKeyLines(),
      ...nasKeyLines(),
    ];
    assert.ok(secrets.every((secret) => secret.length >= 20));
    await deployment.type(`pct exec ${vmid} -- systemctl start trade-show-db-backup.service`);
    await deployment.type(`pct exec ${vmid} -- systemctl start trade-show-db-drill.service`);
    await deployment.stack.preview({ diff: true, onOutput: listen });
    await deployment.stack.refresh({ onOutput: listen });
  });

  after(async () => {
    sampler.stop();
    await deployment.remove();
  });

  it("are not in the exported state", async () => {
    const state = await deployment.stack.exportState();
    assert.deepEqual(found(`${state}${planted}`), [planted], "the finder works");
    assert.deepEqual(found(state), []);
    assert.ok(state.includes('"ciphertext"'), "they are there encrypted");
    assert.doesNotMatch(state, /PULUMI_CONFIG_PASSPHRASE|AWS_SECRET_ACCESS_KEY/);
  });

  it("are not in the stack's configuration file", () => {
    const text = fs.readFileSync(deployment.stack.config.file, "utf8");
    for (const name of ["privateKey", "nasPrivateKey"]) {
      assert.match(text, new RegExp(`pgbackup:${name}:\\n +secure: v1:`));
    }
    assert.deepEqual(found(text), []);
  });

  it("are not in what the engine prints, diffs and outputs included", () => {
    assert.ok(said.includes(`ct${vmid}:${secretsFile}`), "the engine spoke of the file");
    assert.deepEqual(found(said), []);
  });

  it("are marked as secret in the stack's outputs, or not there", async () => {
    const outputs = await deployment.stack.outputs();
    for (const [name, { value, secret }] of Object.entries(outputs)) {
      assert.deepEqual(found(JSON.stringify(value)), [], name);
      assert.equal(secret, name === "memory", name);
    }
  });

  it("are not in the container's journal", async () => {
    assert.deepEqual(found(await journal()), []);
    await deployment.lab.exec(vmid, ["systemd-cat"], { input: `${planted}\n` });
    await until(
      "the journal has the planted secret",
      async () => found(await journal()).includes(planted) || undefined,
    );
  });

  it("were not in the process list during `up` and backup", async () => {
    // The container's processes are the machine's, too.
    for (const program of ["pg_dump", "curl", "lxc-attach", "/usr/local/lib/pgbackup/agent"]) {
      assert.ok(sampler.seen(program), `the sampler is quick enough to see ${program}`);
    }
    assert.deepEqual(found(sampler.text), []);
    const child = spawn("sh", ["-c", "read -r _", "sh", planted]);
    await until("the sampler sees the planted secret", () => sampler.seen(planted) || undefined);
    child.stdin.end();
    assert.deepEqual(found(sampler.text), [planted]);
  });

  it("are in no file of the container that others may read, and each key in one file only", async () => {
    assert.deepEqual(await filesWith(secrets, ["-perm", "-o=r"]), []);
    assert.deepEqual(await filesWith([await bucketSecret()]), [secretsFile]);
    assert.deepEqual(await filesWith([await readerSecret()]), [drillSecretsFile]);
    assert.deepEqual(await filesWith(nasKeyLines()), [nasKeyFile]);
    assert.deepEqual(await filesWith(privateKeyLines()), []);
    const oops = ["/srv/oops", "/run/oops", "/dev/shm/oops", "/var/tmp/oops"];
    for (const file of oops) await deployment.run(["sh", "-c", `umask 022; echo ${planted} >${file}`]);
    assert.deepEqual(await filesWith([planted], ["-perm", "-o=r"]), [...oops].sort());
    await deployment.run(["rm", ...oops]);
    assert.deepEqual(await filesWith([planted], ["-perm", "-o=r"]), []);
  });

  it("are closed to every account but the job's", async () => {
    for (const file of [secretsFile, drillSecretsFile, nasKeyFile]) {
      for (const user of ["nobody", "postgres"]) {
        const { code, stderr } = await deployment.lab.exec(vmid, ["cat", file], { user });
        assert.equal(code, 1);
        assert.match(stderr, /Permission denied/);
      }
      await deployment.run(["cat", file], "trade_show_backup_prod");
    }
  });

  it("are neither in the host's sshd log nor in the environment of its sessions", async () => {
    const log = fs.readFileSync(sshdLog(), "utf8").slice(logged);
    assert.match(log, /Accepted publickey for root/);
    assert.deepEqual(found(log), []);
    assert.deepEqual(found(await deployment.type("env; cat /proc/self/environ")), []);
    assert.deepEqual(found(await deployment.type(`LEAK=${planted} env`)), [planted], "the finder works");
  });

  it("that are a user's own settings stay secret when they replace the declared ones", async () => {
    await deployment.stack.setConfig("drillFrom", "local"); // from S3, a reader's key would have to come along
    await deployment.stack.up({ diff: true, onOutput: listen });
    said = "";
    const former = await bucketSecret();
    await deployment.stack.setConfig("s3AccessKeyId", "AKIAOWNKEY");
    await deployment.stack.setConfig("s3SecretAccessKey", ownSecret);
    const preview = await deployment.stack.preview({ diff: true, onOutput: listen });
    const expected = [...Array<string>(4).fill(`delete ct${vmid}-writer`), `update ${secretsFile}`];
    assert.deepEqual(changed(preview), expected);
    assert.match(said, /stdin *: \[secret\]/, "a reviewer sees that it changes");
    assert.deepEqual(changed(await deployment.stack.up({ diff: true, onOutput: listen })), expected);
    assert.equal(await bucketSecret(), ownSecret);

    assert.deepEqual(found(said), []);
    assert.deepEqual(found(await deployment.stack.exportState()), []);
    assert.deepEqual(found(fs.readFileSync(deployment.stack.config.file, "utf8")), []);
    assert.deepEqual(
      found(sampler.text).filter((secret) => secret !== planted),
      [],
    );
    assert.deepEqual(await filesWith([former]), [], "of the former key nothing is left in the container");
    assert.deepEqual(await filesWith([ownSecret]), [secretsFile]);
  });

  function listen(text: string): void {
    said += text;
  }

  /** The secrets that a text has in plain, or as base64. */
  function found(text: string): string[] {
    return [...secrets, planted].filter((secret) =>
      [secret, Buffer.from(secret).toString("base64").replace(/=*$/, ""), encodeURIComponent(secret)].some((form) =>
        text.includes(form),
      ),
    );
  }

  function bucketSecret(): Promise<string> {
    return secretIn(secretsFile);
  }

  function readerSecret(): Promise<string> {
    return secretIn(drillSecretsFile);
  }

  async function secretIn(file: string): Promise<string> {
    const text = await deployment.run(["cat", file]);
    return /^S3_(?:READER_)?SECRET_ACCESS_KEY='(.+)'$/m.exec(text)?.[1] ?? assert.fail("no secret key");
  }

  function privateKeyLines(): string[] {
    return secretLines(deployment.lab.host.privateKey);
  }

  function nasKeyLines(): string[] {
    return secretLines(deployment.lab.nas.server.privateKey);
  }

  /** The lines of a private key that hold secret numbers. */
  function secretLines(key: string): string[] {
    const lines = key.split("\n").filter((line) => !line.startsWith("-----"));
    // The first line and a half repeat the public key.
    return lines.slice(2).filter((line) => line.length >= 20);
  }

  async function journal(): Promise<string> {
    return deployment.shell("journalctl --sync; journalctl --no-pager --all --output=export");
  }

  /** Files of the container that hold one of these texts. The texts travel by standard input. */
  async function filesWith(texts: readonly string[], tests: readonly string[] = []): Promise<string[]> {
    const script = `cat >/root/patterns; chmod 600 /root/patterns
      find / /run /tmp /dev/shm -xdev -type f "$@" -not -path /root/patterns -exec grep -lF -f /root/patterns -- {} +
      rm /root/patterns`;
    const { stdout } = await deployment.lab.exec(vmid, ["bash", "-c", script, "bash", ...tests], {
      input: `${texts.join("\n")}\n`,
    });
    return [...new Set(stdout.split("\n").filter((line) => line !== ""))].sort();
  }

  function sshdLog(): string {
    return deployment.lab.logFile("sshd");
  }
});

/** Command lines of every process of this machine, containers included, looked at some hundred times a second. */
class ProcessList {
  text = "";

  private constructor(private readonly child: ChildProcess) {}

  static async watch(): Promise<ProcessList> {
    // A process of its own: this one is busy with the program. A name and a first argument tell nothing that is new.
    const program = `
      const fs = require("node:fs");
      const known = new Set();
      const look = () => {
        for (const pid of fs.readdirSync("/proc")) {
          if (!/^[0-9]+$/.test(pid) || Number(pid) === process.pid) continue;
          let line = "";
          try { line = fs.readFileSync("/proc/" + pid + "/cmdline", "utf8"); } catch { continue; }
          if (line === "" || known.has(line)) continue;
          known.add(line);
          fs.writeSync(1, line.replaceAll("\\0", " ") + "\\n");
        }
        setTimeout(look, 2);
      };
      look();`;
    const child = spawn(process.execPath, ["-e", program], { stdio: ["ignore", "pipe", "inherit"] });
    const list = new ProcessList(child);
    child.stdout?.on("data", (data: Buffer) => (list.text += data.toString("utf8")));
    await until("the sampler sees this process", () => list.seen("mocha") || undefined);
    return list;
  }

  seen(text: string): boolean {
    return this.text.includes(text);
  }

  stop(): void {
    this.child.kill();
  }
}
