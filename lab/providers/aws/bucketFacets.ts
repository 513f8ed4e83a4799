import type { ObjectOwnership, S3, ServerSideEncryption } from "@aws-sdk/client-s3";
import type { ResourceType } from "../protocol/provider";
import { equal, flag, list, object, prune, Props, required, text } from "../protocol/values";
import type { Clients } from "./clients";
import { doing, unless } from "./errors";
import { fromLifecycleRule, toLifecycleRule } from "./lifecycle";
import { samePolicy } from "./policyText";

/** One side of a bucket's configuration: a document that is put, got and removed as a whole. */
interface Facet {
  /** As error messages call it. */
  readonly noun: string;
  /** Inputs beside the bucket's name. */
  readonly inputs: readonly string[];
  readonly required: readonly string[];
  readonly defaults?: Props;
  put(s3: S3, bucket: string, inputs: Props): Promise<unknown>;
  /** The live configuration in the form of inputs; undefined where there is none. */
  get(s3: S3, bucket: string): Promise<Props | undefined>;
  remove(s3: S3, bucket: string, state: Props): Promise<unknown>;
  /** What two ways of writing the same configuration have in common. */
  normal?(inputs: Props): Props;
}

const versioning: Facet = {
  noun: "S3 Bucket Versioning",
  inputs: ["versioningConfiguration"],
  required: ["versioningConfiguration"],
  put: (s3, Bucket, inputs) => setVersioning(s3, Bucket, text(object(inputs.versioningConfiguration).status)),
  async get(s3, Bucket) {
    const { Status } = await s3.getBucketVersioning({ Bucket });
    return { versioningConfiguration: { status: Status ?? "Disabled" } };
  },
  async remove(s3, Bucket, state) {
    if (object(state.versioningConfiguration).status === "Enabled") await setVersioning(s3, Bucket, "Suspended");
  },
};

/** "Disabled" means never enabled: there is no call for it. */
async function setVersioning(s3: S3, Bucket: string, status: string | undefined): Promise<void> {
  if (status === "Disabled") return;
  const Status = status === "Enabled" ? "Enabled" : "Suspended";
  await s3.putBucketVersioning({ Bucket, VersioningConfiguration: { Status } });
}

const encryption: Facet = {
  noun: "S3 Bucket Server-side Encryption Configuration",
  inputs: ["rules"],
  required: ["rules"],
  put(s3, Bucket, inputs) {
    const Rules = list(inputs.rules)
      .map(object)
      .map((rule) => {
        const byDefault = object(rule.applyServerSideEncryptionByDefault);
        return {
          ApplyServerSideEncryptionByDefault: {
            SSEAlgorithm: text(byDefault.sseAlgorithm) as ServerSideEncryption | undefined,
            KMSMasterKeyID: text(byDefault.kmsMasterKeyId),
          },
          BucketKeyEnabled: flag(rule.bucketKeyEnabled),
        };
      });
    return s3.putBucketEncryption({ Bucket, ServerSideEncryptionConfiguration: { Rules } });
  },
  async get(s3, Bucket) {
    const none = ["ServerSideEncryptionConfigurationNotFoundError"];
    const live = await unless(none, () => s3.getBucketEncryption({ Bucket }));
    if (!live) return undefined;
    const rules = live.ServerSideEncryptionConfiguration?.Rules ?? [];
    return {
      rules: rules.map(({ ApplyServerSideEncryptionByDefault: byDefault, BucketKeyEnabled }) => ({
        applyServerSideEncryptionByDefault: {
          sseAlgorithm: byDefault?.SSEAlgorithm ?? null,
          kmsMasterKeyId: byDefault?.KMSMasterKeyID ?? null,
        },
        bucketKeyEnabled: BucketKeyEnabled ?? false,
      })),
    };
  },
  normal: (inputs) => ({ rules: list(inputs.rules).map((rule) => ({ bucketKeyEnabled: false, ...object(rule) })) }),
  remove: (s3, Bucket) => s3.deleteBucketEncryption({ Bucket }),
};

const publicAccessBlock: Facet = {
  noun: "S3 Bucket Public Access Block",
  inputs: ["blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets"],
  required: [],
  defaults: {
    ...{ blockPublicAcls: false, blockPublicPolicy: false, ignorePublicAcls: false, restrictPublicBuckets: false },
  },
  put: (s3, Bucket, inputs) =>
    s3.putPublicAccessBlock({
      Bucket,
      PublicAccessBlockConfiguration: {
        BlockPublicAcls: flag(inputs.blockPublicAcls),
        BlockPublicPolicy: flag(inputs.blockPublicPolicy),
        IgnorePublicAcls: flag(inputs.ignorePublicAcls),
        RestrictPublicBuckets: flag(inputs.restrictPublicBuckets),
      },
    }),
  async get(s3, Bucket) {
    const live = await unless(["NoSuchPublicAccessBlockConfiguration"], () => s3.getPublicAccessBlock({ Bucket }));
    const block = live?.PublicAccessBlockConfiguration;
    if (!block) return undefined;
    return {
      blockPublicAcls: block.BlockPublicAcls ?? false,
      blockPublicPolicy: block.BlockPublicPolicy ?? false,
      ignorePublicAcls: block.IgnorePublicAcls ?? false,
      restrictPublicBuckets: block.RestrictPublicBuckets ?? false,
    };
  },
  remove: (s3, Bucket) => s3.deletePublicAccessBlock({ Bucket }),
};

const ownershipControls: Facet = {
  noun: "S3 Bucket Ownership Controls",
  inputs: ["rule"],
  required: ["rule"],
  put(s3, Bucket, inputs) {
    const ObjectOwnership = required(object(inputs.rule), "objectOwnership") as ObjectOwnership;
    return s3.putBucketOwnershipControls({ Bucket, OwnershipControls: { Rules: [{ ObjectOwnership }] } });
  },
  async get(s3, Bucket) {
    const none = ["OwnershipControlsNotFoundError"];
    const live = await unless(none, () => s3.getBucketOwnershipControls({ Bucket }));
    const rule = live?.OwnershipControls?.Rules?.[0];
    return rule ? { rule: { objectOwnership: rule.ObjectOwnership ?? null } } : undefined;
  },
  remove: (s3, Bucket) => s3.deleteBucketOwnershipControls({ Bucket }),
};

const policy: Facet = {
  noun: "S3 Bucket Policy",
  inputs: ["policy"],
  required: ["policy"],
  put: (s3, Bucket, inputs) => s3.putBucketPolicy({ Bucket, Policy: required(inputs, "policy") }),
  async get(s3, Bucket) {
    const live = await unless(["NoSuchBucketPolicy"], () => s3.getBucketPolicy({ Bucket }));
    return live?.Policy ? { policy: live.Policy } : undefined;
  },
  remove: (s3, Bucket) => s3.deleteBucketPolicy({ Bucket }),
};

const lifecycle: Facet = {
  noun: "S3 Bucket Lifecycle Configuration",
  inputs: ["rules"],
  required: ["rules"],
  put: (s3, Bucket, inputs) =>
    s3.putBucketLifecycleConfiguration({
      Bucket,
      LifecycleConfiguration: { Rules: list(inputs.rules).map(object).map(toLifecycleRule) },
    }),
  async get(s3, Bucket) {
    const none = ["NoSuchLifecycleConfiguration"];
    const live = await unless(none, () => s3.getBucketLifecycleConfiguration({ Bucket }));
    return live?.Rules?.length ? { rules: live.Rules.map(fromLifecycleRule) } : undefined;
  },
  normal: (inputs) => ({ rules: list(inputs.rules).map(object).map(toLifecycleRule).map(fromLifecycleRule) }),
  remove: (s3, Bucket) => s3.deleteBucketLifecycle({ Bucket }),
};

export const bucketFacets = (clients: Clients): { [token: string]: ResourceType } =>
  Object.fromEntries(
    Object.entries({
      BucketVersioning: versioning,
      BucketServerSideEncryptionConfiguration: encryption,
      BucketPublicAccessBlock: publicAccessBlock,
      BucketOwnershipControls: ownershipControls,
      BucketPolicy: policy,
      BucketLifecycleConfiguration: lifecycle,
    }).map(([name, facet]) => [`aws:s3/b${name.slice(1)}:${name}`, resourceType(facet, clients)]),
  );

/** Create and update are the same put; the id is the bucket's name. */
function resourceType(facet: Facet, clients: Clients): ResourceType {
  const put = async (action: string, inputs: Props): Promise<Props> => {
    const bucket = required(inputs, "bucket");
    await doing(`${action} ${facet.noun} (${bucket})`, async () => facet.put(await clients.s3(), bucket, inputs));
    return outputs(inputs);
  };
  const outputs = (inputs: Props): Props => ({ ...inputs, region: clients.region });
  return {
    inputs: ["bucket", ...facet.inputs],
    required: ["bucket", ...facet.required],
    replaceOn: ["bucket"],
    computed: ["region"],
    equivalent: samePolicy,
    defaults: (inputs) => ({ ...facet.defaults, ...inputs }),
    create: async (inputs) => ({ id: required(inputs, "bucket"), state: await put("creating", inputs) }),
    update: (_id, _state, inputs) => put("updating", inputs),
    async read(id, _state, inputs) {
      const live = await doing(`reading ${facet.noun} (${id})`, async () => {
        const s3 = await clients.s3();
        return unless(["NoSuchBucket"], () => facet.get(s3, id));
      });
      if (!live) return undefined;
      const now = unchanged(facet, inputs, live) ? inputs : { bucket: id, ...object(prune(live)) };
      return { inputs: now, state: outputs(now) };
    },
    async delete(id, state) {
      await doing(`deleting ${facet.noun} (${id})`, async () => {
        const s3 = await clients.s3();
        await unless(["NoSuchBucket"], () => facet.remove(s3, id, state));
      });
    },
  };
}

function unchanged(facet: Facet, inputs: Props, live: Props): boolean {
  const normal = (props: Props): Props => {
    const own = Object.fromEntries(facet.inputs.map((key) => [key, props[key] ?? null]));
    return object(prune(facet.normal?.(own) ?? own));
  };
  const [was, is] = [normal(inputs), normal(live)];
  return facet.inputs.every((key) => equal(was[key], is[key]) || samePolicy(key, was[key] ?? null, is[key] ?? null));
}
