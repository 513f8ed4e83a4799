import type { S3 } from "@aws-sdk/client-s3";
import type { ResourceType } from "../protocol/provider";
import { equal, object, Props, required } from "../protocol/values";
import type { Clients } from "./clients";
import { doing, unless } from "./errors";
import { asTags, fromTags, withAutoName } from "./naming";

export const bucket = (clients: Clients): ResourceType => ({
  inputs: ["bucket", "forceDestroy", "tags", "objectLockEnabled"],
  required: [],
  replaceOn: ["bucket", "objectLockEnabled"],
  computed: ["arn", "bucketDomainName", "bucketRegionalDomainName", "bucketRegion", "region", "tagsAll"],

  defaults: (inputs, previous, name) => withAutoName("bucket", { forceDestroy: false, ...inputs }, previous, name),

  async create(inputs) {
    const name = required(inputs, "bucket");
    const { region } = clients;
    await doing(`creating S3 Bucket (${name})`, async () => {
      const s3 = await clients.s3();
      // us-east-1 says yes to a bucket that one has already, and the official plugin refuses to adopt it unasked.
      if (region === "us-east-1" && (await exists(s3, name))) throw new Error("BucketAlreadyExists");
      await s3.createBucket({
        Bucket: name,
        ObjectLockEnabledForBucket: inputs.objectLockEnabled === true || undefined,
        CreateBucketConfiguration: region === "us-east-1" ? undefined : { LocationConstraint: region as "eu-west-1" },
      });
      await putTags(s3, name, inputs);
    });
    return { id: name, state: outputs(name, region, inputs) };
  },

  async read(id, _state, inputs) {
    return doing(`reading S3 Bucket (${id})`, async () => {
      const s3 = await clients.s3();
      if (!(await exists(s3, id))) return undefined;
      const tags = await unless(["NoSuchTagSet"], () => s3.getBucketTagging({ Bucket: id }));
      const live = fromTags(tags?.TagSet);
      const same = equal(live, object(inputs.tags));
      const now = { forceDestroy: false, ...inputs, bucket: id, ...(same ? {} : { tags: live }) };
      return { inputs: now, state: outputs(id, clients.region, now) };
    });
  },

  async update(id, _state, inputs) {
    await doing(`updating S3 Bucket (${id})`, async () => putTags(await clients.s3(), id, inputs));
    return outputs(id, clients.region, inputs);
  },

  async delete(id, state) {
    await doing(`deleting S3 Bucket (${id})`, async () => {
      const s3 = await clients.s3();
      await unless(["NoSuchBucket"], async () => {
        if (state.forceDestroy === true) await empty(s3, id);
        await s3.deleteBucket({ Bucket: id });
      });
    });
  },
});

const outputs = (name: string, region: string, inputs: Props): Props => ({
  ...inputs,
  bucket: name,
  arn: `arn:aws:s3:::${name}`,
  bucketDomainName: `${name}.s3.amazonaws.com`,
  bucketRegionalDomainName: `${name}.s3.${region}.amazonaws.com`,
  bucketRegion: region,
  region,
  tagsAll: object(inputs.tags),
});

const exists = async (s3: S3, name: string): Promise<boolean> =>
  (await unless(["NotFound", "NoSuchBucket"], () => s3.headBucket({ Bucket: name }))) !== undefined;

async function putTags(s3: S3, name: string, inputs: Props): Promise<void> {
  const tags = asTags(object(inputs.tags));
  if (tags.length > 0) await s3.putBucketTagging({ Bucket: name, Tagging: { TagSet: tags } });
  else await s3.deleteBucketTagging({ Bucket: name });
}

/** Deletes every version and every delete marker. */
async function empty(s3: S3, name: string): Promise<void> {
  for (;;) {
    const page = await s3.listObjectVersions({ Bucket: name });
    const found = [...(page.Versions ?? []), ...(page.DeleteMarkers ?? [])];
    if (found.length === 0) return;
    const objects = found.map(({ Key, VersionId }) => ({ Key, VersionId }));
    await s3.deleteObjects({ Bucket: name, Delete: { Objects: objects, Quiet: true } });
  }
}
