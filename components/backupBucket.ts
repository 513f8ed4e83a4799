import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { BucketPart, BucketSettings } from "./config";

/** Tag that the job puts on a copy once a newer, verified one is off-host. Only copies that bear it expire. */
export const SUPERSEDED_TAG = { key: "superseded", value: "true" };

/** Days after which parts of an upload that was never completed are removed. */
const ABORT_DAYS = 2;

/**
 * The bucket of the off-host copies: versioned, encrypted, private, owned by its account alone, reached by TLS only,
 * and protected, so that `pulumi destroy` refuses before it touches anything.
 *
 * A copy expires only when it is old and tagged as superseded, so the newest one never does. What expired or was
 * overwritten stays some days more as a noncurrent version.
 */
export class BackupBucket extends pulumi.ComponentResource {
  readonly settings: BucketSettings;
  readonly arn: pulumi.Output<string>;
  /** Provider of the bucket's account and region, for what belongs to it. */
  readonly provider: aws.Provider;

  constructor(name: string, settings: BucketSettings, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupBucket", name, {}, { ...opts, protect: true });
    this.settings = settings;
    this.provider = new aws.Provider(name, providerArgs(settings), { parent: this });
    const parent = { parent: this, provider: this.provider };
    const bucket = new aws.s3.Bucket(name, { bucket: settings.bucket }, parent);
    this.arn = bucket.arn;
    const has = (part: BucketPart) => !settings.without.includes(part);
    const target = { bucket: bucket.bucket };

    if (has("publicAccessBlock")) {
      const block = {
        ...target,
        blockPublicAcls: true,
        blockPublicPolicy: true,
        ignorePublicAcls: true,
        restrictPublicBuckets: true,
      };
      new aws.s3.BucketPublicAccessBlock(name, block, parent);
    }
    if (has("ownershipControls")) {
      const rule = { objectOwnership: "BucketOwnerEnforced" };
      new aws.s3.BucketOwnershipControls(name, { ...target, rule }, parent);
    }
    if (has("encryption")) {
      const rules = [{ applyServerSideEncryptionByDefault: { sseAlgorithm: "AES256" } }];
      new aws.s3.BucketServerSideEncryptionConfiguration(name, { ...target, rules }, parent);
    }
    if (has("policy")) {
      new aws.s3.BucketPolicy(name, { ...target, policy: bucket.arn.apply(tlsOnly) }, parent);
    }
    const versioning = has("versioning")
      ? [new aws.s3.BucketVersioning(name, { ...target, versioningConfiguration: { status: "Enabled" } }, parent)]
      : [];
    if (has("lifecycle")) {
      const rules = lifecycleRules(settings);
      new aws.s3.BucketLifecycleConfiguration(name, { ...target, rules }, { ...parent, dependsOn: versioning });
    }
    this.registerOutputs();
  }
}

function providerArgs({ region, endpoint }: BucketSettings): aws.ProviderArgs {
  if (endpoint === undefined) return { region: region };
  return {
    region: region,
    endpoints: [{ s3: endpoint, s3control: endpoint, sts: endpoint, iam: endpoint }],
    s3UsePathStyle: true,
    skipCredentialsValidation: true,
    skipMetadataApiCheck: true,
    skipRegionValidation: true,
  };
}

function lifecycleRules({ retentionDays, noncurrentDays }: BucketSettings) {
  return [
    {
      id: "expire-superseded",
      status: "Enabled",
      filter: { tag: SUPERSEDED_TAG },
      expiration: { days: retentionDays },
    },
    {
      id: "remove-noncurrent",
      status: "Enabled",
      filter: { prefix: "" },
      noncurrentVersionExpiration: { noncurrentDays },
    },
    {
      id: "abort-uploads",
      status: "Enabled",
      filter: { prefix: "" },
      abortIncompleteMultipartUpload: { daysAfterInitiation: ABORT_DAYS },
    },
  ];
}

function tlsOnly(arn: string): string {
  const policy: aws.iam.PolicyDocument = {
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "TlsOnly",
        Effect: "Deny",
        Principal: "*",
        Action: "s3:*",
        Resource: [arn, `${arn}/*`],
        Condition: { Bool: { "aws:SecureTransport": "false" } },
      },
    ],
  };
  return JSON.stringify(policy);
}
