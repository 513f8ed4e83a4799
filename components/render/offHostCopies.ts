import { shellWord } from "./quote";

/** Where off-host copies go. */
export interface OffHostFacts {
  readonly s3?: BucketFacts;
  readonly nas?: NasFacts;
  /** Whether dumps are directories, whose copies are tar files. */
  readonly packed: boolean;
  /** Public keys that copies are encrypted to; none if empty. */
  readonly ageRecipients: readonly string[];
}

export interface BucketFacts {
  readonly bucket: string;
  readonly prefix: string;
  readonly region: string;
  readonly endpoint?: string;
  readonly retentionDays: number;
  readonly noncurrentDays: number;
}

export interface NasFacts {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  /** As the account sees it. */
  readonly directory: string;
  /** Public half of the key that the container logs in with. */
  readonly publicKey: string;
  /** Its private half, in the container. */
  readonly keyFile: string;
  /** 0: the job removes nothing. */
  readonly retentionDays: number;
}

/** Which copies drills restore: the container's own, or those of an off-host target. */
export type DrilledCopies = "local" | "s3" | "nas";

/** Where the copies of a source are, for people. */
export function placeOf(source: Exclude<DrilledCopies, "local">, { s3, nas }: OffHostFacts): string {
  if (source === "s3" && s3) return `in s3://${s3.bucket}/${s3.prefix}`;
  return nas ? `on ${nas.host}` : "";
}

/** Renders the runbook's part on off-host copies: where each is, how to fetch one by hand, how to read it. */
export function renderOffHost(facts: OffHostFacts, drillFrom: DrilledCopies): string {
  const { s3, nas, packed, ageRecipients } = facts;
  if (!s3 && !nas) {
    return `## Off-host

There is no off-host copy: if this container's storage is lost, so are the dumps. Set \`s3Bucket\` or \`nasHost\` to
change that.
`;
  }
  const plain = packed ? ".tar" : "";
  const suffix = ageRecipients.length > 0 ? `${plain}.age` : plain;
  const parts = [
    s3 && renderBucket(s3, suffix, drillFrom === "s3"),
    nas && renderNas(nas, suffix),
    ageRecipients.length > 0 ? renderDecryption(ageRecipients, plain) : undefined,
    packed ? UNPACKING : undefined,
    nas && renderNasSetup(nas, drillFrom === "nas"),
  ];
  return parts.filter((part) => part !== undefined).join("\n");
}

/** @param read whether drills read there */
function renderBucket(target: BucketFacts, suffix: string, read: boolean): string {
  const { bucket, prefix, region, endpoint, retentionDays, noncurrentDays } = target;
  const keys = read
    ? "The container has a key that may only write, and for drills one that may\nonly read."
    : "The container's key may only write.";
  const option = endpoint === undefined ? "" : ` --endpoint-url ${endpoint}`;
  return `## Off-host: the bucket

Every night's dump is copied to s3://${bucket}/${prefix}. ${keys} With a reader's key, from
any machine:

    aws s3 ls --region ${region}${option} s3://${bucket}/${prefix}
    aws s3 cp --region ${region}${option} s3://${bucket}/${prefix}<file>.dump${suffix} .

A copy expires after ${retentionDays} days, once a newer one is there; for ${noncurrentDays} days more its old version can be brought back.
`;
}

function renderNas(nas: NasFacts, suffix: string): string {
  const { host, directory, retentionDays } = nas;
  const kept =
    retentionDays === 0
      ? "The job removes nothing there."
      : `A copy is kept ${retentionDays} days, the newest verified one for ever.`;
  const rsync = `rsync -e ${shellWord(`ssh -p ${nas.port}`)} ${nas.user}@${host}:`;
  return `## Off-host: the NAS

Every night's dump is copied with its manifest to ${directory} on ${host}, by rsync over SSH as ${nas.user}.
${kept} From a machine whose key that account admits:

    ${rsync}${directory}/
    ${rsync}${directory}/<file>.dump${suffix} .
    ${rsync}${directory}/<file>.dump.json .

The first lists what is there. A dump counts once its manifest, the \`.json\` beside it, is there: it is copied last.
`;
}

const UNPACKING = `## Unpacking a copy

Dumps are directories here, and a copy is one tar file. Unpacked, it is what pg_restore takes:

    mkdir <file>.dump
    tar --extract --file=<file>.dump.tar --directory=<file>.dump
    (cd <file>.dump && sha256sum * | sha256sum)    # the manifest's sha256
`;

function renderDecryption(recipients: readonly string[], plain: string): string {
  return `## Reading an encrypted copy

Off-host copies are encrypted with age to:

${recipients.map((recipient) => `    ${recipient}`).join("\n")}

The private keys are neither in the container nor on its host. On a machine that has one of them:

    age --decrypt --identity <private key file> --output <file>.dump${plain} <file>.dump${plain}.age
${plain === "" ? "    sha256sum <file>.dump        # the manifest's sha256 is that of the decrypted dump\n" : ""}`;
}

/** @param read whether drills read there */
function renderNasSetup(nas: NasFacts, read: boolean): string {
  const { user, directory, publicKey, keyFile, retentionDays } = nas;
  const appendOnly = retentionDays === 0;
  const may = `${appendOnly && !read ? " -wo" : ""}${appendOnly ? " -no-del" : ""}`;
  return `## Setting the NAS up

Once, by its administrator: an account that may do nothing but rsync into one directory, here /srv/pgbackup, as which
it then sees \`/\`.

    useradd --create-home --shell /bin/sh ${user}
    install -d -o ${user} -m 0700 /srv/pgbackup /srv/pgbackup${directory} ~${user}/.ssh

In ~${user}/.ssh/authorized_keys, one line (\`rrsync\` comes with rsync; the key is the public half of ${keyFile}):

    command="rrsync -no-lock${may} /srv/pgbackup",restrict ${publicKey}
${
  appendOnly
    ? `
With it the container ${read ? "cannot" : "can neither read nor"} remove what is there. It could still overwrite: let the NAS take snapshots.
`
    : ""
}`;
}
