import type * as pulumi from "@pulumi/pulumi";
import type { BackupBucket } from "./backupBucket";
import { BucketUser } from "./bucketUser";

export interface BackupWriterArgs {
  readonly bucket: BackupBucket;
  /** Prefix of the keys it may write, ending in /. */
  readonly prefix: string;
}

/**
 * The identity the container writes off-host copies with. It may put objects under its prefix, tag them and abort its own
 * uploads; it cannot read, list, or delete, so whoever takes the container over cannot remove the copies that were made
 * before, nor read them, unless there is a {@link BackupReader} for drills.
 */
export class BackupWriter extends BucketUser {
  constructor(name: string, { bucket, prefix }: BackupWriterArgs, opts?: pulumi.ComponentResourceOptions) {
    const statements = (arn: string) => [
      {
        Sid: "PutAndTag",
        Effect: "Allow" as const,
        Action: ["s3:PutObject", "s3:PutObjectTagging", "s3:AbortMultipartUpload"],
        Resource: `${arn}/${prefix}*`,
      },
    ];
    super("BackupWriter", name, { bucket, statements }, opts);
  }
}
