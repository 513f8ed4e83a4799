import type * as pulumi from "@pulumi/pulumi";
import type { BackupBucket } from "./backupBucket";
import { BucketUser } from "./bucketUser";

export interface BackupReaderArgs {
  readonly bucket: BackupBucket;
  /** Prefix of the keys it may read, ending in /. */
  readonly prefix: string;
}

/**
 * The identity the drill fetches off-host copies with. It may list and get what is under its prefix, and change nothing.
 */
export class BackupReader extends BucketUser {
  constructor(name: string, { bucket, prefix }: BackupReaderArgs, opts?: pulumi.ComponentResourceOptions) {
    const statements = (arn: string) => [
      {
        Sid: "List",
        Effect: "Allow" as const,
        Action: "s3:ListBucket",
        Resource: arn,
        Condition: { StringLike: { "s3:prefix": `${prefix}*` } },
      },
      { Sid: "Get", Effect: "Allow" as const, Action: "s3:GetObject", Resource: `${arn}/${prefix}*` },
    ];
    super("BackupReader", name, { bucket, statements }, opts);
  }
}
