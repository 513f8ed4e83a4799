import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { BackupBucket } from "./backupBucket";

export interface BackupWriterArgs {
  readonly bucket: BackupBucket;
  /** Prefix of the keys it may write, ending in /. */
  readonly prefix: string;
}

/**
 * The identity the container writes off-host copies with. It may put objects under its prefix, tag them and abort its own uploads; it cannot
 * read, list, or delete, so whoever takes the container over cannot reach the copies that were made before.
 */
export class BackupWriter extends pulumi.ComponentResource {
  readonly accessKeyId: pulumi.Output<string>;
  readonly secretAccessKey: pulumi.Output<string>;

  constructor(name: string, { bucket, prefix }: BackupWriterArgs, opts?: pulumi.ComponentResourceOptions) {
    super("pgbackup:index:BackupWriter", name, {}, opts);
    const parent = { parent: this, provider: bucket.provider };
    const user = new aws.iam.User(name, {}, parent);
    const policy = new aws.iam.UserPolicy(
      name,
      { user: user.name, policy: bucket.arn.apply((arn) => putAndTag(`${arn}/${prefix}*`)) },
      parent,
    );
    const key = new aws.iam.AccessKey(name, { user: user.name }, { ...parent, dependsOn: policy });
    this.accessKeyId = key.id;
    this.secretAccessKey = pulumi.secret(key.secret);
    this.registerOutputs();
  }
}

function putAndTag(objects: string): string {
  const policy: aws.iam.PolicyDocument = {
    Version: "2012-10-17",
    Statement: [
      {
        Sid: "PutAndTag",
        Effect: "Allow",
        Action: ["s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload"],
        Resource: objects,
      },
    ],
  };
  return JSON.stringify(policy);
}
