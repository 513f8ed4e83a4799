import * as aws from "@pulumi/aws";
import * as pulumi from "@pulumi/pulumi";
import type { BackupBucket } from "./backupBucket";

export interface BucketUserArgs {
  readonly bucket: BackupBucket;
  /** What it may do with the bucket of this ARN. */
  readonly statements: (arn: string) => aws.iam.PolicyStatement[];
}

/** An IAM user of the bucket, and its key. */
export abstract class BucketUser extends pulumi.ComponentResource {
  readonly accessKeyId: pulumi.Output<string>;
  readonly secretAccessKey: pulumi.Output<string>;

  /** @param kind the component's type is `pgbackup:index:<kind>` */
  constructor(kind: string, name: string, args: BucketUserArgs, opts?: pulumi.ComponentResourceOptions) {
    super(`pgbackup:index:${kind}`, name, {}, opts);
    const { bucket, statements } = args;
    const parent = { parent: this, provider: bucket.provider };
    const user = new aws.iam.User(name, {}, parent);
    const policy = new aws.iam.UserPolicy(
      name,
      { user: user.name, policy: bucket.arn.apply((arn) => renderPolicy(statements(arn))) },
      parent,
    );
    const key = new aws.iam.AccessKey(name, { user: user.name }, { ...parent, dependsOn: policy });
    this.accessKeyId = key.id;
    this.secretAccessKey = pulumi.secret(key.secret);
    this.registerOutputs();
  }
}

function renderPolicy(statements: aws.iam.PolicyStatement[]): string {
  const policy: aws.iam.PolicyDocument = { Version: "2012-10-17", Statement: statements };
  return JSON.stringify(policy);
}
