/** The lab itself: that it behaves as the things it stands in for, where the other tests lean on it. */
import * as assert from "node:assert/strict";
import * as fs from "node:fs";
import { CreateUserCommand, DeleteUserCommand } from "@aws-sdk/client-iam";
import { CreateBucketCommand, DeleteBucketCommand, ListBucketsCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import * as command from "@pulumi/command";
import { attempt } from "../../lab/command";
import { Lab } from "../../lab/lab";
import { settingsFor } from "../../lab/settings";
import { EngineError, type LabStack } from "../../lab/stack";

/** A container that only these tests use, because they stop and rebuild it. */
const vmid = 2398;
const nobody = 2399;

describe("lab", function () {
  let lab: Lab;

  before(async () => {
    lab = await Lab.open(process.env.PGBACKUP_LAB ?? "test");
    await lab.createContainer(vmid, { fresh: true });
  });

  after(async () => {
    await lab.destroyContainer(vmid);
  });

  describe("network", () => {
    it("has no way out", async () => {
      const { stdout } = await attempt(["ip", "route"]);
      assert.match(stdout, /10\.232\.0\.0\/16 dev vmbr0/);
      assert.doesNotMatch(stdout, /default/);
      assert.match((await attempt(["ip", "route", "get", "192.0.2.1"])).stderr, /Network is unreachable/);
    });

    it("lets a container reach the S3 server, and nothing beyond", async () => {
      const url = `${lab.s3.endpoint}/moto-api/`;
      const reached = await lab.exec(vmid, ["curl", "-sSk", "--max-time", "10", "-o", "/dev/null", url]);
      assert.equal(reached.code, 0, reached.stderr);
      assert.equal((await lab.exec(vmid, ["ip", "route", "show", "default"])).stdout, "");
    });
  });

  describe("host", () => {
    it("is reached through real SSH, by the lab's key", async () => {
      const { stdout, code } = await lab.pct("whoami; command -v pct");
      assert.equal(code, 0);
      assert.equal(stdout, `root\n${lab.directory}/bin/pct\n`);
    });

    it("shows the key it should, and admits no other", async () => {
      const scan = await attempt(["ssh-keyscan", "-t", "ed25519", lab.host.address]);
      assert.ok(scan.stdout.includes(lab.host.hostKey));
      const options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes"];
      const stranger = await attempt([
        "ssh",
        "-F",
        "none",
        ...options,
        "-i",
        "/dev/null",
        `root@${lab.host.address}`,
        "true",
      ]);
      assert.equal(stranger.code, 255);
      assert.match(stranger.stderr, /Permission denied/);
    });

    it("passes standard input and exit codes", async () => {
      const { stdout, code } = await lab.pct("cat; exit 7", { input: "über\0\n" });
      assert.equal(stdout, "über\0\n");
      assert.equal(code, 7);
    });
  });

  describe("pct", () => {
    it("lists the container", async () => {
      assert.match((await lab.pct("pct list")).stdout, new RegExp(`^${vmid} +running +ct${vmid} *$`, "m"));
      assert.equal((await lab.pct(`pct status ${vmid}`)).stdout, "status: running\n");
    });

    it("exec passes arguments, standard input and exit codes untouched", async () => {
      const { stdout, code } = await lab.pct(
        `pct exec ${vmid} -- sh -c 'printf "[%s]" "$@"; cat; exit 3' sh 'a  b' '$x' -- ''`,
        {
          input: "in\n",
        },
      );
      assert.equal(stdout, "[a  b][$x][--][]in\n");
      assert.equal(code, 3);
    });

    it("exec runs as root in the container, not on the host", async () => {
      const { stdout } = await lab.pct(`pct exec ${vmid} -- sh -c 'hostname; id -u; cat /proc/1/comm'`);
      assert.equal(stdout, `ct${vmid}\n0\nsystemd\n`);
    });

    it("exec leaks the host's environment, unless told --keep-env 0", async () => {
      const leaks = await lab.pct(`LEAK=yes pct exec ${vmid} -- sh -c 'echo "<$LEAK> $PATH"'`);
      assert.match(leaks.stdout, /^<yes> \/usr\/local\/sbin/);
      const clear = await lab.pct(`LEAK=yes pct exec ${vmid} --keep-env 0 -- sh -c 'echo "<$LEAK>"'`);
      assert.equal(clear.stdout, "<>\n");
    });

    it("exec refuses options it does not know, and no command", async () => {
      assert.equal((await lab.pct(`pct exec ${vmid} ls -l`)).code, 255);
      const { code, stderr } = await lab.pct(`pct exec ${vmid}`);
      assert.equal(code, 255);
      assert.match(stderr, /missing command/);
    });

    it("says so when there is no such container", async () => {
      const { code, stderr } = await lab.pct(`pct exec ${nobody} -- true`);
      assert.equal(code, 2);
      assert.match(stderr, new RegExp(`^Configuration file 'nodes/[^/]+/lxc/${nobody}\\.conf' does not exist$`, "m"));
    });

    it("push and pull set owner and mode", async () => {
      const file = `${lab.directory}/home/push me`;
      const { code, stderr } = await lab.pct(
        `printf 'a\\0b' >'${file}' && pct push ${vmid} '${file}' '/root/push me' --user 33 --group 34 --perms 0640 &&
         pct pull ${vmid} '/root/push me' '${file}.back' --perms 0600 && cmp '${file}' '${file}.back'`,
      );
      assert.equal(code, 0, stderr);
      const { stdout } = await lab.exec(vmid, ["stat", "-c", "%u %g %a %s", "/root/push me"]);
      assert.equal(stdout, "33 34 640 3\n");
    });

    it("stop, start and reboot", async () => {
      assert.equal((await lab.pct(`pct stop ${vmid}`)).code, 0);
      const { code, stderr } = await lab.pct(`pct exec ${vmid} -- true`);
      assert.equal(code, 255);
      assert.equal(stderr, `container '${vmid}' not running!\n`);
      assert.equal((await lab.pct(`pct status ${vmid}`)).stdout, "status: stopped\n");
      assert.equal((await lab.pct(`pct start ${vmid}`)).code, 0);
      assert.equal((await lab.pct(`pct start ${vmid}`)).stderr, `CT ${vmid} already running\n`);
      await lab.startContainer(vmid);
      const boot = async () =>
        (await lab.exec(vmid, ["cat", "/proc/sys/kernel/random/boot_id"])).stdout + (await since());
      const since = async () =>
        (await lab.exec(vmid, ["systemctl", "show", "-P", "UserspaceTimestampMonotonic"])).stdout;
      const before = await boot();
      assert.equal((await lab.pct(`pct reboot ${vmid}`)).code, 0);
      await lab.startContainer(vmid);
      assert.notEqual(await boot(), before);
    });
  });

  describe("container", () => {
    it("is unprivileged, with systemd, PostgreSQL and peer authentication", async () => {
      assert.match((await lab.exec(vmid, ["cat", "/proc/self/uid_map"])).stdout, /^\s*0\s+100000\s+65536\s*$/);
      assert.equal((await lab.exec(vmid, ["systemctl", "--failed", "--no-legend"])).stdout, "");
      assert.equal(
        (await lab.exec(vmid, ["psql", "-tAc", "SHOW lc_collate"], { user: "postgres" })).stdout,
        "C.UTF-8\n",
      );
      assert.equal((await lab.exec(vmid, ["psql", "-c", "SELECT 1", "postgres"])).code, 2, "root has no role");
    });

    it("has another machine-id when it was rebuilt, and the same after a reboot", async () => {
      const id = async () => (await lab.exec(vmid, ["cat", "/etc/machine-id"])).stdout;
      const first = await id();
      assert.match(first, /^[0-9a-f]{32}\n$/);
      await lab.rebootContainer(vmid);
      assert.equal(await id(), first);
      await lab.createContainer(vmid, { fresh: true });
      assert.notEqual(await id(), first);
    });

    it("without nesting boots, and refuses systemd's sandboxes", async () => {
      await lab.createContainer(vmid, { fresh: true, nesting: false });
      const sandboxed = ["systemd-run", "--wait", "--quiet", "--collect", "-p", "ProtectSystem=strict", "true"];
      assert.equal((await lab.exec(vmid, sandboxed)).code, 226);
      assert.doesNotMatch((await lab.pct(`pct config ${vmid}`)).stdout, /nesting/);
      await lab.createContainer(vmid, { fresh: true });
      assert.equal((await lab.exec(vmid, sandboxed)).code, 0);
    });
  });

  describe("sample database", () => {
    it("has users, events and expenses, owned by the application's role, without orphans", async () => {
      const database = "expense_app_production";
      await lab.createSampleDatabase(vmid, { database });
      await lab.createSampleDatabase(vmid, { database }); // does nothing
      const query = async (sql: string) =>
        (await lab.exec(vmid, ["psql", "-tAd", database, "-c", sql], { user: "postgres" })).stdout;
      assert.equal(
        await query(
          "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM events), (SELECT count(*) FROM expenses)",
        ),
        "2000|300|200000\n",
      );
      assert.equal(
        await query("SELECT DISTINCT relowner::regrole FROM pg_class WHERE relnamespace = 'public'::regnamespace"),
        "expense_app\n",
      );
      assert.equal(await query("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"), "5\n");
      assert.equal(await query("SELECT nextval('expenses_id_seq') > max(id) FROM expenses"), "t\n");
    });
  });

  describe("S3", () => {
    it("does what the admin asks, over TLS that the lab's authority vouches for", async () => {
      const bucket = "lab-test-bucket";
      await lab.s3.client().send(new CreateBucketCommand({ Bucket: bucket }));
      await lab.s3.client().send(new DeleteBucketCommand({ Bucket: bucket }));
      await lab.s3.iam().send(new CreateUserCommand({ UserName: "lab-test" }));
      await lab.s3.iam().send(new DeleteUserCommand({ UserName: "lab-test" }));
    });

    it("refuses strangers", async () => {
      const stranger = lab.s3.client({ accessKeyId: "AKIAAAAAAAAAAAAAAAAA", secretAccessKey: "none" });
      await assert.rejects(stranger.send(new ListBucketsCommand({})), { name: "InvalidAccessKeyId" });
      const key = { ...lab.s3.admin, secretAccessKey: "wrong" };
      const put = new PutObjectCommand({ Bucket: "any", Key: "any", Body: Buffer.from("x") });
      await assert.rejects(lab.s3.client(key).send(put), { name: "SignatureDoesNotMatch" });
    });
  });

  describe("NAS", () => {
    const ssh = "ssh -F none -i /root/nas-key -o BatchMode=yes -o UserKnownHostsFile=/root/nas-known";

    before(async () => {
      const { address, server } = lab.nas;
      await lab.exec(vmid, ["sh", "-c", "umask 077; cat >/root/nas-key"], { input: server.privateKey });
      await lab.exec(vmid, ["sh", "-c", "cat >/root/nas-known"], { input: `${address} ${server.hostKey}\n` });
    });

    it("takes a container's files into a directory of its own, and gives them back", async () => {
      const there = `root@${lab.nas.address}:/lab-test/`;
      const script = `echo text >/root/sent; rsync --mkpath -e '${ssh}' /root/sent ${there}
        rsync -e '${ssh}' ${there}sent /root/back; cmp /root/sent /root/back`;
      const { code, stderr } = await lab.exec(vmid, ["bash", "-euc", script]);
      assert.equal(code, 0, stderr);
      assert.deepEqual(lab.nas.list("/lab-test"), ["sent"]);
      assert.equal(fs.readFileSync(lab.nas.file("lab-test", "sent"), "utf8"), "text\n");
      fs.rmSync(lab.nas.file("lab-test"), { recursive: true });
    });

    it("lets that key do nothing else: no command, no way out of the directory, no stranger", async () => {
      const before = lab.nas.list("/");
      const nas = `root@${lab.nas.address}`;
      const refused = async (line: string) => {
        const { code, stdout, stderr } = await lab.exec(vmid, ["bash", "-c", line]);
        assert.notEqual(code, 0, line);
        assert.equal(stdout, "", line);
        return stderr;
      };
      assert.match(await refused(`${ssh} ${nas} id`), /does not run rsync/);
      assert.match(await refused(`rsync -e '${ssh}' ${nas}:../ssh/id_ed25519 /root/`), /do not use \.\. in/);
      assert.match(await refused(`rsync -e '${ssh}' ${nas}:/etc/hostname /root/`), /No such file or directory/);
      assert.match(await refused(`${ssh.replace("/root/nas-key", "/dev/null")} ${nas} id`), /Permission denied/);
      assert.deepEqual(lab.nas.list("/"), before);
    });
  });

  describe("stack", () => {
    let stack: LabStack;
    const connection = () => {
      const { address, privateKey, hostKey } = lab.host;
      return { host: address, privateKey, hostKey, dialErrorLimit: 1 };
    };

    afterEach(async () => {
      await stack.destroy();
      await stack.forget();
    });

    it("deploys through the engine, and previews nothing afterwards", async () => {
      stack = lab.stack("labtest", settingsFor(lab, vmid), {
        program: () => {
          const args = { connection: connection(), create: `pct exec ${vmid} -- hostname`, delete: "true" };
          return Promise.resolve({ said: new command.remote.Command("name", args).stdout });
        },
      });
      const { changes, steps } = await stack.up();
      assert.deepEqual(changes, { create: 2 });
      assert.ok(steps.some(({ op, name }) => op === "create" && name === "name"));
      assert.equal((await stack.outputs()).said?.value, `ct${vmid}`);
      assert.deepEqual((await stack.preview({ expectNoChanges: true })).changes, { same: 2 });
      const key = lab.host.privateKey.split("\n")[2];
      assert.ok(key !== undefined && !(await stack.exportState()).includes(key), "the private key is encrypted");
    });

    it("throws what the engine printed when that fails", async () => {
      stack = lab.stack("labtest2", settingsFor(lab, vmid), {
        program: () => {
          new command.remote.Command("bad", { connection: connection(), create: `pct exec ${nobody} -- true` });
          return Promise.resolve({});
        },
      });
      await assert.rejects(stack.up(), (error: unknown) => {
        assert.ok(error instanceof EngineError);
        assert.match(error.message, new RegExp(`${nobody}\\.conf' does not exist`));
        assert.ok(error.outcome.diagnostics.some(({ severity }) => severity === "error"));
        return true;
      });
    });
  });
});
