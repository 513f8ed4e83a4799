/** Off-host copies: what arrives in the bucket, what the container's key may do there, and how the bucket is set up. */
import * as assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { CreateAccessKeyCommand, ListUsersCommand, PutUserPolicyCommand } from "@aws-sdk/client-iam";
import * as s3 from "@aws-sdk/client-s3";
import { Deployment } from "./deployment";

const vmid = 2342;
const prefix = `ct${vmid}/`;
const database = "expense_app_production";
const dumps = "/var/backups/trade-show-app";

describe("off-host copies", function () {
  let deployment: Deployment;
  /** As the bucket's owner. */
  let owner: s3.S3Client;
  /** With the key that stands in the container. */
  let writer: s3.S3Client;
  let key: { accessKeyId: string; secretAccessKey: string };
  let Bucket: string;
  /** Names of the dumps of the two nights. */
  const nights: string[] = [];

  before(async () => {
    deployment = await Deployment.create(vmid);
    await deployment.stack.up();
    Bucket = deployment.bucket;
    owner = deployment.lab.s3.client();
    const secrets = await deployment.run(["cat", "/etc/trade-show-app/backup-secrets.env"]);
    const value = (name: string) => new RegExp(`^${name}='(.+)'$`, "m").exec(secrets)?.[1] ?? assert.fail(secrets);
    key = { accessKeyId: value("S3_ACCESS_KEY_ID"), secretAccessKey: value("S3_SECRET_ACCESS_KEY") };
    writer = deployment.lab.s3.client(key);
  });

  after(() => deployment.remove());

  describe("the bucket", () => {
    it("keeps versions", async () => {
      const { Status } = await owner.send(new s3.GetBucketVersioningCommand({ Bucket }));
      assert.equal(Status, "Enabled");
    });

    it("encrypts", async () => {
      const { ServerSideEncryptionConfiguration: found } = await owner.send(
        new s3.GetBucketEncryptionCommand({ Bucket }),
      );
      const rules = found?.Rules?.map((rule) => rule.ApplyServerSideEncryptionByDefault?.SSEAlgorithm);
      assert.deepEqual(rules, ["AES256"]);
    });

    it("is closed to the public in all four ways", async () => {
      const { PublicAccessBlockConfiguration } = await owner.send(new s3.GetPublicAccessBlockCommand({ Bucket }));
      assert.deepEqual(PublicAccessBlockConfiguration, {
        BlockPublicAcls: true,
        IgnorePublicAcls: true,
        BlockPublicPolicy: true,
        RestrictPublicBuckets: true,
      });
    });

    it("belongs, with all objects, to its account: no access control lists", async () => {
      const { OwnershipControls } = await owner.send(new s3.GetBucketOwnershipControlsCommand({ Bucket }));
      assert.deepEqual(OwnershipControls?.Rules, [{ ObjectOwnership: "BucketOwnerEnforced" }]);
    });

    // By content: the lab's server speaks nothing but TLS.
    it("refuses whatever does not come over TLS", async () => {
      const { Policy = "" } = await owner.send(new s3.GetBucketPolicyCommand({ Bucket }));
      assert.deepEqual(JSON.parse(Policy), {
        Version: "2012-10-17",
        Statement: [
          {
            Sid: "TlsOnly",
            Effect: "Deny",
            Principal: "*",
            Action: "s3:*",
            Resource: [`arn:aws:s3:::${Bucket}`, `arn:aws:s3:::${Bucket}/*`],
            Condition: { Bool: { "aws:SecureTransport": "false" } },
          },
        ],
      });
    });

    it("lets superseded copies expire after 14 days, noncurrent versions 14 days later, broken uploads after 2", async () => {
      const { Rules = [] } = await owner.send(new s3.GetBucketLifecycleConfigurationCommand({ Bucket }));
      const rules = Rules.map(({ ID, Status, Filter, ...actions }) => {
        const { Tag, Prefix } = Filter ?? {};
        return { ID, Status, filter: Tag === undefined ? `prefix ${Prefix ?? ""}` : Tag, ...actions };
      });
      assert.deepEqual(rules, [
        {
          ID: "expire-superseded",
          Status: "Enabled",
          filter: { Key: "superseded", Value: "true" },
          Expiration: { Days: 14 },
        },
        {
          ID: "remove-noncurrent",
          Status: "Enabled",
          filter: "prefix ",
          NoncurrentVersionExpiration: { NoncurrentDays: 14 },
        },
        {
          ID: "abort-uploads",
          Status: "Enabled",
          filter: "prefix ",
          AbortIncompleteMultipartUpload: { DaysAfterInitiation: 2 },
        },
      ]);
    });
  });

  describe("a night", () => {
    it("puts the dump and its manifest there, the globals and theirs, and nothing else", async () => {
      const name = await backUp();
      const [globals = assert.fail("no globals"), ...others] = await allKeys(/globals_\d{8}T\d{6}Z\.sql$/);
      assert.deepEqual(others, []);
      assert.deepEqual(await allKeys(), [`${prefix}${name}`, `${prefix}${name}.json`, globals, `${globals}.json`]);
    });

    it("puts there just the bytes that stand in the container, and the manifest vouches for them", async () => {
      const [name = ""] = nights;
      const manifest = JSON.parse((await body(`${prefix}${name}.json`)).toString("utf8")) as Record<string, unknown>;
      const dump = await body(`${prefix}${name}`);
      assert.equal(manifest.sha256, sha256(dump));
      assert.equal(manifest.size, dump.length);
      assert.equal(manifest.file, name);
      assert.equal(manifest.database, database);
      const [there] = (await deployment.run(["sha256sum", `${dumps}/${name}`])).split(" ");
      assert.equal(sha256(dump), there);
      const { off_host, ...rest } = manifest;
      assert.deepEqual(rest, JSON.parse(await deployment.run(["cat", `${dumps}/${name}.json`])));
      const part = { size: dump.length, sha256: sha256(dump) };
      assert.deepEqual(off_host, { file: name, size: dump.length, parts: [part] });
      assert.equal(dump.subarray(0, 5).toString(), "PGDMP");
    });

    it("does not tag the only copy", async () => {
      const [name = ""] = nights;
      for (const file of [name, `${name}.json`]) assert.deepEqual(await tags(prefix + file), [], file);
    });

    it("that is the second tags the first copy as superseded, and not the newest", async () => {
      const [first = ""] = nights;
      const second = await backUp();
      const superseded = [{ Key: "superseded", Value: "true" }];
      for (const file of [first, `${first}.json`]) assert.deepEqual(await tags(prefix + file), superseded, file);
      for (const file of [second, `${second}.json`]) assert.deepEqual(await tags(prefix + file), [], file);
      assert.deepEqual(
        await keys(),
        [first, `${first}.json`, second, `${second}.json`].map((file) => prefix + file),
      );
    });

    it("made every copy once: no version was overwritten", async () => {
      const { Versions = [], DeleteMarkers = [] } = await owner.send(new s3.ListObjectVersionsCommand({ Bucket }));
      assert.equal(Versions.length, 8, "two nights, each with dump, globals and their manifests");
      assert.ok(Versions.every(({ IsLatest }) => IsLatest === true));
      assert.deepEqual(DeleteMarkers, []);
    });
  });

  describe("the container's key", () => {
    const Key = `${prefix}try`;
    const TagSet = [{ Key: "superseded", Value: "true" }];

    it("may put under its prefix, overwrite there, and tag", async () => {
      await writer.send(new s3.PutObjectCommand({ Bucket, Key, Body: "one" }));
      await writer.send(new s3.PutObjectCommand({ Bucket, Key, Body: "two" }));
      await writer.send(new s3.PutObjectTaggingCommand({ Bucket, Key, Tagging: { TagSet } }));
      assert.equal((await body(Key)).toString(), "two");
      assert.deepEqual(await tags(Key), TagSet);
      const { Versions = [] } = await owner.send(new s3.ListObjectVersionsCommand({ Bucket, Prefix: Key }));
      assert.equal(Versions.length, 2, "what was overwritten can be brought back");
    });

    it("is refused everything else in S3", async () => {
      const { Versions = [] } = await owner.send(new s3.ListObjectVersionsCommand({ Bucket, Prefix: Key }));
      const VersionId = Versions[0]?.VersionId ?? assert.fail("no version");
      const night = `${prefix}${nights[0]}`;
      const Policy = JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Principal: "*", Action: "s3:*", Resource: `arn:aws:s3:::${Bucket}/*` }],
      });
      const before = [await versions(), await configuration()];
      const attempts: Record<string, () => Promise<unknown>> = {
        get: () => writer.send(new s3.GetObjectCommand({ Bucket, Key: night })),
        "get what it put": () => writer.send(new s3.GetObjectCommand({ Bucket, Key })),
        "get a version": () => writer.send(new s3.GetObjectCommand({ Bucket, Key, VersionId })),
        head: () => writer.send(new s3.HeadObjectCommand({ Bucket, Key: night })),
        list: () => writer.send(new s3.ListObjectsV2Command({ Bucket })),
        "list its prefix": () => writer.send(new s3.ListObjectsV2Command({ Bucket, Prefix: prefix })),
        "list versions": () => writer.send(new s3.ListObjectVersionsCommand({ Bucket, Prefix: prefix })),
        "list buckets": () => writer.send(new s3.ListBucketsCommand({})),
        delete: () => writer.send(new s3.DeleteObjectCommand({ Bucket, Key: night })),
        "delete a version": () => writer.send(new s3.DeleteObjectCommand({ Bucket, Key, VersionId })),
        "delete the tags": () => writer.send(new s3.DeleteObjectTaggingCommand({ Bucket, Key })),
        "put outside its prefix": () => writer.send(new s3.PutObjectCommand({ Bucket, Key: "ct2320/x", Body: "x" })),
        "put beside its prefix": () => writer.send(new s3.PutObjectCommand({ Bucket, Key: `ct${vmid}x/x`, Body: "x" })),
        "put into another bucket": () => writer.send(new s3.PutObjectCommand({ Bucket: `${Bucket}x`, Key, Body: "x" })),
        "tag outside its prefix": () =>
          writer.send(new s3.PutObjectTaggingCommand({ Bucket, Key: "ct2320/x", Tagging: { TagSet } })),
        "open an object": () => writer.send(new s3.PutObjectAclCommand({ Bucket, Key, ACL: "public-read" })),
        "change the policy": () => writer.send(new s3.PutBucketPolicyCommand({ Bucket, Policy })),
        "delete the policy": () => writer.send(new s3.DeleteBucketPolicyCommand({ Bucket })),
        "read the policy": () => writer.send(new s3.GetBucketPolicyCommand({ Bucket })),
        "suspend versions": () =>
          writer.send(new s3.PutBucketVersioningCommand({ Bucket, VersioningConfiguration: { Status: "Suspended" } })),
        "delete the lifecycle rules": () => writer.send(new s3.DeleteBucketLifecycleCommand({ Bucket })),
        "open the bucket": () => writer.send(new s3.DeletePublicAccessBlockCommand({ Bucket })),
        "delete the bucket": () => writer.send(new s3.DeleteBucketCommand({ Bucket })),
        "make a bucket": () => writer.send(new s3.CreateBucketCommand({ Bucket: `${Bucket}-mine` })),
      };
      for (const [what, attempt] of Object.entries(attempts)) await assertDenied(what, attempt);
      assert.deepEqual([await versions(), await configuration()], before, "nothing was changed");
    });

    it("is refused all of IAM: it cannot give itself more", async () => {
      const iam = deployment.lab.s3.iam(key);
      const PolicyDocument = JSON.stringify({
        Version: "2012-10-17",
        Statement: [{ Effect: "Allow", Action: "*", Resource: "*" }],
      });
      const UserName = await userName();
      await assertDenied("list users", () => iam.send(new ListUsersCommand({})));
      await assertDenied("make a key", () => iam.send(new CreateAccessKeyCommand({ UserName })));
      await assertDenied("widen its policy", () =>
        iam.send(new PutUserPolicyCommand({ UserName, PolicyName: "more", PolicyDocument })),
      );
    });

    it("does not work with another secret", async () => {
      const stranger = deployment.lab.s3.client({ ...key, secretAccessKey: "wrong" });
      await assert.rejects(stranger.send(new s3.PutObjectCommand({ Bucket, Key, Body: "x" })), {
        name: "SignatureDoesNotMatch",
      });
    });
  });

  /** Makes a backup through the service, and returns the name of the dump. */
  async function backUp(): Promise<string> {
    await deployment.type(`pct exec ${vmid} -- systemctl start trade-show-db-backup.service`);
    const files = (await deployment.run(["ls", dumps])).split("\n").filter((file) => file.endsWith(".dump"));
    const [made = assert.fail("no new dump"), ...others] = files.filter((file) => !nights.includes(file));
    assert.deepEqual(others, []);
    nights.push(made);
    return made;
  }

  /** Keys of all objects in the bucket. */
  async function allKeys(pattern = /./): Promise<string[]> {
    const { Contents = [] } = await owner.send(new s3.ListObjectsV2Command({ Bucket }));
    return Contents.map((each) => each.Key ?? "")
      .filter((key) => pattern.test(key))
      .sort();
  }

  /** Keys of the dumps and their manifests. */
  function keys(): Promise<string[]> {
    return allKeys(/\.dump(\.json)?$/);
  }

  async function versions() {
    const { Versions = [], DeleteMarkers = [] } = await owner.send(new s3.ListObjectVersionsCommand({ Bucket }));
    return [...Versions, ...DeleteMarkers].map(({ Key, VersionId, ETag }: s3.ObjectVersion) => [Key, VersionId, ETag]);
  }

  async function configuration() {
    const answers = await Promise.all([
      owner.send(new s3.GetBucketPolicyCommand({ Bucket })),
      owner.send(new s3.GetBucketVersioningCommand({ Bucket })),
      owner.send(new s3.GetBucketLifecycleConfigurationCommand({ Bucket })),
      owner.send(new s3.GetPublicAccessBlockCommand({ Bucket })),
      owner
        .send(new s3.ListBucketsCommand({}))
        .then(({ Buckets = [] }) => Buckets.filter(({ Name }) => Name?.startsWith(Bucket))),
    ]);
    return answers.map((answer) => ({ ...answer, $metadata: undefined }));
  }

  async function body(Key: string): Promise<Buffer> {
    const { Body } = await owner.send(new s3.GetObjectCommand({ Bucket, Key }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  async function tags(Key: string) {
    return (await owner.send(new s3.GetObjectTaggingCommand({ Bucket, Key }))).TagSet;
  }

  async function userName(): Promise<string> {
    const { Users = [] } = await deployment.lab.s3.iam().send(new ListUsersCommand({}));
    return Users.find(({ UserName }) => UserName?.startsWith(`ct${vmid}-writer`))?.UserName ?? assert.fail("no user");
  }
});

async function assertDenied(what: string, attempt: () => Promise<unknown>): Promise<void> {
  const error = await attempt().then(
    () => assert.fail(`the writer could ${what}`),
    (reason: unknown) => reason as s3.S3ServiceException,
  );
  assert.equal(error.$metadata?.httpStatusCode, 403, `${what}: ${error}`);
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
