/** The stand-ins for the provider plugins, driven by the real engine against a real sshd and the lab's S3 server. */
import * as assert from "node:assert/strict";
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import * as fs from "node:fs";
import * as net from "node:net";
import * as os from "node:os";
import * as path from "node:path";
import { IAM, type IAMClientConfig } from "@aws-sdk/client-iam";
import { S3, type S3ClientConfig } from "@aws-sdk/client-s3";
import * as aws from "@pulumi/aws";
import { remote, type types } from "@pulumi/command";
import * as pulumi from "@pulumi/pulumi";
import { LocalWorkspace, PulumiCommand, type PulumiFn, type Stack } from "@pulumi/pulumi/automation";
import { engine } from "../../lab/engine";
import { separateConnections } from "../../lab/inlinePrograms";
import { Lab } from "../../lab/lab";
import { installStandIns } from "../../lab/providers/install";

const temporary = fs.mkdtempSync(path.join(os.tmpdir(), "providers-"));
after(() => fs.rmSync(temporary, { recursive: true, force: true }));

/** A stack of its own with a file backend; `program` is replaced from step to step. */
async function newStack(name: string, env: Record<string, string> = {}): Promise<Stack> {
  const home = path.join(temporary, "home");
  installStandIns(home);
  separateConnections();
  const workDir = fs.mkdtempSync(path.join(temporary, "stack-"));
  const envVars = {
    PULUMI_HOME: home,
    PULUMI_BACKEND_URL: `file://${workDir}`,
    PULUMI_CONFIG_PASSPHRASE: "correct horse",
    PULUMI_SKIP_UPDATE_CHECK: "1",
    ...env,
  };
  const projectSettings = { name: "providers", runtime: "nodejs", backend: { url: `file://${workDir}` } };
  return LocalWorkspace.createOrSelectStack(
    { stackName: name, projectName: "providers", program: async () => ({}) },
    { workDir, envVars, projectSettings, pulumiCommand: await PulumiCommand.get({ root: (await engine()).root }) },
  );
}

async function up(stack: Stack, program: () => unknown): Promise<string> {
  const run: PulumiFn = async () => {
    const outputs: unknown = program();
    return outputs as Record<string, unknown> | undefined;
  };
  stack.workspace.program = run;
  return (await stack.up()).stdout;
}

/** What the engine says of an `up` that fails. */
async function failure(stack: Stack, program: () => unknown): Promise<string> {
  const error = await up(stack, program).then(
    () => assert.fail("the deployment should have failed"),
    (reason: Error) => reason,
  );
  return error.message;
}

const changes = async (stack: Stack): Promise<Partial<Record<string, number>>> => (await stack.preview()).changeSummary;

interface Recorded {
  readonly type: string;
  readonly id?: string;
  readonly inputs: Record<string, unknown>;
  readonly outputs: Record<string, unknown>;
}

/** The stack's state as the backend keeps it: `exportStack` of the Automation API decrypts the secrets. */
function stateText(stack: Stack): string {
  return fs.readFileSync(path.join(stack.workspace.workDir, ".pulumi/stacks/providers", `${stack.name}.json`), "utf8");
}

function resources(stack: Stack, type: string): Recorded[] {
  const state = JSON.parse(stateText(stack)) as { checkpoint: { latest?: { resources?: Recorded[] } } };
  return (state.checkpoint.latest?.resources ?? []).filter((resource) => resource.type === type);
}

function only(stack: Stack, type: string): Recorded {
  const found = resources(stack, type);
  const [first] = found;
  assert.ok(first && found.length === 1, `exactly one ${type} in the state`);
  return first;
}

const isSecret = (value: unknown): boolean => JSON.stringify(value ?? "").includes('"ciphertext"');

describe("stand-in for @pulumi/command", function () {
  const journal = path.join(temporary, "journal");
  const note = (word: string): string => `echo ${word} >> ${journal}`;
  const journalled = (): string[] =>
    fs.existsSync(journal) ? fs.readFileSync(journal, "utf8").split("\n").filter(Boolean) : [];
  let server: SshServer;
  let stack: Stack;
  let connection: types.input.remote.ConnectionArgs;

  const command = (args: Partial<remote.CommandArgs>, opts?: pulumi.CustomResourceOptions) => () => {
    const it = new remote.Command("it", { connection, addPreviousOutputInEnv: false, ...args }, opts);
    return { stdout: it.stdout };
  };

  before(async () => {
    server = await SshServer.start();
    connection = server.connection;
    stack = await newStack("command", { SSH_AUTH_SOCK: "" });
  });
  after(() => server.stop());
  beforeEach(() => fs.rmSync(journal, { force: true }));
  afterEach(async () => {
    await up(stack, () => ({}));
  });

  it("creates, and is clean in the next preview", async () => {
    await up(stack, command({ create: `${note("create")}; cat`, stdin: "one\ntwo\n" }));
    const { outputs } = only(stack, "command:remote:Command");
    assert.equal(outputs.stdout, "one\ntwo");
    assert.deepEqual(await changes(stack), { same: 2 });
    assert.deepEqual(journalled(), ["create"]);
  });

  it("runs update, or else create, whatever has changed", async () => {
    const both = { create: note("create"), update: note("update"), delete: note("delete") };
    await up(stack, command({ ...both, stdin: "a" }));
    await up(stack, command({ ...both, stdin: "b" }));
    assert.deepEqual(journalled(), ["create", "update"]);

    const { update: _update, ...once } = both;
    await up(stack, command({ ...once, stdin: "b" }));
    await up(stack, command({ ...once, stdin: "b", delete: note("other") }));
    await up(stack, command({ ...once, stdin: "b", connection: { ...connection, perDialTimeout: 9 } }));
    assert.deepEqual(journalled(), ["create", "update", "create", "create", "create"]);
  });

  it("deletes with the stored text", async () => {
    await up(stack, command({ create: "true", delete: note("delete") }));
    await up(stack, () => ({}));
    assert.deepEqual(journalled(), ["delete"]);
  });

  it("replaces when triggers change: creates the new one, then deletes the old", async () => {
    const args = { create: note("create"), delete: note("delete") };
    await up(stack, command({ ...args, triggers: [1] }));
    assert.deepEqual(await previewOf(stack, command({ ...args, triggers: [2] })), { replace: 1, same: 1 });
    await up(stack, command({ ...args, triggers: [2] }));
    assert.deepEqual(journalled(), ["create", "create", "delete"]);
  });

  it("shows the diff of a multi-line stdin, and hands on no stdout of yesterday", async () => {
    await up(stack, command({ create: "cat", stdin: "alpha\nbeta\ngamma\n" }));
    stack.workspace.program = async () => command({ create: "cat", stdin: "alpha\nBETA\ngamma\n" })();
    const { stdout } = await stack.preview({ diff: true });
    assert.match(stdout, /- beta[\s\S]*\+ BETA/);
    assert.doesNotMatch(stdout, /--outputs:--[\s\S]*alpha/);
  });

  it("leaves nothing in the state when create fails, and prints the command and its output", async () => {
    const said = await failure(stack, command({ create: 'echo "out"; echo err >&2\nexit 3' }));
    assert.match(said, /Process exited with status 3: running "echo \\"out\\"; echo err >&2\\nexit 3":\s+out\s+err/);
    assert.deepEqual(resources(stack, "command:remote:Command"), []);
  });

  it("fails when the connection is cut, although the command may have done its work", async () => {
    const said = await failure(stack, command({ create: `${note("create")}; kill -9 $PPID; sleep 5` }));
    assert.match(said, /wait: remote command exited without exit status or exit signal: running "/);
    assert.deepEqual(journalled(), ["create"]);
  });

  it("keeps the old state when update fails", async () => {
    await up(stack, command({ create: "echo one", update: "true" }));
    await failure(stack, command({ create: "echo one", update: "exit 1" }));
    assert.equal(only(stack, "command:remote:Command").inputs.update, "true");
  });

  it("tries an unreachable host dialErrorLimit times more, and says so", async () => {
    const port = await freePort();
    const args = command({ create: "true", connection: { ...connection, port, dialErrorLimit: 3 } });
    const began = Date.now();
    const said = await failure(stack, args);
    assert.match(said, /after 3 failed attempts: dial tcp 127\.0\.0\.1:\d+: connect: connection refused/);
    assert.match(said, /Dial 3\/3 failed: retrying/);
    assert.ok(Date.now() - began > 475, "100, 150 and 225 ms lie between the attempts");
  });

  it("refuses another host key than the expected one", async () => {
    const hostKey = server.otherKey;
    const said = await failure(
      stack,
      command({ create: note("create"), connection: { ...connection, hostKey, dialErrorLimit: 1 } }),
    );
    assert.match(said, /after 1 failed attempts: ssh: handshake failed: ssh: host key mismatch/);
    assert.deepEqual(journalled(), []);
  });

  it("does not verify a host key that is not given", async () => {
    await up(stack, command({ create: note("create"), connection: { ...connection, hostKey: undefined } }));
    assert.deepEqual(journalled(), ["create"]);
  });

  for (const [what, wrong, text] of [
    ["a garbage host key", { hostKey: "garbage" }, /ssh: no key found/],
    ["a garbage private key", { privateKey: "garbage" }, /ssh: no key found/],
    ["a passphrase for a key without one", { privateKeyPassword: "x" }, /ssh: not an encrypted key/],
    ["an agent that is not there", { agentSocketPath: "/nowhere" }, /dial unix \/nowhere: connect: no such file/],
  ] as const) {
    it(`refuses ${what} without trying`, async () => {
      const said = await failure(stack, command({ create: "true", connection: { ...connection, ...wrong } }));
      assert.match(said, text);
      assert.doesNotMatch(said, /failed attempts/);
    });
  }

  it("is refused with a key that the server does not know", async () => {
    const privateKey = server.strangerKey;
    const args = command({ create: "true", connection: { ...connection, privateKey, dialErrorLimit: 0 } });
    assert.match(
      await failure(stack, args),
      /ssh: unable to authenticate, attempted methods \[none publickey\], no supported methods remain/,
    );
  });

  it("goes through a proxy", async () => {
    const { hostKey, ...unverified } = connection;
    const proxied = command({ create: note("create"), connection: { ...unverified, hostKey, proxy: connection } });
    await up(stack, proxied);
    assert.deepEqual(journalled(), ["create"]);
  });

  it("keeps a secret stdin and the private key encrypted, and makes no secret of stdout", async () => {
    await up(stack, command({ create: "cat >/dev/null; echo done", stdin: pulumi.secret("hush-hush") }));
    const { inputs, outputs } = only(stack, "command:remote:Command");
    for (const bag of [inputs, outputs]) {
      assert.ok(isSecret(bag.stdin));
      assert.ok(isSecret(bag.connection));
    }
    assert.equal(outputs.stdout, "done");
    const exported = stateText(stack);
    assert.ok(!exported.includes("hush-hush") && !exported.includes("PRIVATE KEY"));

    await up(stack, command({ create: "cat >/dev/null; echo done", stdin: pulumi.secret("hush-hush-2") }));
    assert.ok(isSecret(only(stack, "command:remote:Command").outputs.stdin), "after an update, too");
    await stack.refresh();
    assert.deepEqual(await changes(stack), { same: 2 });
  });

  it("does not run the command where the server takes no environment", async () => {
    const said = await failure(stack, command({ create: note("create"), environment: { COLOUR: "red" } }));
    assert.match(said, /could not set environment variable "COLOUR": ssh: setenv failed/);
    assert.match(said, /AcceptEnv/);
    assert.deepEqual(journalled(), []);
    await up(stack, command({ create: `echo $LC_TEST`, environment: { LC_TEST: "red" } }));
    assert.equal(only(stack, "command:remote:Command").outputs.stdout, "red");
  });

  it("warns where the previous output cannot be handed on", async () => {
    await up(stack, command({ create: "echo one", update: "echo two", addPreviousOutputInEnv: undefined }));
    const said = await up(
      stack,
      command({ create: "echo one", update: "echo three", addPreviousOutputInEnv: undefined }),
    );
    assert.match(said, /Unable to set 'PULUMI_COMMAND_STDOUT'/);
  });

  it("logs output unless told not to", async () => {
    assert.match(await up(stack, command({ create: "echo loud" })), /loud/);
    const quiet = await up(stack, () => void command({ create: "echo silent; true", logging: "none" })());
    assert.doesNotMatch(quiet, /silent/);
  });

  it("names a type it does not know", async () => {
    const said = await failure(
      stack,
      () => new remote.CopyToRemote("it", { connection, source: asset(), remotePath: "/" }),
    );
    assert.match(said, /does not know the type 'command:remote:CopyToRemote', only command:remote:Command/);
  });
});

describe("stand-in for @pulumi/aws", function () {
  const bucketName = `stand-in-${process.pid}`;
  let stack: Stack;
  let clientOptions: S3ClientConfig & IAMClientConfig;
  let lab: Lab;
  let s3: S3;

  before(async () => {
    const name = process.env.PGBACKUP_LAB;
    assert.ok(name, "PGBACKUP_LAB names the lab, in whose network this test runs");
    lab = await Lab.open(name);
    const { endpoint, caFile, admin } = lab.s3;
    clientOptions = {
      endpoint,
      region: "us-east-1",
      credentials: admin,
      forcePathStyle: true,
      requestHandler: { httpsAgent: { ca: fs.readFileSync(caFile) } },
    };
    s3 = new S3(clientOptions);
    stack = await newStack("aws", {
      AWS_CA_BUNDLE: caFile,
      AWS_ENDPOINT_URL_IAM: endpoint,
      AWS_ACCESS_KEY_ID: admin.accessKeyId,
      AWS_SECRET_ACCESS_KEY: admin.secretAccessKey,
    });
    await stack.setConfig("aws:region", { value: "us-east-1" });
    await stack.setConfig("aws:s3UsePathStyle", { value: "true" });
    await stack.setConfig("aws:endpoints", { value: JSON.stringify([{ s3: endpoint, sts: endpoint }]) });
  });
  afterEach(async () => {
    await up(stack, () => ({}));
  });

  const tlsOnly = (name: string): string =>
    JSON.stringify({
      Version: "2012-10-17",
      Statement: [
        {
          ...{ Sid: "TlsOnly", Effect: "Deny", Principal: "*", Action: "s3:*" },
          Resource: [`arn:aws:s3:::${name}`, `arn:aws:s3:::${name}/*`],
          Condition: { Bool: { "aws:SecureTransport": "false" } },
        },
      ],
    });

  const wholeBucket = (days: number) => () => {
    const { id: bucket, arn } = new aws.s3.Bucket("b", { bucket: bucketName, tags: { owner: "test" } });
    new aws.s3.BucketVersioning("v", { bucket, versioningConfiguration: { status: "Enabled" } });
    new aws.s3.BucketServerSideEncryptionConfiguration("e", {
      bucket,
      rules: [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }],
    });
    new aws.s3.BucketPublicAccessBlock("p", {
      ...{
        bucket,
        blockPublicAcls: true,
        blockPublicPolicy: true,
        ignorePublicAcls: true,
        restrictPublicBuckets: true,
      },
    });
    new aws.s3.BucketOwnershipControls("o", { bucket, rule: { objectOwnership: "BucketOwnerEnforced" } });
    new aws.s3.BucketPolicy("t", { bucket, policy: bucket.apply(tlsOnly) });
    new aws.s3.BucketLifecycleConfiguration("l", {
      bucket,
      rules: [
        {
          id: "superseded",
          status: "Enabled",
          filter: { and: { prefix: "ct2320/", tags: { state: "superseded" } } },
          expiration: { days },
        },
        {
          id: "noncurrent",
          status: "Enabled",
          filter: {},
          expiration: { expiredObjectDeleteMarker: true },
          noncurrentVersionExpiration: { noncurrentDays: 14 },
          abortIncompleteMultipartUpload: { daysAfterInitiation: 2 },
        },
      ],
    });
    return { arn };
  };

  it("makes a bucket with all its facets, and is clean in the next preview and refresh", async () => {
    await up(stack, wholeBucket(14));
    assert.equal((await stack.outputs()).arn?.value, `arn:aws:s3:::${bucketName}`);
    assert.equal((await s3.getBucketVersioning({ Bucket: bucketName })).Status, "Enabled");
    assert.deepEqual(await changes(stack), { same: 8 });
    assert.deepEqual((await stack.refresh()).summary.resourceChanges, { same: 8 });
    assert.deepEqual(await changes(stack), { same: 8 });
  });

  it("updates in place what has changed", async () => {
    await up(stack, wholeBucket(14));
    await up(stack, wholeBucket(30));
    const { Rules = [] } = await s3.getBucketLifecycleConfiguration({ Bucket: bucketName });
    assert.deepEqual(
      Rules.map(({ ID, Expiration, Filter }) => [ID, Expiration?.Days, Filter?.And?.Tags]),
      [
        ["superseded", 30, [{ Key: "state", Value: "superseded" }]],
        ["noncurrent", undefined, undefined],
      ],
    );
    assert.deepEqual(await changes(stack), { same: 8 });
  });

  it("learns by refresh what somebody else has changed or deleted, and repairs it", async () => {
    await up(stack, wholeBucket(14));
    await s3.deletePublicAccessBlock({ Bucket: bucketName });
    await s3.putBucketVersioning({ Bucket: bucketName, VersioningConfiguration: { Status: "Suspended" } });
    await s3.putBucketLifecycleConfiguration({
      Bucket: bucketName,
      LifecycleConfiguration: {
        Rules: [{ ID: "superseded", Status: "Enabled", Filter: { Prefix: "" }, Expiration: { Days: 1 } }],
      },
    });
    await stack.refresh();
    assert.deepEqual(await changes(stack), { create: 1, same: 5, update: 2 });
    await up(stack, wholeBucket(14));
    assert.equal((await s3.getBucketVersioning({ Bucket: bucketName })).Status, "Enabled");
    assert.equal((await s3.getBucketLifecycleConfiguration({ Bucket: bucketName })).Rules?.length, 2);
    await stack.refresh();
    assert.deepEqual(await changes(stack), { same: 8 });
  });

  it("learns by refresh that the bucket is gone", async () => {
    await up(stack, wholeBucket(14));
    await s3.deleteBucketPolicy({ Bucket: bucketName });
    await s3.deleteBucket({ Bucket: bucketName });
    await stack.refresh();
    assert.deepEqual(await changes(stack), { create: 7, same: 1 });
  });

  it("does not delete a bucket with objects in it unless forceDestroy", async () => {
    const program = (forceDestroy: boolean) => () => {
      new aws.s3.Bucket("b", { bucket: bucketName, forceDestroy });
    };
    await up(stack, program(false));
    await s3.putObject({ Bucket: bucketName, Key: "dump", Body: "x" });
    assert.match(await failure(stack, () => ({})), /deleting S3 Bucket .*BucketNotEmpty/);
    await up(stack, program(true));
    await up(stack, () => ({}));
    await assert.rejects(s3.headBucket({ Bucket: bucketName }));
  });

  it("replaces a bucket that gets another name, and names one that has none", async () => {
    await up(stack, () => void new aws.s3.Bucket("archive"));
    const { id = "" } = only(stack, "aws:s3/bucket:Bucket");
    assert.match(id, /^archive-[0-9a-f]{7}$/);
    assert.deepEqual(await changes(stack), { same: 2 });
    const named = (): void => void new aws.s3.Bucket("archive", { bucket: bucketName });
    assert.deepEqual(await previewOf(stack, named), { replace: 1, same: 1 });
  });

  it("fails on a bucket that is there already", async () => {
    await s3.createBucket({ Bucket: bucketName });
    const said = await failure(stack, () => new aws.s3.Bucket("b", { bucket: bucketName }));
    assert.match(said, new RegExp(`creating S3 Bucket \\(${bucketName}\\): BucketAlready(Exists|OwnedByYou)`));
    await s3.deleteBucket({ Bucket: bucketName });
  });

  it("adopts a bucket by import", async () => {
    await s3.createBucket({ Bucket: bucketName });
    await up(stack, () => void new aws.s3.Bucket("b", { bucket: bucketName }, { import: bucketName }));
    assert.deepEqual(await changes(stack), { same: 2 });
  });

  it("makes an access key that can do what the user's policy says, and nothing else", async () => {
    await s3.createBucket({ Bucket: bucketName });
    const policy = (action: string): string =>
      JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: action, Resource: `arn:aws:s3:::${bucketName}/in/*` }],
      });
    const program = (action: string) => () => {
      const user = new aws.iam.User("writer");
      const writing = new aws.iam.UserPolicy("writing", { user: user.name, policy: policy(action) });
      const key = new aws.iam.AccessKey("key", { user: user.name }, { dependsOn: writing });
      return { id: key.id, secret: key.secret, user: user.name };
    };
    await up(stack, program("s3:PutObject"));
    const { id, secret, user } = await stack.outputs();
    assert.ok(secret?.secret, "the output is a secret");
    assert.ok(isSecret(only(stack, "aws:iam/accessKey:AccessKey").outputs.secret));
    assert.ok(!stateText(stack).includes(String(secret.value)));

    const credentials = { accessKeyId: String(id?.value), secretAccessKey: String(secret.value) };
    const writer = new S3({ ...clientOptions, credentials });
    const at = (Key: string) => ({ Bucket: bucketName, Key });
    await writer.putObject({ ...at("in/dump"), Body: "x" });
    await assert.rejects(writer.putObject({ ...at("out/dump"), Body: "x" }), { name: "AccessDenied" });
    await assert.rejects(writer.getObject(at("in/dump")), { name: "AccessDenied" });
    assert.deepEqual(await changes(stack), { same: 4 });

    await new IAM(clientOptions).deleteUserPolicy({
      UserName: String(user?.value),
      PolicyName: String(only(stack, "aws:iam/userPolicy:UserPolicy").outputs.name),
    });
    await stack.refresh();
    assert.deepEqual(await changes(stack), { create: 1, same: 3 });
    await up(stack, program("s3:GetObject"));
    assert.equal((await stack.outputs()).secret?.value, secret.value, "the key outlives all that");
    await assert.rejects(writer.putObject({ ...at("in/dump"), Body: "x" }), { name: "AccessDenied" });
    await s3.deleteObject(at("in/dump"));
    await s3.deleteBucket({ Bucket: bucketName });
  });

  it("takes the credentials of an explicit provider, and says what was denied", async () => {
    const limited = (): void => {
      const settings = { region: "us-east-1" as const, accessKey: "AKIAWRONG", secretKey: "wrong" };
      const { endpoint } = lab.s3;
      const provider = new aws.Provider("p", {
        ...settings,
        s3UsePathStyle: true,
        skipCredentialsValidation: true,
        endpoints: [{ s3: endpoint }],
      });
      new aws.s3.Bucket("b", { bucket: `${bucketName}-x` }, { provider });
    };
    assert.match(await failure(stack, limited), /creating S3 Bucket .*(InvalidAccessKeyId|Forbidden|403)/);
  });

  it("previews what depends on values that are not known yet", async () => {
    const program = (): void => {
      const bucket = new aws.s3.Bucket("b", { forceDestroy: true });
      new aws.s3.BucketPolicy("t", { bucket: bucket.id, policy: bucket.id.apply(tlsOnly) });
    };
    assert.deepEqual(await previewOf(stack, program), { create: 2, same: 1 });
  });

  it("names a type and a property it does not know", async () => {
    const type = await failure(stack, () => new aws.s3.BucketObject("o", { bucket: "b", key: "k" }));
    assert.match(type, /does not know the type 'aws:s3\/bucketObject:BucketObject'/);
    assert.match(await failure(stack, () => new aws.s3.Bucket("b", { acl: "private" })), /'?acl/);
  });
});

async function previewOf(stack: Stack, program: () => unknown): Promise<Partial<Record<string, number>>> {
  stack.workspace.program = async () => program() as Record<string, unknown> | undefined;
  return changes(stack);
}

const asset = (): pulumi.asset.Asset => new pulumi.asset.StringAsset("x");

/** An sshd of its own on a free port, with one host key and one key that may log in. */
class SshServer {
  private constructor(
    private readonly process: ChildProcess,
    private readonly directory: string,
    readonly connection: types.input.remote.ConnectionArgs,
  ) {}

  static async start(): Promise<SshServer> {
    const directory = fs.mkdtempSync(path.join(temporary, "sshd-"));
    const file = (name: string): string => path.join(directory, name);
    for (const name of ["host", "client", "other"]) {
      execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f", file(name)]);
    }
    const port = await freePort();
    fs.mkdirSync("/run/sshd", { recursive: true });
    const settings = [
      ...[`Port ${port}`, "ListenAddress 127.0.0.1", `HostKey ${file("host")}`, `PidFile ${file("pid")}`],
      ...[`AuthorizedKeysFile ${file("client.pub")}`, "StrictModes no", "PasswordAuthentication no"],
      ...["KbdInteractiveAuthentication no", "PermitRootLogin yes", "UsePAM no", "AcceptEnv LC_*"],
    ];
    fs.writeFileSync(file("config"), settings.join("\n") + "\n");
    const child = spawn("/usr/sbin/sshd", ["-D", "-e", "-f", file("config")], { stdio: "ignore" });
    await listening(port);
    return new SshServer(child, directory, {
      host: "127.0.0.1",
      port,
      user: os.userInfo().username,
      privateKey: pulumi.secret(fs.readFileSync(file("client"), "utf8")),
      hostKey: fs.readFileSync(file("host.pub"), "utf8").trim(),
    });
  }

  /** A public key that is not this server's. */
  get otherKey(): string {
    return fs.readFileSync(path.join(this.directory, "other.pub"), "utf8").trim();
  }

  /** A private key that may not log in. */
  get strangerKey(): string {
    return fs.readFileSync(path.join(this.directory, "other"), "utf8");
  }

  stop(): void {
    this.process.kill();
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = net.createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() =>
        typeof address === "object" && address ? resolve(address.port) : reject(new Error("no port")),
      );
    });
  });
}

async function listening(port: number): Promise<void> {
  for (let attempt = 0; attempt < 100; attempt++) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = net.connect(port, "127.0.0.1");
      socket.once("connect", () => resolve(true)).once("error", () => resolve(false));
      socket.once("connect", () => socket.destroy());
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing listens on port ${port}`);
}
