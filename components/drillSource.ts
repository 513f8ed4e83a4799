import type { S3Key } from "./config";
import type { NasSettings } from "./nasSettings";
import type { SettingsReader } from "./settingsReader";

const WORDS = ["auto", "local", "s3", "nas"] as const;

/** Which copies a drill restores: the container's own dumps, those in the bucket, or those on the NAS. */
export type DrillSource = Exclude<(typeof WORDS)[number], "auto">;

/** What the choice depends on. */
export interface Copies {
  /** Whether copies go to a bucket. */
  readonly bucket: boolean;
  /** Keys that the user brings. */
  readonly s3Key?: S3Key;
  readonly s3ReaderKey?: S3Key;
  readonly nas?: NasSettings;
  readonly ageRecipients: readonly string[];
}

/** Reads which copies a drill restores; auto is the newest off-host copy that the container can read, if there is one. */
export function readDrillSource(reader: SettingsReader, copies: Copies): DrillSource {
  const word = reader.choice("drillFrom", WORDS);
  if (word === "auto") return chooseSource(copies);
  const right = word === "local" ? undefined : contradiction(word, copies);
  if (right !== undefined) reader.problem("drillFrom", word, right);
  if (word === "s3" && copies.s3Key && !copies.s3ReaderKey) {
    reader.problem(
      "s3ReaderAccessKeyId",
      undefined,
      'a key that may list and get under s3Prefix: drillFrom is "s3", and no users are declared beside an s3AccessKeyId that you made',
    );
  }
  return word;
}

function chooseSource({ bucket, s3ReaderKey, nas, ageRecipients }: Copies): DrillSource {
  if (ageRecipients.length > 0) return "local";
  if (bucket && s3ReaderKey) return "s3";
  return nas && nas.retentionDays > 0 ? "nas" : "local";
}

/** What would be right where copies cannot be had from there. */
function contradiction(word: "s3" | "nas", { bucket, nas, ageRecipients }: Copies): string | undefined {
  if (ageRecipients.length > 0) {
    return "local or auto: ageRecipients is set, and no private key that could read the copies is on a machine of the stack";
  }
  if (word === "s3" && !bucket) return "local, auto, or s3Bucket set: there are no copies in S3";
  if (word === "nas" && !nas) return "local, auto, or nasHost set: there are no copies on a NAS";
  return undefined;
}
